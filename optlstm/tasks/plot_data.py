"""The data of the plots that show a trained network on its validation data. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from optlstm.util.arrays import Floats, Integers

Truth = Floats | Integers


@dataclass(frozen=True, eq=False)
class Example:
    """One forecast of one column, in the data's units.

    Args:
        which: Its rank among all forecasts: `best`, `median` or `worst`.
        column: The column's name.
        first: The row of the first forecast step.
        before: [steps] The last input rows.
        truth, forecast: [horizon].
        mse: Its mean squared error on the standardised scale.
        fan: Intervals by level in percent, ([horizon], [horizon]), of other forecasts' errors. Empty: too few.
    """

    which: str
    column: str
    first: int
    before: Floats
    truth: Floats
    forecast: Floats
    mse: float
    fan: Mapping[int, tuple[Floats, ...]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Forecasts:
    """Forecasts on the validation windows.

    Args:
        examples: The best, the median and the worst by mean squared error, over all windows and columns; none twice.
        by_step: Metric (`mse`, `mae`, standardised scale) to its mean at each step ahead, [horizon].
        windows: The number of forecasts.
        last_fold: Whether they are those of the last of several folds.
        coverage: Level in percent to the share of values inside its intervals at each step, [horizon]: radii of one
            half of the forecasts, tried on the other. Empty: too few.
        pit: Share of the values between each two deciles of such forecasts, [10]. None: too few.
    """

    examples: tuple[Example, ...]
    by_step: Mapping[str, Floats]
    windows: int
    last_fold: bool = False
    coverage: Mapping[int, Floats] = field(default_factory=dict)
    pit: Floats | None = None

    @property
    def rows(self) -> str:
        """Which rows were forecast, in words."""
        return "the last fold" if self.last_fold else "the validation rows"


@dataclass(frozen=True, eq=False)
class Strip:
    """The labels of a sequence's first steps, [steps] each: numbers of classes, or numbers. sequence: its position."""

    sequence: int
    truth: Truth
    predicted: Truth


@dataclass(frozen=True, eq=False)
class Confusion:
    """Predicted against true classes on the validation data. counts: [true, predicted]."""

    labels: tuple[str, ...]
    counts: Integers
    strips: tuple[Strip, ...] = ()


@dataclass(frozen=True, eq=False)
class Regression:
    """Numbers predicted for the validation data, in the labels' units. truth, predicted: [n]."""

    truth: Floats
    predicted: Floats
    strips: tuple[Strip, ...] = ()


PlotData = Forecasts | Confusion | Regression
