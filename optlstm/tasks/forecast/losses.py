"""What training minimises: the values of `training.loss`. No torch: the driver reads the table too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field, model_validator

from optlstm.tasks.base import CardPart
from optlstm.tasks.options import levels_problem
from optlstm.training.metric import Goal
from optlstm.util.arrays import Floats

if TYPE_CHECKING:
    from optlstm.training.heads import Head

QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)  # by default; older studies rely on it


@dataclass(frozen=True)
class Loss:
    """A mean over windows, columns and steps, of forecasts on the standardised scale.

    Args:
        metric: the validation metric that decides by default.
        function: of `torch.nn.functional`, of point forecasts and targets; None: the loss of quantiles, or a
            distribution's negative log-likelihood.
        scaled: whether the errors of each series and column are in units of what `mase` divides by.
        counts: whether the values must be whole numbers that are not below 0.
    """

    metric: str
    function: str | None = None
    scaled: bool = False
    counts: bool = False


LOSSES = {
    "mse": Loss("mse", "mse_loss"),
    "mae": Loss("mae", "l1_loss"),
    "huber": Loss("mse", "huber_loss"),  # its delta is 1
    "mase": Loss("mase", "l1_loss", scaled=True),
    "quantiles": Loss("wql"),
    "normal": Loss("wql"),
    "student_t": Loss("wql"),
    "poisson": Loss("wql", counts=True),
    "negative_binomial": Loss("wql", counts=True),
}
PROBABILISTIC = ("wql", "crps", "msis")  # validation metrics: see `probability`; of a point forecast's quantiles, too
_OF_MEANS = ("mse", "rmse")  # metrics of which the mean is the best forecast, not the median


class HeadSpec(CardPart):
    """What the networks' numbers for each step ahead mean: see `optlstm.training.heads`.

    Args:
        loss: one of `LOSSES`.
        levels: of quantiles: those that are trained, and those that metrics and weights are chosen by. None of points.
        positive: whether no forecast is below zero.
        mean: whether the point forecast is the mean; otherwise it is the median.
    """

    loss: Annotated[str, Field(pattern=f"^({'|'.join(LOSSES)})$")] = "mse"
    levels: tuple[float, ...] = ()
    positive: bool = False
    mean: bool = False

    @model_validator(mode="after")
    def _levels_are_of_quantiles(self) -> HeadSpec:
        if bool(self.levels) != self.probabilistic or (self.levels and levels_problem(self.levels)):
            raise ValueError("the levels do not go with the loss, or do not increase")
        return self

    @classmethod
    def of(cls, goal: Goal, levels: tuple[float, ...], positive: bool) -> HeadSpec:
        """That of a training with this goal."""
        loss = goal.loss or next(iter(LOSSES))
        mean = LOSSES[loss].function is None and next(iter(goal.metrics), None) in _OF_MEANS
        return cls(loss=loss, levels=levels if LOSSES[loss].function is None else (), positive=positive, mean=mean)

    @property
    def probabilistic(self) -> bool:
        """Whether its quantiles differ from each other."""
        return LOSSES[self.loss].function is None

    @property
    def counts(self) -> bool:
        """Whether the values are counts."""
        return LOSSES[self.loss].counts

    def linear_head(self) -> Head:
        """The head of linear forecasts in one ensemble with such networks."""
        from optlstm.training.heads import POINT, QuantileHead

        if not self.probabilistic:
            return POINT
        return QuantileHead(positive=self.positive or self.counts, levels=self.levels, mean=self.mean)

    def head(self) -> Head:
        """The head itself; it brings torch."""
        from optlstm.training.heads import CountHead, NormalHead, PointHead, QuantileHead

        if function := LOSSES[self.loss].function:
            return PointHead(positive=self.positive, function=function)
        if self.loss == "quantiles":
            return QuantileHead(positive=self.positive, mean=self.mean, levels=self.levels)
        if self.counts:
            return CountHead(mean=self.mean, dispersed=self.loss == "negative_binomial")
        return NormalHead(positive=self.positive, mean=self.mean, student=self.loss == "student_t")


def has_quantiles(loss: str | None, metrics: Sequence[str | None]) -> bool:
    """Whether `data.quantiles` means something to a training: to its loss, or to a metric that decides."""
    return (loss in LOSSES and LOSSES[loss].function is None) or bool({*metrics} & {*PROBABILISTIC})


def mase_factors(std: Floats, naive: Floats) -> Floats:
    """What turns errors on the standardised scale into those of `mase`, [series, columns].

    Where mase is not defined (too few rows, or the same in every season), the median of the other factors: such a
    series is trained on too.

    Args:
        std: Of the standardised scale, [series, columns].
        naive: What mase divides by, [series, columns]: see `errors.seasonal_scale`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = std / naive
    defined = np.isfinite(factors)
    return np.where(defined, factors, np.median(factors[defined]))
