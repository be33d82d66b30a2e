"""Labels that are numbers: a regression on the standardised scale, of points or of quantiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from optlstm.data.labels import check_parts, label_numbers
from optlstm.data.scaling import Standardizer
from optlstm.errors import InputError
from optlstm.tasks.base import Positive
from optlstm.tasks.forecast.losses import QUANTILES, HeadSpec
from optlstm.tasks.forecast.probability import level_name, pinball
from optlstm.tasks.label.target import LabelColumn, Loss, Target, Truth, ridge
from optlstm.tasks.plot_data import Regression
from optlstm.training.metric import Goal, Metric
from optlstm.util.arrays import Floats, Integers

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from optlstm.data.labels import LabelledSplit
    from optlstm.tasks.options import DataConfig
    from optlstm.training.heads import Head

_STRATA, _IN_STRATUM = 10, 10  # parts of the labels by size, of so many samples at least
_EARLY, _LATE = 13.0, 10.0  # of the rul_score: what errors are divided by
_UNITS = "in the label's units"


class Number(Target):
    """truth: the numbers, float64, at most `cap`; outputs are in their units.

    Args:
        cap: the largest number that is learned and predicted; None: there is none.
        mean, std: of the training labels; networks learn (label - mean) / std.
        head: what the networks' numbers mean.
    """

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("rmse", _UNITS),
        Metric("mae", _UNITS),
        Metric("r2", higher=True),
        Metric("mape", "percent"),
        Metric("pinball", _UNITS),
        Metric("rul_score"),
    )
    losses: ClassVar[Mapping[str, str]] = {"mse": "rmse", "mae": "mae", "huber": "rmse", "quantiles": "pinball"}
    compared: ClassVar[tuple[str, ...]] = ("rmse", "mae")
    output_name: ClassVar[str] = "prediction"
    on_features: ClassVar[bool] = True
    on_demand: ClassVar[tuple[str, ...]] = ("pinball", "rul_score")
    unused: ClassVar[tuple[str, ...]] = ("label_smoothing",)

    kind: Literal["number"] = "number"
    cap: float | None = None
    mean: float = 0.0
    std: Positive = 1.0
    head: HeadSpec = HeadSpec()
    levels: tuple[float, ...] = QUANTILES

    @classmethod
    def read(cls, labels: Sequence[str], column: LabelColumn, options: DataConfig) -> Self:
        """Raises InputError where labels are no numbers, or all are the same."""
        if options.class_weights:
            raise InputError("data.class_weights: the labels are numbers, not classes; leave it out")
        target = cls(cap=options.cap, levels=options.quantiles or QUANTILES)
        distinct = np.unique(target.truth(labels, column))
        if len(distinct) < 2:
            raise InputError(
                f"data: column '{column.name}' of {column.file} holds only one number ({distinct[0]:g}"
                f"{', with data.cap' if options.cap is not None else ''}); there is nothing to learn"
            )
        return target

    def truth(self, labels: Sequence[str], column: LabelColumn) -> Floats:
        """Raises InputError for labels that are no finite numbers."""
        numbers = label_numbers(labels, *column)
        return numbers if self.cap is None else np.minimum(numbers, self.cap)

    def strata(self, truth: Truth) -> Integers:
        """Parts of equal size, from the smallest numbers to the largest."""
        strata = np.zeros(len(truth), dtype=np.int64)
        parts = max(1, min(_STRATA, len(truth) // _IN_STRATUM))
        strata[np.argsort(truth, kind="stable")] = np.arange(len(truth)) * parts // max(1, len(truth))
        return strata

    def check_split(
        self, truth: Truth, split: LabelledSplit, column: LabelColumn, group: str | None, *, tested: bool, noun: str
    ) -> None:
        """Raises InputError also where the training labels of a fold are all the same."""
        check_parts(split, group, tested=tested, noun=noun)
        if any(len(np.unique(truth[fold.train])) < 2 for fold in split.folds):
            raise InputError(
                f"data: column '{column.name}' of {column.file} holds only one number among the training samples"
            )

    def fitted(self, known: Truth) -> Self:
        scaler = Standardizer.fit(known[:, None], "the label")
        return self.model_copy(update={"mean": float(scaler.mean[0]), "std": float(scaler.std[0])})

    def describe(self) -> str:
        return "a number" if self.cap is None else f"a number up to {self.cap:g}"

    def record(self) -> dict[str, Any]:
        return {"kind": self.kind, "cap": self.cap, "quantiles": list(self.levels)}

    def trained_for(self, goal: Goal) -> Self:
        return self.model_copy(update={"head": HeadSpec.of(goal, self.levels, positive=False)})

    @property
    def outputs(self) -> int:
        return self._head.outputs

    @property
    def width(self) -> int:
        """The number; where quantiles are trained, behind it those."""
        return 1 + len(self.head.levels)

    @property
    def _head(self) -> Head:
        return self.head.head()

    def loss(self, known: Truth, device: torch.device) -> Loss:
        """That of the head, on the standardised scale."""
        head, mean, std = self._head, self.mean, self.std

        def loss(raw: Tensor, truth: Tensor, smoothing: float) -> Tensor:
            target = ((truth - mean) / std).float()[:, None]  # [batch, 1], as of a horizon of one step
            return head.loss(_placed(head, raw), target)

        return loss

    def output(self, raw: Tensor) -> Tensor:
        import torch

        head = self._head
        out = _placed(head, raw)
        parts = [head.point(out)]  # [n, 1]
        if self.head.levels:
            parts.append(head.quantiles(out, self.head.levels)[:, 0])
        numbers = torch.cat(parts, dim=1).double() * self.std + self.mean
        return numbers if self.cap is None else numbers.clamp(max=self.cap)

    def scores(self, output: Floats, truth: Truth, more: Sequence[str] = ()) -> dict[str, float]:
        """rul_score: of remaining useful life, a sum in which a late warning is worse (Saxena et al. 2008).

        r2: as scikit-learn's; of labels that are all the same 0. mape: of those that are not 0; NaN without any."""
        error, given = output[:, 0] - truth, truth != 0
        squared, spread = float(np.square(error).mean()), float(truth.var())
        scores = {
            "rmse": squared**0.5,
            "mae": float(np.abs(error).mean()),
            "r2": 1 - squared / spread if spread else 0.0,
            "mape": 100 * float(np.abs(error[given] / truth[given]).mean()) if given.any() else float("nan"),
        }
        if self.head.levels or "pinball" in more:
            quantiles = output[:, 1:] if self.head.levels else np.repeat(output, len(self.levels), axis=1)
            losses = [2 * pinball(truth, quantiles[:, i], level).mean() for i, level in enumerate(self.levels)]
            scores["pinball"] = float(np.mean(losses))
        if "rul_score" in more:
            scores["rul_score"] = float(np.expm1(np.where(error < 0, -error / _EARLY, error / _LATE)).sum())
        return scores

    def predicted(self, output: Floats) -> Floats:
        return output[:, 0]

    def prediction(self, output: Floats) -> Floats:
        return output[:, 0]

    def plot_data(self, output: Floats, truth: Truth) -> Regression:
        return Regression(truth, self.predicted(output))

    def guesses(self, known: Truth) -> dict[str, Floats]:
        """Mean and median of the training labels, with their quantiles."""
        quantiles = np.quantile(known, self.head.levels) if self.head.levels else np.zeros(0)
        return {
            name: np.concatenate([[value], quantiles])
            for name, value in (("mean", known.mean()), ("median", np.median(known)))
        }

    def as_output(self, truth: Truth) -> Floats:
        return np.repeat(truth[:, None], self.width, axis=1)

    def linear(self, x: Any, known: Truth, wanted: Any) -> Floats:
        """Ridge regression; no number is above the cap."""
        predicted = ridge(x, known, wanted)
        return self.as_output(predicted if self.cap is None else np.minimum(predicted, self.cap))

    def columns(self, output: Floats) -> dict[str, Any]:
        """The number, and the quantiles that were trained: `q10` of the level 0.1."""
        quantiles = {f"q{level_name(level)}": output[:, 1 + i] for i, level in enumerate(self.head.levels)}
        return {"prediction": output[:, 0], **quantiles}


def _placed(head: Head, raw: Tensor) -> Tensor:
    """raw [n, outputs] as forecasts one step ahead, [n, 1(, outputs)]."""
    return head.place(raw if head.outputs == 1 else raw[:, None], None, 0.0, 1.0)
