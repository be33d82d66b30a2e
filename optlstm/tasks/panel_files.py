"""Forecasts for every series of a file: which rows, whether they fit the model, and out as a long table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor, nn

from optlstm.data.frequency import following, same_step
from optlstm.data.panel import Categories, Panel, named
from optlstm.data.panel_reader import read_panel
from optlstm.data.panel_rows import extended, filled, with_missing_rows
from optlstm.data.series import ticks_of
from optlstm.errors import InputError
from optlstm.files import write_stream
from optlstm.tasks.conformal import LEVELS
from optlstm.tasks.forecast_files import level_problems, time_array, time_type
from optlstm.tasks.kind import Metrics
from optlstm.tasks.panel_data import Integers, PanelData
from optlstm.tasks.panel_model import PanelForecaster, PanelSection
from optlstm.tasks.panel_scores import PanelSums

if TYPE_CHECKING:
    from optlstm.tasks.forecaster import Floats


class PanelRunner:
    """A forecaster of many series on files (`kind.Runner`). radii: float32 [levels, columns, horizon], or None.

    Options of `predict` and `write` are those of a single series' model (`ForecastRunner`), each for every series of
    the file. The output has a row for every series and step: the series, the time, then the same columns.
    """

    def __init__(self, forecaster: PanelForecaster, radii: Tensor | None) -> None:
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
            special = any(mark in name for name in job.panel.ids for mark in ',"\r\n')
            plain = pa_csv.WriteOptions(include_header=False, quoting_style="needed" if special else "none")
            with pa_csv.CSVWriter(file, job.schema, write_options=plain) as writer:
                for table in job.tables():
                    writer.write_batch(table)
                    rows += table.num_rows

        write_stream(out, write_to)
        return rows

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

    def graph(self) -> tuple[nn.Module, Tensor, str, str]:
        """Raises InputError: a graph has one input, and these networks need each series' scale and covariates."""
        raise InputError("export: a model of many series, or with covariates, has no single input; use predict")

    def _job(
        self, data: Path, *, dates: bool, start: str | None = None, backtest: int = 0, levels: Sequence[int] = ()
    ) -> _Job:
        problems = level_problems(levels, self.section.calibrated, self._radii is not None)
        if not isinstance(backtest, int) or backtest < 0:
            problems.append(f"--backtest: must be a whole number of at least 1, got {backtest!r}")
        if problems:
            raise InputError(problems)
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
        problem = _frequency_problem(panel, section)
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

    @cached_property
    def schema(self) -> Any:
        time, section = time_type(self.panel.time, dates=self.dates), self.forecaster.section
        fields = [(section.series, pa.string())] if section.series else []
        fields += [(section.time, time)]
        fields += [("cutoff", time), ("step", pa.int64())] if self.backtest else []
        for name in section.columns:
            fields += [(f"{name}-actual", pa.float64())] if self.backtest else []
            fields += [(name, pa.float64())]
            fields += [(f"{name}-{end}-{level}", pa.float64()) for level in self.levels for end in ("lo", "hi")]
        return pa.schema(fields)

    def tables(self) -> Iterator[Any]:
        section, time = self.forecaster.section, ticks_of(self.panel.time)
        kind, horizon, ids = time_type(self.panel.time, dates=self.dates), section.horizon, np.array(self.panel.ids)
        for part, each in self.forecaster.batches(self.data, self.first, self.series):
            first, of = self.first[part], self.series[part]
            std, mean = self.data.std[of][:, :, None], self.data.mean[of][:, :, None]
            forecast = each.mean(axis=0) * std + mean  # [n, columns, horizon]
            self._check(forecast, of)
            at = first[:, None] + np.arange(horizon)  # [n, horizon]
            columns: list[Any] = [pa.array(np.repeat(ids[of], horizon), pa.string())] if section.series else []
            columns += [time_array(time[at], kind)]
            if self.backtest:
                columns += [time_array(np.repeat(time[at[:, :1] - 1], horizon, axis=1), kind)]
                columns += [np.tile(np.arange(1, horizon + 1), len(of))]
            for i in range(len(section.columns)):
                columns += [self.panel.values[at, i].ravel()] if self.backtest else []
                columns += [forecast[:, i].ravel()]
                for level in self.levels:
                    radius = self._radius(level)[i] * std[:, i]  # [n, horizon]
                    columns += [(forecast[:, i] - radius).ravel(), (forecast[:, i] + radius).ravel()]
            arrays = [pa.array(c) if isinstance(c, np.ndarray) else c for c in columns]
            yield pa.record_batch(arrays, schema=self.schema)

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


def _frequency_problem(panel: Panel, section: PanelSection) -> str | None:
    """Why the times cannot be those of the model's series, or None."""
    time, own = panel.time, panel.rows(int(panel.known.argmax()))
    if not isinstance(time, pd.DatetimeIndex):
        if section.freq is not None:
            return f"numbers its rows, and the model was trained on times at a step of {section.freq}"
        step = int(time[own][1]) - int(time[own][0]) if len(time[own]) > 1 else section.step
        if step == section.step:
            return None
        return f"has a step of {step}, and the model was trained on a step of {section.step}"
    if section.freq is None:
        return "has dates, and the model was trained on whole-numbered times"
    first = time[own]
    if same_step(panel.freq, section.freq) or first[1:].equals(following(first[:1], section.freq, len(first) - 1)):
        return None
    return f"has a step of {panel.freq}, and the model was trained on a step of {section.freq}; resample it"


def _positions(panel: Panel, start: str, name: str) -> Integers:
    """The row of a time that the user names, in every series; that behind the last target counts too."""
    time = panel.time
    try:
        wanted: Any = int(start) if not isinstance(time, pd.DatetimeIndex) else pd.Timestamp(start)
    except (ValueError, TypeError):
        raise InputError(f"--from: {start!r} is no time; write it as in the data ({time[0]})") from None
    if isinstance(time, pd.DatetimeIndex):
        if time.tz is not None:
            wanted = wanted.tz_localize("UTC") if wanted.tz is None else wanted.tz_convert("UTC")
        elif wanted.tz is not None:
            raise InputError(f"--from: {start!r} has a time zone, and the times of {name} have none")
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
