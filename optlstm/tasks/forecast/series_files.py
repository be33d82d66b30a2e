"""Forecasts from a file: which rows, whether they fit the model, and out as a table or as a CSV file of any length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from optlstm.data.frequency import following, same_step
from optlstm.data.series import Series, read_series
from optlstm.errors import InputError
from optlstm.tasks.base import ExportModule, Metrics
from optlstm.tasks.forecast.conformal import LEVELS
from optlstm.tasks.forecast.errors import ErrorSums
from optlstm.tasks.forecast.series_predict import Forecaster, ForecastGraph, ForecastSection
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


class ForecastPredictor:
    """A `Predictor` of one series on files. radii: float32 [levels, columns, horizon], or None without intervals.

    Options of `predict` and `write_csv`:
        start: the first time to forecast, as text; the rows before it are the input. Default: the first after the data.
        backtest: forecast again from each of so many rows on, with what came beside it. Default end: the data's.
        levels: percent, of prediction intervals.

    The columns are the time, each target's forecast, and `COL-lo-90`, `COL-hi-90` for level 90; a backtest has `cutoff`
    (the last time that was known), `step` (from 1) and `COL-actual` too.
    """

    def __init__(self, forecaster: Forecaster, radii: Tensor | None) -> None:
        self.forecaster, self.section = forecaster, forecaster.section
        self._radii = radii

    def predict(self, data: Path, **options: Any) -> pd.DataFrame:
        """Raises InputError with everything in which the file or the options do not fit the model."""
        return as_frame(self._job(data, dates=False, **options))

    def write_csv(self, data: Path, out: Path, **options: Any) -> int:
        """As `predict`, into a CSV file that is whole or not there; a batch of windows in memory at a time."""
        return write_csv(self._job(data, dates=True, **options), out)

    def score(self, data: Path) -> Metrics:
        """The metrics over every window of the file, its first `window` rows being input only."""
        series, section = self._read(data), self.section
        first = range(self.forecaster.window, len(series.values) - section.horizon + 1)
        if not first:
            need = self.forecaster.window + section.horizon
            raise InputError(
                f"data: {data.name} has {len(series.values)} rows; to be scored it needs {need} "
                f"(window {self.forecaster.window} + horizon {section.horizon})"
            )
        naive = np.array(section.naive, dtype=np.float64)  # None becomes NaN
        sums = ErrorSums(self.forecaster.scaler, naive, section.horizon)
        for part, each in self.forecaster.batches(series.values, first):
            rows = series.values[part.start : part.stop - 1 + section.horizon]
            sums.add(np.lib.stride_tricks.sliding_window_view(rows, section.horizon, axis=0), each.mean(axis=0))
        return sums.scores().overall

    def export_module(self) -> ExportModule:
        """[batch, window, columns] -> [batch, horizon, columns], float64, in the data's units."""
        import torch

        scaler = self.forecaster.scaler
        shape = (2, self.forecaster.window, len(self.section.columns))
        example = torch.linspace(-1, 1, shape[0] * shape[1] * shape[2], dtype=torch.float64).reshape(shape)
        example = example * torch.from_numpy(scaler.std) + torch.from_numpy(scaler.mean)
        return ExportModule(ForecastGraph(self.forecaster), example, "window", "forecast")

    def _job(
        self, data: Path, *, dates: bool, start: str | None = None, backtest: int = 0, levels: Sequence[int] = ()
    ) -> _Job:
        check_options(levels, backtest, self.section.calibrated, self._radii is not None)
        series = self._read(data)
        first = self._origins(series, data.name, start, backtest)
        return _Job(self.forecaster, series, first, backtest > 0, tuple(levels), self._radii, dates)

    def _read(self, data: Path) -> Series:
        series = read_series(data, time=self.section.time, target=self.section.columns)
        problem = frequency_problem(series.time, series.freq, self.section.freq, self.section.step)
        if problem:
            raise InputError(f"data: {data.name} {problem}")
        return series

    def _origins(self, series: Series, name: str, start: str | None, backtest: int) -> range:
        """The first rows to forecast; the row after the data's last one is one of them."""
        rows, horizon, window = len(series.values), self.section.horizon, self.forecaster.window
        if start is not None:
            at = _position(series, self.section, start, name)
        else:
            at = rows - horizon - backtest + 1 if backtest else rows
        first = range(at, at + (backtest or 1))
        if backtest and start is None and first.start < window:
            most = max(0, rows - horizon - window + 1)
            raise InputError(f"--backtest: {name} has {rows} rows, enough for {most} forecasts, not for {backtest}")
        if first.start < window:
            have = f"only {max(0, first.start)} rows before the first forecast" if start else f"{rows} rows"
            raise InputError(f"data: {name} has {have}, and the model reads {window}; give it a longer file")
        if backtest and first.stop - 1 + horizon > rows:
            most = max(0, rows - horizon + 1 - first.start)
            raise InputError(
                f"--backtest: {backtest} forecasts of {horizon} steps from row {first.start + 1} on go beyond {name}, "
                f"which has {rows} rows; at most {most}"
            )
        return first


@dataclass(frozen=True)
class _Job:
    """Forecasts of some windows as Arrow tables. dates: times without a clock are written as dates."""

    forecaster: Forecaster
    series: Series
    first: range
    backtest: bool
    levels: tuple[int, ...]
    radii: Tensor | None
    dates: bool

    @property
    def names(self) -> Sequence[str]:
        return ()

    @property
    def kind(self) -> Any:
        """The type of the times."""
        return time_type(self.series.time, dates=self.dates)

    @cached_property
    def schema(self) -> Any:
        time = self.forecaster.section.time
        return schema_of(None, time, self.series.columns, self.kind, self.backtest, self.levels)

    def tables(self) -> Iterator[Any]:
        horizon, ticks, radii, kind = self.forecaster.section.horizon, self._ticks(), self._radii(), self.kind
        for part, each in self.forecaster.batches(self.series.values, self.first):
            at = np.arange(part.start, part.stop)[:, None] + np.arange(horizon)  # [n, horizon]
            forecast, values = each.mean(axis=0), self.series.values
            yield record_batch(self.schema, None, ticks, values, at, forecast, radii, kind=kind, backtest=self.backtest)

    def _radii(self) -> list[NDArray[np.float64]]:
        """For each level, [columns, horizon] in the data's units."""
        if self.radii is None:
            return []
        table = self.radii.double().numpy() * self.forecaster.scaler.std[:, None]
        return [table[LEVELS.index(level)] for level in self.levels]

    def _ticks(self) -> NDArray[np.int64]:
        """The times of the data and of one horizon after it: microseconds, or the whole numbers."""
        section, time = self.forecaster.section, self.series.time
        freq = self.series.freq if same_step(self.series.freq, section.freq) else section.freq
        after = following(time, freq, section.horizon)
        both = [index.asi8 if isinstance(index, pd.DatetimeIndex) else index.to_numpy() for index in (time, after)]
        return np.concatenate(both).astype(np.int64)


def _position(series: Series, section: ForecastSection, start: str, name: str) -> int:
    """The row of a time that the user names; that after the last row counts too."""
    time = series.time
    where = f"{name} has {time[0]} to {time[-1]}"
    wanted = wanted_time(time, start, name, where)
    freq = series.freq if same_step(series.freq, section.freq) else section.freq
    known = time.append(following(time, freq, 1))
    found = int(known.get_indexer(pd.Index([wanted]))[0])
    if found < 0:
        raise InputError(f"--from: {start!r} is none of the data's times, nor the next one after them ({where})")
    return found
