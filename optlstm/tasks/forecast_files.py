"""Forecasts from a file: which rows, whether they fit the model, and out as a table or as a CSV file of any length."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor, nn

from optlstm.data.frequency import following, same_step
from optlstm.data.series import Series, read_series
from optlstm.errors import InputError
from optlstm.files import write_stream
from optlstm.tasks.conformal import LEVELS, highest_level
from optlstm.tasks.forecaster import Forecaster, ForecastGraph, ForecastSection
from optlstm.tasks.kind import Metrics
from optlstm.tasks.metrics import ErrorSums

if TYPE_CHECKING:
    from typing import IO

_DAY_US = 24 * 3600 * 10**6


class ForecastRunner:
    """A forecaster on files (`kind.Runner`). radii: float32 [levels, columns, horizon], or None without intervals.

    Options of `predict` and `write`:
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
        job = self._job(data, dates=False, **options)
        frame: pd.DataFrame = pa.Table.from_batches(list(job.tables()), job.schema).to_pandas()
        return frame

    def write(self, data: Path, out: Path, **options: Any) -> int:
        """As `predict`, into a CSV file that is whole or not there; a batch of windows in memory at a time."""
        from pyarrow import csv as pa_csv

        job, rows = self._job(data, dates=True, **options), 0

        def write_to(file: IO[bytes]) -> None:
            nonlocal rows
            heading = io.StringIO()
            csv.writer(heading, lineterminator="\n").writerow(job.schema.names)
            file.write(heading.getvalue().encode())
            plain = pa_csv.WriteOptions(include_header=False, quoting_style="none")
            with pa_csv.CSVWriter(file, job.schema, write_options=plain) as writer:
                for table in job.tables():
                    writer.write_batch(table)
                    rows += table.num_rows

        write_stream(out, write_to)
        return rows

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

    def graph(self) -> tuple[nn.Module, Tensor, str, str]:
        """[batch, window, columns] -> [batch, horizon, columns], float64, in the data's units."""
        import torch

        scaler = self.forecaster.scaler
        shape = (2, self.forecaster.window, len(self.section.columns))
        example = torch.linspace(-1, 1, shape[0] * shape[1] * shape[2], dtype=torch.float64).reshape(shape)
        example = example * torch.from_numpy(scaler.std) + torch.from_numpy(scaler.mean)
        return ForecastGraph(self.forecaster), example, "window", "forecast"

    def _job(
        self, data: Path, *, dates: bool, start: str | None = None, backtest: int = 0, levels: Sequence[int] = ()
    ) -> _Job:
        problems = level_problems(levels, self.section.calibrated, self._radii is not None)
        if not isinstance(backtest, int) or backtest < 0:
            problems.append(f"--backtest: must be a whole number of at least 1, got {backtest!r}")
        if problems:
            raise InputError(problems)
        series = self._read(data)
        first = self._origins(series, data.name, start, backtest)
        return _Job(self.forecaster, series, first, backtest > 0, tuple(levels), self._radii, dates)

    def _read(self, data: Path) -> Series:
        series = read_series(data, time=self.section.time, target=self.section.columns)
        problem = _frequency_problem(series, self.section)
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


