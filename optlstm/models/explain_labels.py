"""What a model of labels looks at: the words of texts, the channels and steps of sequences.

A word is made an unknown one wherever it stands; a channel, or a stretch of steps, is taken from another sequence
(Breiman 2001). The measure is how much the loss grows, as a share of what a model loses that knows nothing of the
sample: one that predicts the mean output for all. The second opinion is gradient times input, of the largest output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from optlstm.data.labels import Fold
from optlstm.data.vocabulary import UNKNOWN
from optlstm.errors import InputError
from optlstm.models.explain import Share
from optlstm.models.model import Model
from optlstm.tasks.label.data import LabelledData, rows_of
from optlstm.tasks.label.predict import LabelPredictor, SequenceSection, TextSection
from optlstm.tasks.label.problem import LabelProblem
from optlstm.tasks.label.target import LabelColumn
from optlstm.util.arrays import Floats, Integers

_METRICS = ("log_loss", "mae")  # the loss, of the kinds of labels that there is one of
_MOST_SAMPLES, _LEAST_SAMPLES = 512, 16
_WORDS, _LEAST_TEXTS = 100, 2  # that are looked at: those of the largest gradients, which stand in so many texts
_STRETCHES = 12  # of a sequence
_REPEATS = 6

Values = npt.NDArray[Any]


@dataclass(frozen=True)
class LabelExplanation:
    """JSON. parts: `words` of texts, `channels` and `steps` of sequences, each with the largest first."""

    samples: int
    metric: str
    loss: float
    parts: dict[str, list[Share]]

    def stored(self) -> dict[str, Any]:
        return asdict(self)


def explain_labels(model: Model, data: Path, seed: int = 0) -> LabelExplanation:
    """Explain a model's predictions of the samples of a file with labels.

    Raises:
        InputError: The file does not fit, or has too few samples; or the labels are of a kind without such a loss.
    """
    predictor = model.predictor
    if not isinstance(predictor, LabelPredictor) or model.card.factory is not None:
        raise InputError("explain: is for forecasts and for optlstm's own networks of labels, and these are custom")
    samples = _Samples.of(predictor, data)
    measured = samples.words(seed) if isinstance(predictor.section, TextSection) else samples.stretches(seed)
    parts = {name: sorted(shares, key=lambda share: -share.increase) for name, shares in measured.items()}
    return LabelExplanation(len(samples.truth), samples.metric, samples.usual, parts)


@dataclass(frozen=True)
class _Samples:
    """Some samples of a file, evenly spread. values, starts: as of `LabelledData`; output: of the model, [n, width]."""

    predictor: LabelPredictor
    values: Values
    starts: Integers
    truth: Values
    output: Floats
    metric: str

    @classmethod
    def of(cls, predictor: LabelPredictor, data: Path) -> _Samples:
        section = predictor.section
        rows = section.read(data, labelled=True)
        truth = section.target.truth(rows.labels, LabelColumn(data.name, section.label))
        if len(truth) != len(rows.starts) - 1:
            raise InputError("explain: is for labels of whole samples, and this model's are of every step")
        if len(truth) < _LEAST_SAMPLES:
            raise InputError(f"data: {data.name} has too few samples to explain labels of; {_LEAST_SAMPLES} are enough")
        kept = np.unique(np.linspace(0, len(truth) - 1, min(_MOST_SAMPLES, len(truth))).astype(np.int64))
        lengths = np.diff(rows.starts)[kept]
        values, starts = rows.values[rows_of(rows.starts, kept)], np.concatenate([[0], np.cumsum(lengths)])
        output = predictor.outputs(section.data(values, starts)).mean(axis=0)
        scores = section.target.all_scores(section.target.final(output), truth[kept])
        metric = next((name for name in _METRICS if scores.get(name) is not None), None)
        if metric is None:
            raise InputError("explain: is for forecasts, classes and numbers")
        return cls(predictor, values, starts, truth[kept], output, metric)

    @property
    def usual(self) -> float:
        return self._loss(self.output, np.arange(len(self.truth)))

    def _loss(self, output: Floats, chosen: Integers) -> float:
        target = self.predictor.section.target
        return float(target.all_scores(target.final(output[chosen]), self.truth[chosen])[self.metric] or 0.0)

    def _share(self, name: str, gradient: float, draw: np.random.Generator, changed: Callable[[], Values]) -> Share:
        """changed: gives the values without the part; the loss is that of a sample of the samples, with replacement."""
        count, nothing = len(self.truth), np.broadcast_to(self.output.mean(axis=0), self.output.shape)
        ignorant = self._loss(np.array(nothing), np.arange(count)) or 1.0
        increases = []
        for _ in range(_REPEATS):
            output = self.predictor.outputs(self.predictor.section.data(changed(), self.starts)).mean(axis=0)
            chosen = draw.integers(count, size=count)
            increases.append((self._loss(output, chosen) - self._loss(self.output, chosen)) / ignorant)
        return Share(name, float(np.mean(increases)), float(np.std(increases, ddof=1)), gradient)

    def words(self, seed: int) -> dict[str, list[Share]]:
        section, gradients = self.predictor.section, self._gradients()
        assert isinstance(section, TextSection)
        sums = np.bincount(self.values, gradients, minlength=len(section.vocabulary) + 2)
        text = np.repeat(np.arange(len(self.truth)), np.diff(self.starts))
        pairs = np.unique(np.stack([text, self.values]), axis=1)
        often = np.bincount(pairs[1], minlength=len(sums)) >= _LEAST_TEXTS
        often[: UNKNOWN + 1] = False
        chosen = [token for token in np.argsort(-sums, kind="stable")[:_WORDS].tolist() if often[token]]
        total, draw = sums.sum() or 1.0, np.random.default_rng(seed)
        shares = []
        for token in chosen:
            without = np.where(self.values == token, UNKNOWN, self.values)
            gradient = float(sums[token] / total)
            shares.append(self._share(section.vocabulary[token - 2], gradient, draw, partial(np.copy, without)))
        return {"words": shares}

    def stretches(self, seed: int) -> dict[str, list[Share]]:
        section, gradients = self.predictor.section, self._gradients()  # [rows, channels]
        assert isinstance(section, SequenceSection)
        lengths, total = np.diff(self.starts), gradients.sum() or 1.0
        place = (np.arange(len(self.values)) - np.repeat(self.starts[:-1], lengths) + 0.5) / np.repeat(lengths, lengths)
        count, draw = min(_STRETCHES, int(lengths.min())), np.random.default_rng(seed)
        stretch = np.minimum((place * count).astype(np.int64), count - 1)
        everywhere, channels = np.ones(len(place), dtype=bool), np.arange(self.values.shape[1])

        def share(name: str, rows: npt.NDArray[np.bool_], columns: Integers) -> Share:
            gradient = float(gradients[rows][:, columns].sum() / total)
            return self._share(name, gradient, draw, lambda: self._exchanged(place, rows, columns, draw))

        steps = [share(_named(k, count, lengths), stretch == k, channels) for k in range(count)]
        if section.series is None or len(channels) == 1:
            return {"steps": steps}
        names = [(name, np.array([i])) for i, name in enumerate(section.columns)]
        return {"channels": [share(name, everywhere, column) for name, column in names], "steps": steps}

    def _exchanged(
        self, place: Floats, rows: npt.NDArray[np.bool_], columns: Integers, draw: np.random.Generator
    ) -> Values:
        """The values with these rows and columns taken from other sequences, at the same place in them."""
        lengths, other = np.diff(self.starts), draw.permutation(len(self.truth))
        source = np.repeat(self.starts[other], lengths) + (place * np.repeat(lengths[other], lengths)).astype(np.int64)
        changed, at = self.values.copy(), np.ix_(rows, columns)
        changed[at] = self.values[source[rows]][:, columns]
        return changed

    def _gradients(self) -> Floats:
        """|gradient x input| of each value, of all networks: [rows], of a token's vector; or [rows, channels]."""
        nothing, section = Fold(np.arange(0), np.arange(0)), self.predictor.section
        data: LabelledData = section.data(self.values, self.starts)
        problem, total = LabelProblem(data, nothing, torch.device("cpu")), np.zeros(self.values.shape)
        for network, hp in zip(self.predictor.networks, self.predictor.hps, strict=True):
            for i in range(len(self.truth)):
                x, lengths = problem.inputs(np.array([i]), hp)
                product = _product(network, x, lengths, problem.target.output)
                total[self.starts[i] : self.starts[i + 1]] += product[0].double().numpy()
        return total


