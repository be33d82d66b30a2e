"""Forecasts out of a model: a table, or a CSV file of any length."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv as pa_csv

from optlstm.data.frequency import ticks_of
from optlstm.data.key_columns import split_id
from optlstm.data.panel import Panel
from optlstm.data.time_format import is_of_numbers, written
from optlstm.tasks.forecast.calibrate import Calibration, Predicted, Rows
from optlstm.tasks.forecast.conformal import Uncalibrated, interval, quantiles
from optlstm.tasks.forecast.data import ForecastData
from optlstm.tasks.forecast.forecaster import Forecaster
from optlstm.tasks.forecast.paths import drawn_paths
from optlstm.tasks.forecast.probability import level_name
from optlstm.util.arrays import Floats, Integers
from optlstm.util.format import csv_cell, csv_row
from optlstm.util.output_file import OutputFile

_DIGITS = 6  # of the digit of a deviation that are written behind its first
_DAY_US = 24 * 3600 * 10**6


@dataclass(frozen=True)
class ForecastTable:
    """The forecasts of some windows, a row for every series and step; a batch of windows in memory at a time.

    The columns are the series where they have names, the time, each target's forecast, `COL-lo-90`, `COL-hi-90` for
    level 90, and `COL-q10` for the quantile 0.1; a backtest has `cutoff` (the last time that was known), `step` (from
    1) and `COL-actual` too.

    Args:
        first, series: [n], the first row that each window forecasts, and its series.
        calibration: of intervals and quantiles; None: there are none.
    """

    forecaster: Forecaster
    panel: Panel
    data: ForecastData
    first: Integers
    series: Integers
    calibration: Calibration | None = None
    backtest: bool = False
    levels: tuple[int, ...] = ()
    quantiles: tuple[float, ...] = ()

    def frame(self) -> pd.DataFrame:
        kind = _time_type(self.panel, csv=False)
        schema = self._schema(kind)
        frame: pd.DataFrame = pa.Table.from_batches(
            list(self._batches(schema, kind, self._names())), schema
        ).to_pandas()
        return frame

    def write_csv(self, out: Path) -> int:
        """Write a CSV file, as a whole or not at all; returns the number of rows. Times are written as in the data."""
        kind = _time_type(self.panel, csv=True)
        schema, rows = self._schema(kind), 0
        names = [[str(csv_cell(cell)) for cell in cells] for cells in self._names()]
        with OutputFile(out).open() as file:
            file.write(csv_row(schema.names).encode())
            special = any(mark in text for text in (*chain(*names), _form(self.panel) or "") for mark in ',"\n')
            plain = pa_csv.WriteOptions(include_header=False, quoting_style="needed" if special else "none")
            with pa_csv.CSVWriter(file, schema, write_options=plain) as writer:
                decimals = self._decimals(schema.names)
                for batch in self._batches(schema, kind, names):
                    writer.write_batch(_rounded(batch, decimals))
                    rows += batch.num_rows
        return rows

    def _decimals(self, fields: Sequence[str]) -> dict[str, int]:
        """How many decimals of each column of forecasts mean something: the networks' numbers have seven digits."""
        digits: dict[str, int] = {}
        for name, std in zip(self.panel.columns, self.data.std.min(axis=0), strict=True):
            own = [field for field in fields if field == name or field.startswith(f"{name}-")]
            if std > 0:
                digits |= dict.fromkeys(own, _DIGITS - math.floor(math.log10(std)))
        return {field: count for field, count in digits.items() if field not in self._given and abs(count) <= 15}

    @property
    def _given(self) -> set[str]:
        """The columns whose numbers are the file's."""
        return {f"{name}-actual" for name in self.panel.columns}

    def _schema(self, kind: Any) -> Any:
        """kind: the Arrow type of the times."""
        panel = self.panel
        fields = [(name, pa.string()) for name in panel.series_columns]
        fields += [("ds" if len(panel.time_columns) > 1 else str(panel.time.name), kind)]
        return pa.schema([*fields, *self._fields(kind)])

    def _fields(self, kind: Any) -> Iterator[tuple[str, Any]]:
        """Those behind the series and the time."""
        if self.backtest:
            yield from (("cutoff", kind), ("step", pa.int64()))
        for name in self.panel.columns:
            ends = [f"{end}-{level}" for level in self.levels for end in ("lo", "hi")]
            names = [name, *(f"{name}-{part}" for part in (*ends, *(f"q{level_name(q)}" for q in self.quantiles)))]
            yield from ((column, pa.float64()) for column in ([f"{name}-actual"] if self.backtest else []) + names)

    def _names(self) -> Sequence[Sequence[str]]:
        """For each column that names the series, its cell of every series."""
        columns, ids = self.panel.series_columns, self.panel.ids
        if len(columns) > 1:
            return list(zip(*map(split_id, ids), strict=True))
        return [ids][: len(columns)]

    def _batches(self, schema: Any, kind: Any, names: Sequence[Sequence[str]]) -> Iterator[Any]:
        """names: of the series, for each column."""
        levels = self.calibration.levels if self.calibration is not None else ()
        for batch in self.forecaster.forecasts(self.data, self.first, self.series, levels):
            windows = Predicted.of(self.forecaster, batch, self.first, self.series)
            rows = self._rows_of(windows)  # [n, rows of the table]
            named = (np.repeat(np.array(cells)[windows.series], rows.shape[1]) for cells in names)
            columns = [pa.array(cells, pa.string()) for cells in named]
            columns += [self._times(self._ticks[rows], kind), *self._columns(windows, rows, kind)]
            yield pa.record_batch([pa.array(c) if isinstance(c, np.ndarray) else c for c in columns], schema=schema)

    def _rows_of(self, windows: Predicted) -> Integers:
        """The rows of the data that each row of the table is of, [n, rows of the table]."""
        return windows.first[:, None] + np.arange(self.data.horizon)

    @cached_property
    def _ticks(self) -> Integers:
        return ticks_of(self.panel.time)

    def _times(self, ticks: Integers, kind: Any) -> Any:
        """Ticks (microseconds, or whole numbers) as an Arrow array of this type, in order of the rows."""
        flat, form = ticks.ravel(), _form(self.panel)
        if form is not None and isinstance(self.panel.time, pd.DatetimeIndex) and not pa.types.is_temporal(kind):
            return pa.array(written(pd.DatetimeIndex(flat.view("M8[us]"), tz=self.panel.time.tz), form), kind)
        if kind == pa.int64():
            return pa.array(flat)
        if kind == pa.date32():
            return pa.array((flat // _DAY_US).astype(np.int32)).cast(kind)
        return pa.array(flat // (10**6 if kind.unit == "s" else 1)).cast(kind)

    def _columns(self, windows: Predicted, rows: Integers, kind: Any) -> Iterator[Any]:
        """What `_fields` names, an array of each."""
        if self.backtest:
            yield self._times(np.repeat(self._ticks[rows[:, :1] - 1], rows.shape[1], axis=1), kind)
            yield np.tile(np.arange(1, rows.shape[1] + 1), len(rows))
        truth = self.panel.truth(windows.first, self.data.horizon) if self.backtest else windows.point
        bounds: list[Floats] = []  # [n, columns, horizon] each
        if self.levels or self.quantiles:
            radii, forecasts = self._uncalibrated(windows)
            bounds = [end for level in self.levels for end in interval(radii, forecasts, level)]
            bounds += list(np.moveaxis(quantiles(radii, forecasts, self.quantiles), -1, 0))
        for i in range(windows.point.shape[1]):
            if self.backtest:
                yield pa.array(truth[:, i].ravel(), from_pandas=True)  # empty where it is not known
            for numbers in (windows.point, *bounds):
                yield numbers[:, i].ravel()

    def _uncalibrated(self, windows: Predicted) -> tuple[Floats, Uncalibrated]:
        """The radii, and what they are for."""
        assert self.calibration is not None
        rows = Rows(self.data, self._ticks, season=1)  # a local scale knows its season
        return self.calibration.radii, self.calibration.forecasts(rows, windows)


@dataclass(frozen=True)
class SampleTable(ForecastTable):
    """Joint paths of every window: the columns are the series, the time, `sample` (from 1) and each target's value.

    Args:
        ranks: of calibration windows, [paths, columns, horizon]: see `paths`.
        samples: how many paths.
    """

    ranks: Floats = field(default_factory=lambda: np.empty((0, 0, 0)))
    samples: int = 1

    def _fields(self, kind: Any) -> Iterator[tuple[str, Any]]:
        yield "sample", pa.int64()
        yield from ((name, pa.float64()) for name in self.panel.columns)

    def _rows_of(self, windows: Predicted) -> Integers:
        return np.tile(super()._rows_of(windows), (1, self.samples))

    def _columns(self, windows: Predicted, rows: Integers, kind: Any) -> Iterator[Any]:
        yield np.tile(np.repeat(np.arange(1, self.samples + 1), self.data.horizon), len(rows))
        radii, forecasts = self._uncalibrated(windows)
        drawn = [
            drawn_paths(radii, forecasts[i : i + 1], self.ranks, self.samples, seed=int(windows.first[i]))
            for i in range(len(rows))
        ]
        paths = np.stack(drawn)  # [n, samples, columns, horizon]
        yield from (paths[:, :, i].ravel() for i in range(paths.shape[2]))


@dataclass(frozen=True)
class AnomalyTable(ForecastTable):
    """The known rows beside the forecast of each from rows before it.

    The columns are the series, the time, with several targets `column`, then `value`, `forecast`, `lo` and `hi` (the
    ends of the interval of the one level), `anomaly` (whether the value lies outside) and `score`: the distance from
    the interval's middle in halves of its width, above 1 outside.

    Args:
        ahead: steps from the last row that a forecast knows to the row.
    """

    ahead: int = 1

    def _fields(self, kind: Any) -> Iterator[tuple[str, Any]]:
        yield from [("column", pa.string())] if len(self.panel.columns) > 1 else []
        yield from ((name, pa.float64()) for name in ("value", "forecast", "lo", "hi"))
        yield from (("anomaly", pa.bool_()), ("score", pa.float64()))

    def _rows_of(self, windows: Predicted) -> Integers:
        return np.repeat(windows.first[:, None] + self.ahead - 1, len(self.panel.columns), axis=1)

    def _columns(self, windows: Predicted, rows: Integers, kind: Any) -> Iterator[Any]:
        if len(self.panel.columns) > 1:
            yield pa.array(np.tile(np.array(self.panel.columns), len(rows)), pa.string())
        radii, forecasts = self._uncalibrated(windows)
        step = self.ahead - 1
        low, high = (end[..., step].ravel() for end in interval(radii, forecasts, self.levels[0]))
        value = self.panel.truth(windows.first, self.ahead)[..., step].ravel()
        half = (high - low) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            score = np.abs(value - (low + high) / 2) / half
        score[value == (low + high) / 2] = 0.0  # also where the interval has no width
        outside = (value < low) | (value > high)
        yield from (pa.array(part, from_pandas=True) for part in (value, windows.point[..., step].ravel(), low, high))
        yield from (pa.array(outside), pa.array(score, from_pandas=True))


def _rounded(batch: Any, decimals: Mapping[str, int]) -> Any:
    columns = [
        pa.array(np.round(column.to_numpy(zero_copy_only=False), decimals[name])) if name in decimals else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.record_batch(columns, schema=batch.schema)


def _form(panel: Panel) -> str | None:
    """How times are written; of several columns one is made, in ISO 8601."""
    return panel.time_format if len(panel.time_columns) < 2 else None


def _time_type(panel: Panel, *, csv: bool) -> Any:
    """The Arrow type of times: numbers where the file has numbers, in a CSV file texts where it has those.

    Else times, which in a CSV file are dates where they have no clock.
    """
    time, form = panel.time, _form(panel)
    if not isinstance(time, pd.DatetimeIndex) or is_of_numbers(form):
        return pa.int64()
    if csv and form is not None:
        return pa.string()
    if csv and time.tz is None and not (time.asi8 % _DAY_US).any():
        return pa.date32()
    unit = "s" if csv and not (time.asi8 % 10**6).any() else "us"
    return pa.timestamp(unit, tz=None if time.tz is None else "UTC")
