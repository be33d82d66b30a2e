"""Series that were read, checked and split, and the arrays made from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from optlstm.tasks.forecast.baselines import baselines
from optlstm.tasks.forecast.data import ForecastData, Inputs, scales
from optlstm.tasks.forecast.errors import seasonal_scale
from optlstm.tasks.forecast.losses import QUANTILES
from optlstm.tasks.options import DataConfig
from optlstm.util.arrays import Floats, Integers
from optlstm.util.format import many

if TYPE_CHECKING:
    from optlstm.data.panel import Panel


def gaps_line(count: int, gaps: str, inside: str = "") -> str:
    """How many values are missing, and what is done about them. inside: how far, where they are interpolated."""
    was, is_, it = ("was", "is", "it") if count == 1 else ("were", "are", "them")
    done = f"{was} interpolated{inside}" if gaps == "interpolate" else f"{is_} masked"
    return f"{many(count, 'missing value')} {done}; no loss and no score counts {it} as targets"


@dataclass(frozen=True)
class PreparedSeries:
    """One series or many.

    Args:
        cuts: of every series, [n, 4] of rows: train from, validation from, test from, the end.
        gaps: missing rows and values.
        train_rows: of every series, [n], those that `data.fraction` leaves out included.
        folds: the cuts of a rolling-origin validation.
        season: rows, 1 where there is none: the frequency's, or found in the training rows.
    """

    panel: Panel
    config: DataConfig
    cuts: Integers
    horizon: int
    calendar: tuple[str, ...]
    gaps: int
    train_rows: Integers
    folds: tuple[Integers, ...] = ()
    season: int = 1

    @property
    def epoch_windows(self) -> int | None:
        """The most windows in an epoch. The default is for many series: one has a limit only where it is set."""
        limit = self.config.epoch_windows
        default = DataConfig.model_fields["epoch_windows"].default
        return None if self.panel.series is None and limit == default else limit

    def data(self) -> ForecastData:
        """Values, covariates and the split; standardised by the training rows (of the first fold) alone."""
        return ForecastData.of(
            self.panel,
            self.inputs(),
            self.scales(),
            cuts=self.cuts,
            horizon=self.horizon,
            epoch_windows=self.epoch_windows,
            epoch_steps=self.config.epoch_steps,
            folds=self.folds,
            naive=self.naive(),
            levels=self.levels,
            positive=self.config.positive,
        )

    @property
    def levels(self) -> tuple[float, ...]:
        """Of quantiles that are trained, and that metrics are means over."""
        return self.config.quantiles or QUANTILES

    def scales(self) -> tuple[Floats, Floats]:
        """(mean, std) of the training rows, [series, columns]."""
        return scales(self.panel, self.first_cuts, self.config.scaling)

    def naive(self) -> Floats:
        """What `mase` divides by, from the training rows, [series, columns]."""
        rows = self.first_cuts[:, :2].tolist()
        return np.array([seasonal_scale(self.panel.values[start:stop], self.season) for start, stop in rows])

    def inputs(self) -> Inputs:
        """The covariates, their scales and categories fitted to the training rows."""
        config, masked = self.config, self.config.gaps == "mask"
        return Inputs.fit(self.panel, self.first_cuts, self.calendar, config.future or (), config.past or (), masked)

    def baselines(
        self, train: Integers, target: Integers, window: int, every: int = 1
    ) -> Iterator[tuple[int, Integers, dict[str, Floats]]]:
        """Forecasts that need no tuning, on the standardised scale.

        Args:
            train, target: first row and end of every series' rows to learn from, and to forecast, [n, 2].
            every: rows from one forecast to the next.

        Yields:
            A series' position, the rows at which the forecasts begin, and [windows, columns, horizon] by name.
        """
        starts, (mean, std) = self.panel.starts[:-1], self.scales()

        def values(i: int) -> Floats:
            scaled = np.asarray((self.panel.inputs[self.panel.rows(i)] - mean[i]) / std[i])
            return np.where(np.isnan(scaled), 0.0, scaled) if gaps else scaled

        def missing(i: int) -> NDArray[np.bool_]:
            return np.isnan(self.panel.values[self.panel.rows(i)])

        gaps = self.panel.filled is not None
        learn = [range(begin, end) for begin, end in (train - starts[:, None]).tolist()]
        last = self.horizon - 1
        first = [range(begin, end - last, every) for begin, end in (target - starts[:, None]).tolist()]
        where = missing if gaps else None
        for i, rows, forecasts in baselines(values, learn, first, window, self.horizon, self.season, where):
            yield i, np.array(rows) + starts[i], forecasts

    @property
    def first_cuts(self) -> Integers:
        """The cuts of the fold with the fewest training rows, where there are folds."""
        return self.folds[0] if self.folds else self.cuts
