"""Forecasts out of a model: a table, or a CSV file of any length; what a single series and a panel have in common."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from optlstm.data.frequency import following, same_step
from optlstm.errors import InputError
from optlstm.tasks.forecast.conformal import LEVELS, highest_level
from optlstm.util.files import OutputFile

_DAY_US = 24 * 3600 * 10**6


class Job(Protocol):
    """Forecasts of some windows as Arrow tables."""

    @property
    def schema(self) -> Any: ...

    @property
    def names(self) -> Sequence[str]:
        """Texts that stand in a column."""
        ...

    def tables(self) -> Iterator[Any]: ...


def as_frame(job: Job) -> pd.DataFrame:
    frame: pd.DataFrame = pa.Table.from_batches(list(job.tables()), job.schema).to_pandas()
    return frame


def write_csv(job: Job, out: Path) -> int:
    """A CSV file that is whole or not there; a batch of windows in memory at a time. How many rows it has."""
    from pyarrow import csv as pa_csv

    rows = 0
    with OutputFile(out).open() as file:
        heading = io.StringIO()
        csv.writer(heading, lineterminator="\n").writerow(job.schema.names)
        file.write(heading.getvalue().encode())
        special = any(mark in name for name in job.names for mark in ',"\r\n')
        plain = pa_csv.WriteOptions(include_header=False, quoting_style="needed" if special else "none")
        with pa_csv.CSVWriter(file, job.schema, write_options=plain) as writer:
            for table in job.tables():
                writer.write_batch(table)
                rows += table.num_rows
    return rows


def schema_of(
    series: str | None, time: str, columns: Sequence[str], kind: Any, backtest: bool, levels: Sequence[int]
) -> Any:
    """The Arrow schema of forecasts. series: the column that names it, of a panel; kind: the type of the times."""
    fields = [(series, pa.string())] if series else []
    fields += [(time, kind)]
    fields += [("cutoff", kind), ("step", pa.int64())] if backtest else []
    for name in columns:
        fields += [(f"{name}-actual", pa.float64())] if backtest else []
        fields += [(name, pa.float64())]
        fields += [(f"{name}-{end}-{level}", pa.float64()) for level in levels for end in ("lo", "hi")]
    return pa.schema(fields)


def record_batch(
    schema: Any,
    ids: NDArray[np.str_] | None,
    ticks: NDArray[np.int64],
    values: NDArray[np.float64],
    at: NDArray[np.int64],
    forecast: NDArray[np.float64],
    radii: Sequence[NDArray[np.float64]],
    *,
    kind: Any,
    backtest: bool,
) -> Any:
    """One Arrow batch of n windows, in the order of `schema_of`.

    Args:
        ids: [n], the series of each window; None: there is one.
        ticks, values: the data's times and values [rows, columns].
        at: [n, horizon], rows that are forecast.
        forecast: [n, columns, horizon].
        radii: of each level, [columns, horizon] or [n, columns, horizon], in the data's units.
    """
    count, width, horizon = forecast.shape
    columns: list[Any] = [] if ids is None else [pa.array(np.repeat(ids, horizon), pa.string())]
    columns += [time_array(ticks[at], kind)]
    if backtest:
        columns += [time_array(np.repeat(ticks[at[:, :1] - 1], horizon, axis=1), kind)]
        columns += [np.tile(np.arange(1, horizon + 1), count)]
    for i in range(width):
        columns += [values[at, i].ravel()] if backtest else []
        columns += [forecast[:, i].ravel()]
        for radius in radii:
            reach = radius[..., i, :]
            columns += [(forecast[:, i] - reach).ravel(), (forecast[:, i] + reach).ravel()]
    arrays = [pa.array(c) if isinstance(c, np.ndarray) else c for c in columns]
    return pa.record_batch(arrays, schema=schema)


def check_options(levels: Sequence[int], backtest: int, calibrated: int, radii: bool) -> None:
    """Raises InputError with everything in which the options of `predict` do not fit the model."""
    problems = level_problems(levels, calibrated, radii)
    if not isinstance(backtest, int) or backtest < 0:
        problems.append(f"--backtest: must be a whole number of at least 1, got {backtest!r}")
    if problems:
        raise InputError(problems)


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


def frequency_problem(time: pd.Index, found: str | None, freq: str | None, step: int | None) -> str | None:
    """Why the times of a series cannot be those of the model's, or None.

    Args:
        found: the frequency of `time`. freq, step: of the model's times: a frequency, or the step of whole numbers.
    """
    if not isinstance(time, pd.DatetimeIndex):
        if freq is not None:
            return f"numbers its rows, and the model was trained on times at a step of {freq}"
        has = int(time[1]) - int(time[0]) if len(time) > 1 else step
        return None if has == step else f"has a step of {has}, and the model was trained on a step of {step}"
    if freq is None:
        return "has dates, and the model was trained on whole-numbered times"
    # A week of business days looks like any week.
    if same_step(found, freq) or time[1:].equals(following(time[:1], freq, len(time) - 1)):
        return None
    return f"has a step of {found}, and the model was trained on a step of {freq}; resample it"


def wanted_time(time: pd.Index, start: str, name: str, where: str) -> Any:
    """The time that the user names by `--from`, comparable with the data's."""
    try:
        wanted: Any = int(start) if not isinstance(time, pd.DatetimeIndex) else pd.Timestamp(start)
    except (ValueError, TypeError):
        raise InputError(f"--from: {start!r} is no time; write it as in the data ({where})") from None
    if isinstance(time, pd.DatetimeIndex):
        if time.tz is not None:
            wanted = wanted.tz_localize("UTC") if wanted.tz is None else wanted.tz_convert("UTC")
        elif wanted.tz is not None:
            raise InputError(f"--from: {start!r} has a time zone, and the times of {name} have none")
    return wanted
