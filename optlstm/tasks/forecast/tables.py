"""Forecasts out of a model: a table, or a CSV file of any length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from optlstm.tasks.forecast.conformal import interval
from optlstm.tasks.forecast.data import ForecastData
from optlstm.tasks.forecast.forecaster import Forecaster
from optlstm.util.arrays import Floats, Integers
from optlstm.util.format import csv_cell, csv_row
from optlstm.util.output_file import OutputFile

_DAY_US = 24 * 3600 * 10**6


@dataclass(frozen=True)
class ForecastTable:
    """The forecasts of some windows, a row for every series and step; a batch of windows in memory at a time.

    The columns are the series where they have names, the time, each target's forecast, and `COL-lo-90`, `COL-hi-90` for
    level 90; a backtest has `cutoff` (the last time that was known), `step` (from 1) and `COL-actual` too.

    Args:
        first, series: [n], the first row that each window forecasts, and its series.
        calibration: of the intervals; None: there are none.
    """

    forecaster: Forecaster
    panel: Panel
    data: ForecastData
    first: Integers
    series: Integers
    backtest: bool
    levels: tuple[int, ...]
    calibration: Calibration | None

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
                for batch in self._batches(schema, kind, names):
                    writer.write_batch(batch)
                    rows += batch.num_rows
        return rows

    def _schema(self, kind: Any) -> Any:
        """kind: the Arrow type of the times."""
        panel = self.panel
        fields = [(name, pa.string()) for name in panel.series_columns]
        fields += [("ds" if len(panel.time_columns) > 1 else str(panel.time.name), kind)]
        fields += [("cutoff", kind), ("step", pa.int64())] if self.backtest else []
        for name in panel.columns:
            fields += [(f"{name}-actual", pa.float64())] if self.backtest else []
            fields += [(name, pa.float64())]
            fields += [(f"{name}-{end}-{level}", pa.float64()) for level in self.levels for end in ("lo", "hi")]
        return pa.schema(fields)

    def _names(self) -> Sequence[Sequence[str]]:
        """For each column that names the series, its cell of every series."""
        columns, ids = self.panel.series_columns, self.panel.ids
        if len(columns) > 1:
            return list(zip(*map(split_id, ids), strict=True))
        return [ids][: len(columns)]

    def _batches(self, schema: Any, kind: Any, names: Sequence[Sequence[str]]) -> Iterator[Any]:
        """names: of the series, for each column."""
        horizon, ticks = self.data.horizon, ticks_of(self.panel.time)
        levels = self.calibration.levels if self.calibration is not None and self.levels else ()
        for batch in self.forecaster.forecasts(self.data, self.first, self.series, levels):
            windows = Predicted.of(self.forecaster, batch, self.first, self.series)
            position, rows = windows.series, windows.first[:, None] + np.arange(horizon)  # [n], [n, horizon]
            columns = [pa.array(np.repeat(np.array(cells)[position], horizon), pa.string()) for cells in names]
            columns += [self._times(ticks[rows], kind)]
            if self.backtest:
                columns += [self._times(np.repeat(ticks[rows[:, :1] - 1], horizon, axis=1), kind)]
                columns += [np.tile(np.arange(1, horizon + 1), len(position))]
            columns += self._numbers(windows)
            yield pa.record_batch([pa.array(c) if isinstance(c, np.ndarray) else c for c in columns], schema=schema)

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

    def _numbers(self, windows: Predicted) -> Iterator[Any]:
        truth = self.panel.truth(windows.first, self.data.horizon) if self.backtest else windows.point
        bounds: list[Floats] = []  # [n, columns, horizon] each
        if self.calibration is not None and self.levels:
            forecasts = self.calibration.forecasts(self._rows, windows)
            bounds = [end for level in self.levels for end in interval(self.calibration.radii, forecasts, level)]
        for i in range(windows.point.shape[1]):
            if self.backtest:
                yield pa.array(truth[:, i].ravel(), from_pandas=True)  # empty where it is not known
            for numbers in (windows.point, *bounds):
                yield numbers[:, i].ravel()

    @cached_property
    def _rows(self) -> Rows:
        return Rows(self.data, ticks_of(self.panel.time), season=1)  # the scale knows its season


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
