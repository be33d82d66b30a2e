"""What validation rows add to a trained classifier: the temperature of its probabilities, and a decision threshold."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from optlstm.tasks.base import CardPart, Positive
from optlstm.tasks.label.scores import classification_scores, log_loss
from optlstm.util.arrays import Floats, Integers
from optlstm.util.format import quoted

_LEAST_OWNERS, _PARTS = 20, 5
_FARTHEST = 10.0  # temperatures lie between a tenth and this
_MOST_THRESHOLDS = 400
_TINY = 1e-300

Share = Annotated[float, Field(gt=0, lt=1)]


class Temperature(CardPart):
    """Probabilities p become p ** (1 / value), normalised (Guo et al. 2017), which changes no likeliest class.

    before, after: log loss of the validation rows, of which a part is scored with the temperature of the others.
    """

    value: Positive
    before: float
    after: float

    def line(self) -> str:
        """For who reads a refit."""
        scores = f"log loss on validation rows {self.after:.4g}, without {self.before:.4g}"
        return f"calibrated: probabilities with temperature {self.value:.3g} ({scores})"


class Threshold(CardPart):
    """The second of two classes is predicted where its probability is at least `value`.

    metric: which decided. before, after: of the validation rows, at 0.5 and at `value`. None: the value was given.
    """

    value: Share
    metric: str | None = None
    before: float | None = None
    after: float | None = None

    def line(self, name: str) -> str:
        """For who reads a refit. name: of the second class."""
        line = f"threshold: {quoted(name)} from a probability of {self.value:.3g} on"
        if self.metric is None:
            return line
        if self.after == self.before:
            return f"{line}; no other is better in {self.metric} on validation rows ({self.after:.4g})"
        return f"{line} ({self.metric} on validation rows {self.after:.4g}, at 0.5 {self.before:.4g})"


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """[..., classes] with the softmax's argument divided by the temperature."""
    logs = np.log(np.maximum(probabilities, _TINY)) / temperature
    powers = np.exp(logs - logs.max(axis=-1, keepdims=True))
    result: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return result


def fit_temperature(probabilities: Floats, codes: Integers, owners: Integers) -> Temperature | None:
    """The temperature with the least log loss; None where it does not lower that of rows it was not fitted on.

    Args:
        probabilities: [n, classes] of validation rows that the network has not seen.
        codes: their classes [n].
        owners: the sequence of each row [n]; those of one are alike, so that they are fitted, or scored, together.
    """
    numbers, distinct = pd.factorize(owners)
    if len(distinct) < _LEAST_OWNERS:
        return None
    part = (np.random.default_rng(0).permutation(len(distinct)) % _PARTS)[numbers]
    scored = np.empty_like(probabilities)
    for k in range(_PARTS):
        value = _least(probabilities[part != k], codes[part != k])
        scored[part == k] = tempered(probabilities[part == k], value)
    before, after = log_loss(probabilities, codes), log_loss(scored, codes)
    if not after < before:
        return None
    return Temperature(value=_least(probabilities, codes), before=before, after=after)


def _least(probabilities: Floats, codes: Integers) -> float:
    """The temperature with the least cross-entropy to targets that are not certain.

    As Platt's (1999), a true class counts as (n + 1) / (n + classes): rows that are all right ask for no certainty.
    """
    from scipy.optimize import minimize_scalar

    n, classes = probabilities.shape
    targets = np.full((n, classes), 1 / (n + classes))
    targets[np.arange(n), codes] = (n + 1) / (n + classes)

    def loss(log_temperature: float) -> float:
        logs = np.log(np.maximum(tempered(probabilities, float(np.exp(log_temperature))), _TINY))
        return float(-(targets * logs).sum() / n)

    bound = float(np.log(_FARTHEST))
    return float(np.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded").x))


def choose_threshold(probabilities: Floats, codes: Integers, metric: str) -> Threshold:
    """The threshold with the best `metric`, the nearest to 0.5 of several.

    Args:
        probabilities: [n, 2] of validation rows that the network has not seen.
        codes: their classes [n].
        metric: one of `scores.OF_DECISIONS`.
    """
    values = np.unique(probabilities[:, 1])
    between = (values[1:] + values[:-1]) / 2
    if len(between) > _MOST_THRESHOLDS:
        between = between[np.linspace(0, len(between) - 1, _MOST_THRESHOLDS).round().astype(np.int64)]
    before = best = classification_scores(probabilities, codes, threshold=0.5)[metric]
    chosen = 0.5
    for value in between[np.argsort(np.abs(between - 0.5), kind="stable")].tolist():
        score = classification_scores(probabilities, codes, threshold=value)[metric]
        if 0 < value < 1 and score > best:
            best, chosen = score, value
    return Threshold(value=chosen, metric=metric, before=before, after=best)