def _product(network: nn.Module, x: Tensor, lengths: Tensor | None, output: Callable[[Tensor], Tensor]) -> Tensor:
    """[1, steps] of tokens, [1, steps, channels] of values."""
    if x.is_floating_point():
        x = x.clone().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(output(network(x, lengths)).max(dim=1).values.sum(), [x])
        return (gradient * x).abs().detach()
    vectors: list[Tensor] = []
    embedding = network.get_submodule("embedding")
    handle = embedding.register_forward_hook(lambda module, args, made: vectors.append(made.requires_grad_()))
    try:
        with torch.enable_grad():
            best = output(network(x, lengths)).max(dim=1).values.sum()
            (gradient,) = torch.autograd.grad(best, [vectors[0]])
    finally:
        handle.remove()
    return (gradient * vectors[0]).sum(dim=2).abs().detach()


def _named(k: int, count: int, lengths: Integers) -> str:
    """A stretch by its steps, from 1; where sequences differ in length, by its share of them."""
    if (lengths == lengths[0]).all():
        first, last = (-(-(2 * end * int(lengths[0]) - count) // (2 * count)) for end in (k, k + 1))
        return f"step {last}" if last == first + 1 else f"steps {first + 1} to {last}"
    return f"{100 * k // count} to {100 * (k + 1) // count} % of the steps"
