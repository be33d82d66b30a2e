"""Forecasts for every series of a file: which rows, whether they fit the model, and out as a long table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from optlstm.data.panel import Categories, Panel, named
from optlstm.data.panel_reader import read_panel
from optlstm.data.panel_rows import extended, filled, with_missing_rows
from optlstm.data.series import ticks_of
from optlstm.errors import InputError
from optlstm.tasks.base import ExportModule, Metrics
from optlstm.tasks.forecast.conformal import LEVELS
from optlstm.tasks.forecast.data import Integers, PanelData
from optlstm.tasks.forecast.predict import PanelForecaster
from optlstm.tasks.forecast.scores import PanelSums
from optlstm.tasks.forecast.tables import (
    as_frame,
    check_options,
    frequency_problem,
    record_batch,
    schema_of,
    time_type,
    wanted_time,
    write_csv,
)

if TYPE_CHECKING:
    from optlstm.tasks.forecast.series_predict import Floats


class PanelPredictor:
    """A `Predictor` of many series on files. radii: float32 [levels, columns, horizon], or None.

    Options of `predict` and `write_csv` are those of a single series' model (`ForecastPredictor`), each for every
    series of the file. The output has a row for every series and step: the series, the time, then the same columns.
    """

    def __init__(self, forecaster: PanelForecaster, radii: Tensor | None) -> None:
        self.forecaster, self.section = forecaster, forecaster.section
        self._radii = radii

    def predict(self, data: Path, **options: Any) -> pd.DataFrame:
        """Raises InputError with everything in which the file or the options do not fit the model."""
        return as_frame(self._job(data, dates=False, **options))

    def write_csv(self, data: Path, out: Path, **options: Any) -> int:
        """As `predict`, into a CSV file that is whole or not there; a batch of windows in memory at a time."""
        return write_csv(self._job(data, dates=True, **options), out)

    def score(self, data: Path) -> Metrics:
        """The metrics over every window of the file, the first `window` rows of each series being input only."""
        panel, section, window = self._read(data), self.section, self.forecaster.window
        counts = panel.known - window - section.horizon + 1
        if (counts < 1).any():
            short = np.flatnonzero(counts < 1)
            raise InputError(
                f"data: {_who(panel, short, data)} too short to be scored: {window + section.horizon} rows are needed "
                f"(window {window} + horizon {section.horizon})"
            )
        first, series = _counted(panel.starts[:-1] + window, counts)
        ready = section.data(panel)
        known = dict(zip(section.ids, section.naive, strict=True))
        nothing = [None] * len(section.columns)
        naive = np.array([known.get(name, nothing) for name in panel.ids], dtype=np.float64)  # None becomes NaN
        sums = PanelSums(ready.std, naive, section.horizon)
        stretches = np.lib.stride_tricks.sliding_window_view(panel.values, section.horizon, axis=0)
        for part, each in self.forecaster.batches(ready, first, series):
            of = series[part]
            raw = each.mean(axis=0) * ready.std[of][:, :, None] + ready.mean[of][:, :, None]
            sums.add(of, stretches[first[part]], raw)
        return sums.scores().overall

    def export_module(self) -> ExportModule:
        """Raises InputError: a graph has one input, and these networks need each series' scale and covariates."""
        raise InputError("export: a model of many series, or with covariates, has no single input; use predict")

    def _job(
        self, data: Path, *, dates: bool, start: str | None = None, backtest: int = 0, levels: Sequence[int] = ()
    ) -> _Job:
        check_options(levels, backtest, self.section.calibrated, self._radii is not None)
        panel = self._read(data)
        step = self.section.step if self.section.freq is None else None
        lengths = np.diff(panel.starts)
        panel = extended(panel, self.section.horizon, step)
        origins = self._origins(panel, data, start, backtest)
        first, series = _counted(origins, np.full(len(panel.ids), backtest or 1))
        self._check_future(panel, lengths, first, series, data)
        ready = self.section.data(panel)
        return _Job(self.forecaster, panel, ready, first, series, backtest > 0, tuple(levels), self._radii, dates)

    def _read(self, data: Path) -> Panel:
        section = self.section
        panel = read_panel(data, section.wanted())
        longest = panel.rows(int(panel.known.argmax()))
        problem = frequency_problem(panel.time[longest], panel.freq, section.freq, section.step)
        if problem:
            raise InputError(f"data: {data.name} {problem}")
        if section.gaps == "interpolate":
            panel = with_missing_rows(panel)
            end = panel.starts[:-1] + panel.known
            panel, _ = filled(panel, np.column_stack([panel.starts[:-1], end]))
        return panel

    def _origins(self, panel: Panel, data: Path, start: str | None, backtest: int) -> Integers:
        """The first row to forecast in every series; that behind its last target is one of them."""
        window, horizon = self.forecaster.window, self.section.horizon
        end = panel.starts[:-1] + panel.known
        at = end - horizon - backtest + 1 if backtest else end
        if start is not None:
            at = _positions(panel, start, data.name)
        before = at - panel.starts[:-1]
        short = np.flatnonzero(before < window)
        if len(short):
            shown = panel.named(short, [f"{max(0, before[i])} rows" for i in short])
            who = f"{len(short)} of {len(panel.ids)} series of {data.name} have" if panel.series else f"{data.name} has"
            raise InputError(
                f"data: {who} too few rows before the first forecast, and the model reads {window}"
                + (f": {shown}" if panel.series else f" ({max(0, before[0])} rows)")
            )
        beyond = np.flatnonzero(at + backtest - 1 + horizon > end)
        if backtest and len(beyond):
            raise InputError(
                f"--backtest: {backtest} forecasts of {horizon} steps go beyond the last row of "
                f"{_who(panel, beyond, data)}"
            )
        return at

    def _check_future(self, panel: Panel, lengths: Integers, first: Integers, series: Integers, data: Path) -> None:
        """Raises InputError where a covariate that must be known is not, in some series."""
        problems = []
        for feature in self.section.inputs.future:
            column, end = panel.covariates[feature.name], first + self.section.horizon
            short = end - panel.starts[series] > lengths[series]  # an empty category is one; no row is none
            if not isinstance(column, Categories):
                missing = np.concatenate([[0], np.cumsum(np.isnan(column))])
                short |= missing[end] > missing[first]
            lacking = np.unique(series[short])
            if len(lacking):
                of = f" of {len(lacking)} series ({panel.named(lacking)})" if panel.series else ""
                problems.append(
                    f"data: {data.name} lacks '{feature.name}' for the {self.section.horizon} steps to forecast{of}; "
                    f"add rows behind the last one, with the time and '{feature.name}' and without "
                    f"{' and '.join(self.section.columns)}"
                )
        if problems:
            raise InputError(problems)


