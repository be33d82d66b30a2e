"""Series that were read, checked and split, and the arrays made from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from optlstm.tasks.forecast.baselines import baselines
from optlstm.tasks.forecast.data import ForecastData, Inputs, scales
from optlstm.tasks.options import DataConfig
from optlstm.util.arrays import Floats, Integers

if TYPE_CHECKING:
    from optlstm.data.panel import Panel


@dataclass(frozen=True)
class PreparedSeries:
    """One series or many.

    Args:
        cuts: of every series, [n, 4] of rows: train from, validation from, test from, the end.
        gaps: missing rows and values that were filled.
        train_rows: of the shortest series, with those that `data.fraction` leaves out.
        folds: the cuts of a rolling-origin validation.
    """

    panel: Panel
    config: DataConfig
    cuts: Integers
    horizon: int
    calendar: tuple[str, ...]
    gaps: int
    train_rows: int
    folds: tuple[Integers, ...] = ()

    @property
    def epoch_windows(self) -> int | None:
        """The most windows in an epoch. The default is for many series: one has no such limit unless it is set."""
        limit = self.config.epoch_windows
        one = self.panel.series is None
        return None if one and limit == DataConfig.model_fields["epoch_windows"].default else limit

    def data(self) -> ForecastData:
        """Values, covariates and the split; standardised by the training rows alone, with folds by the first's."""
        return ForecastData.of(
            self.panel,
            self.inputs(),
            self.scales(),
            cuts=self.cuts,
            horizon=self.horizon,
            epoch_windows=self.epoch_windows,
            folds=self.folds,
        )

    def scales(self) -> tuple[Floats, Floats]:
        """(mean, std) of the training rows, [series, columns]."""
        return scales(self.panel, self.first_cuts, self.config.scaling)

    def inputs(self) -> Inputs:
        """The covariates as the training rows have them."""
        config = self.config
        return Inputs.fit(self.panel, self.first_cuts, self.calendar, config.future or (), config.past or ())

    def baselines(
        self, train: Integers, target: Integers, window: int, every: int = 1
    ) -> Iterator[tuple[int, Integers, dict[str, Floats]]]:
        """Forecasts that need no tuning, on the standardised scale.

        Args:
            train, target: of every series, [n, 2] of rows: those to learn from, and those to forecast.
            every: rows from one forecast to the next.

        Yields:
            A series' position, the rows at which the forecasts begin, and [windows, columns, horizon] by name.
        """
        starts, (mean, std) = self.panel.starts[:-1], self.scales()

        def values(i: int) -> Floats:
            return np.asarray((self.panel.values[self.panel.rows(i)] - mean[i]) / std[i])

        learn = [range(begin, end) for begin, end in (train - starts[:, None]).tolist()]
        last = self.horizon - 1
        first = [range(begin, end - last, every) for begin, end in (target - starts[:, None]).tolist()]
        for i, rows, named in baselines(values, learn, first, window, self.horizon, self.panel.season):
            yield i, np.array(rows) + starts[i], named

    @property
    def first_cuts(self) -> Integers:
        """Of the fold with the fewest training rows, where there are folds."""
        return self.folds[0] if self.folds else self.cuts