def level_problems(levels: Sequence[int], calibrated: int, radii: bool) -> list[str]:
    """What is wrong with the levels asked for. calibrated: windows behind the radii, where there are any."""
    if not isinstance(levels, Sequence) or isinstance(levels, str):
        return [f"--level: must be a list of whole percent, such as [80, 90], got {levels!r}"]
    highest = highest_level(calibrated)
    problems = []
    for level in levels:
        if not isinstance(level, int) or level not in LEVELS:
            problems.append(f"--level: must be a whole number, 1 to 99 percent, got {level!r}")
        elif not radii or level > highest:
            most = f"the highest is {highest}" if highest else "there were too few test rows for any interval"
            problems.append(f"--level: this model has no {level} % interval; {most}")
    return problems


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

    @cached_property
    def schema(self) -> Any:
        time, names = time_type(self.series.time, dates=self.dates), self.series.columns
        fields = [(self.forecaster.section.time, time)]
        fields += [("cutoff", time), ("step", pa.int64())] if self.backtest else []
        for name in names:
            fields += [(f"{name}-actual", pa.float64())] if self.backtest else []
            fields += [(name, pa.float64())]
            fields += [(f"{name}-{end}-{level}", pa.float64()) for level in self.levels for end in ("lo", "hi")]
        return pa.schema(fields)

    def tables(self) -> Iterator[Any]:
        horizon, time = self.forecaster.section.horizon, self._ticks()
        kind = time_type(self.series.time, dates=self.dates)
        radii = self._radii()
        for part, each in self.forecaster.batches(self.series.values, self.first):
            forecast = each.mean(axis=0)  # [n, columns, horizon]
            at = np.arange(part.start, part.stop)[:, None] + np.arange(horizon)  # [n, horizon]
            columns = [time_array(time[at], kind)]
            if self.backtest:
                columns += [time_array(np.repeat(time[at[:, :1] - 1], horizon, axis=1), kind)]
                columns += [np.tile(np.arange(1, horizon + 1), len(part))]
            for i in range(len(self.series.columns)):
                columns += [self.series.values[at, i].ravel()] if self.backtest else []
                columns += [forecast[:, i].ravel()]
                for radius in radii:
                    columns += [(forecast[:, i] - radius[i]).ravel(), (forecast[:, i] + radius[i]).ravel()]
            arrays = [pa.array(c) if isinstance(c, np.ndarray) else c for c in columns]
            yield pa.record_batch(arrays, schema=self.schema)

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


def time_array(ticks: NDArray[np.int64], kind: Any) -> Any:
    """Ticks (microseconds, or whole numbers) as an Arrow array of this type."""
    flat = ticks.ravel()
    if kind == pa.int64():
        return pa.array(flat)
    if kind == pa.date32():
        return pa.array((flat // _DAY_US).astype(np.int32)).cast(kind)
    return pa.array(flat // (10**6 if kind.unit == "s" else 1)).cast(kind)


def time_type(time: pd.Index, *, dates: bool) -> Any:
    """The Arrow type that times are written in. dates: those without a clock are dates."""
    if not isinstance(time, pd.DatetimeIndex):
        return pa.int64()
    if dates and time.tz is None and not (time.asi8 % _DAY_US).any():
        return pa.date32()
    unit = "s" if dates and not (time.asi8 % 10**6).any() else "us"
    return pa.timestamp(unit, tz=None if time.tz is None else "UTC")


def _frequency_problem(series: Series, section: ForecastSection) -> str | None:
    """Why the times cannot be those of the model's series, or None."""
    time = series.time
    if not isinstance(time, pd.DatetimeIndex):
        if section.freq is not None:
            return f"numbers its rows, and the model was trained on times at a step of {section.freq}"
        step = int(time[1]) - int(time[0]) if len(time) > 1 else section.step
        if step == section.step:
            return None
        return f"has a step of {step}, and the model was trained on a step of {section.step}"
    if section.freq is None:
        return "has dates, and the model was trained on whole-numbered times"
    if same_step(series.freq, section.freq):
        return None
    if time[1:].equals(following(time[:1], section.freq, len(time) - 1)):  # a week of business days looks like any week
        return None
    return f"has a step of {series.freq}, and the model was trained on a step of {section.freq}; resample it"


def _position(series: Series, section: ForecastSection, start: str, name: str) -> int:
    """The row of a time that the user names; that after the last row counts too."""
    time = series.time
    where = f"{name} has {time[0]} to {time[-1]}"
    try:
        wanted: Any = int(start) if not isinstance(time, pd.DatetimeIndex) else pd.Timestamp(start)
    except (ValueError, TypeError):
        raise InputError(f"--from: {start!r} is no time; write it as in the data ({where})") from None
    if isinstance(time, pd.DatetimeIndex):
        if time.tz is not None:
            wanted = wanted.tz_localize("UTC") if wanted.tz is None else wanted.tz_convert("UTC")
        elif wanted.tz is not None:
            raise InputError(f"--from: {start!r} has a time zone, and the times of {name} have none")
    freq = series.freq if same_step(series.freq, section.freq) else section.freq
    known = time.append(following(time, freq, 1))
    found = int(known.get_indexer(pd.Index([wanted]))[0])
    if found < 0:
        raise InputError(f"--from: {start!r} is none of the data's times, nor the next one after them ({where})")
    return found
