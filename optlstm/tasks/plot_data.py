"""The data of the plots that show a trained network on its validation data. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from optlstm.util.arrays import Floats, Integers


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
    """

    which: str
    column: str
    first: int
    before: Floats
    truth: Floats
    forecast: Floats
    mse: float


@dataclass(frozen=True, eq=False)
class Forecasts:
    """Forecasts on the validation windows.

    Args:
        examples: The best, the median and the worst by mean squared error, over all windows and columns; none twice.
        by_step: Metric (`mse`, `mae`, standardised scale) to its mean at each step ahead, [horizon].
        windows: The number of forecasts.
        last_fold: Whether they are those of the last of several folds.
    """

    examples: tuple[Example, ...]
    by_step: Mapping[str, Floats]
    windows: int
    last_fold: bool = False

    @property
    def rows(self) -> str:
        """Which rows were forecast, in words."""
        return "the last fold" if self.last_fold else "the validation rows"


@dataclass(frozen=True, eq=False)
class Confusion:
    """Predicted against true classes on the validation data. counts: [true, predicted]."""

    labels: tuple[str, ...]
    counts: Integers


PlotData = Forecasts | Confusion