@dataclass(frozen=True)
class _Job:
    """Forecasts of some windows as Arrow tables. dates: times without a clock are written as dates."""

    forecaster: PanelForecaster
    panel: Panel
    data: PanelData
    first: Integers
    series: Integers
    backtest: bool
    levels: tuple[int, ...]
    radii: Tensor | None
    dates: bool

    @property
    def names(self) -> Sequence[str]:
        return self.panel.ids

    @property
    def kind(self) -> Any:
        """The type of the times."""
        return time_type(self.panel.time, dates=self.dates)

    @cached_property
    def schema(self) -> Any:
        section = self.forecaster.section
        return schema_of(section.series, section.time, section.columns, self.kind, self.backtest, self.levels)

    def tables(self) -> Iterator[Any]:
        section, ticks, kind = self.forecaster.section, ticks_of(self.panel.time), self.kind
        ids = np.array(self.panel.ids)
        for part, each in self.forecaster.batches(self.data, self.first, self.series):
            of = self.series[part]
            std, mean = self.data.std[of][:, :, None], self.data.mean[of][:, :, None]
            forecast = each.mean(axis=0) * std + mean  # [n, columns, horizon]
            self._check(forecast, of)
            at = self.first[part][:, None] + np.arange(section.horizon)  # [n, horizon]
            radii = [self._radius(level) * std for level in self.levels]  # [n, columns, horizon]
            own, values = ids[of] if section.series else None, self.panel.values
            yield record_batch(self.schema, own, ticks, values, at, forecast, radii, kind=kind, backtest=self.backtest)

    def _radius(self, level: int) -> NDArray[np.float64]:
        """[columns, horizon] on the standardised scale."""
        assert self.radii is not None
        return self.radii[LEVELS.index(level)].double().numpy()

    def _check(self, forecast: Floats, of: Integers) -> None:
        wrong = np.unique(of[~np.isfinite(forecast).all(axis=(1, 2))])
        if len(wrong):
            which = f" of {len(wrong)} series ({self.panel.named(wrong)})" if self.panel.series else ""
            raise InputError(f"data: no finite forecast{which}; values are too far from those of the training rows")


def _counted(begin: Integers, counts: Integers) -> tuple[Integers, Integers]:
    """(rows, series): of each series so many rows, from `begin` on."""
    series = np.repeat(np.arange(len(begin)), counts)
    before = np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(begin, counts) + np.arange(int(counts.sum())) - before, series


def _who(panel: Panel, which: Sequence[int] | Integers, data: Path) -> str:
    return (
        f"{len(which)} of {len(panel.ids)} series of {data.name} ({panel.named(which)})" if panel.series else data.name
    )


def _positions(panel: Panel, start: str, name: str) -> Integers:
    """The row of a time that the user names, in every series; that behind the last target counts too."""
    time = panel.time
    wanted = wanted_time(time, start, name, str(time[0]))
    if isinstance(time, pd.DatetimeIndex):
        wanted = ticks_of(pd.DatetimeIndex([wanted]))[0]
    ticks, at, lacking = ticks_of(time), np.empty(len(panel.ids), dtype=np.int64), []
    for i, begin in enumerate(panel.starts[:-1].tolist()):
        own = ticks[begin : begin + int(panel.known[i]) + 1]
        found = int(np.searchsorted(own, wanted))
        if found < len(own) and own[found] == wanted:
            at[i] = begin + found
        else:
            lacking.append(panel.ids[i])
    if lacking:
        which = f"{len(lacking)} of {len(panel.ids)} series ({named(lacking)})" if panel.series else name
        raise InputError(f"--from: {start!r} is none of the times of {which}, nor the next one after them")
    return at
