"""One series for forecasting: its times and its target columns, checked, or every problem they have."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from optlstm.data import frequency
from optlstm.data.table import column_names, file_rows, first_cells, list_columns, read_table, unknown_column
from optlstm.errors import InputError, did_you_mean
from optlstm.util.format import short

Floats = npt.NDArray[np.float64]
_EXACT = 2**53  # up to here a float holds every whole number
_LARGEST = 1e140  # the squares of a hundred million of these can be added up
Integers = npt.NDArray[np.int64]

_BUNDLED = Path(__file__).parent / "bundled"
_SHOWN = 3  # rows named in one problem
_HOUR_US = 3600 * 10**6
_CLOCK_MONTHS = (3, 4, 9, 10, 11)  # when clocks change, north and south
_TO_UTC = "; if that is the clock change of daylight saving, convert the times to UTC"


@dataclass(frozen=True, eq=False)
class Series:
    """A checked series in time order: no row missing, no value missing, one time per row."""

    name: str  # the file's name without its suffix
    time: pd.DatetimeIndex | pd.Index  # rows; microseconds, in UTC where the file gave zones; or int64
    columns: tuple[str, ...]  # the targets, in the order asked for
    values: Floats  # [rows, columns], C-contiguous, in the file's units
    freq: str | None  # pandas alias; None for integer time and for a single row
    season: int  # steps in the natural season of `freq`; 1 where there is none
    fingerprint: str  # sha256 over columns, times and values: the same for the same numbers in any format
    warnings: tuple[str, ...]  # what is allowed, and worth knowing


@dataclass(frozen=True)
class Flaw:
    """A line of an InputError; `positions` are table rows from 0, named by their rows in the file."""

    what: str
    positions: Sequence[int] = ()
    remedy: str = ""
    notes: Sequence[str] = field(default=())  # of the first positions

    def line(self, rows: dict[int, int]) -> str:
        shown = [f"row {rows[position]}" for position in self.positions[:_SHOWN]]
        for i, note in enumerate(self.notes[: len(shown)]):
            shown[i] += f": {note}"
        if len(self.positions) > _SHOWN:
            shown.append("...")
        return f"{self.what} ({', '.join(shown)}){self.remedy}" if shown else f"{self.what}{self.remedy}"


def read_series(path: Path, *, time: str | None = None, target: Sequence[str] | None = None) -> Series:
    """Read and check the series in a file; the time column is `ds` and the target `y` unless they are named.

    Raises:
        InputError: every problem of the file's columns, or of the times and values in them, at once.
    """
    names = column_names(path)
    targets = list(target) if target is not None else ["y"]
    problems = column_problems(path, names, time, target)
    if problems:
        raise InputError(problems)
    frame = read_table(path, [time or "ds", *targets])
    index, found = read_times(frame[time or "ds"], path.name)
    values = np.empty((len(frame), len(targets)), dtype=np.float64)
    for i, name in enumerate(targets):
        found += fill_numbers(values[:, i], frame.pop(name), path.name)
    if index is not None:
        found += _order_problems(index, path.name)
    if found or index is None:
        rows = file_rows(path, [position for problem in found for position in problem.positions[:_SHOWN]])
        raise InputError([problem.line(rows) for problem in found])
    values += 0.0  # makes -0.0 and 0.0 the same bits for the fingerprint
    return _series(path, index, tuple(targets), values)


def bundled(name: str = "co2") -> Path:
    """The path of a data set that comes with the package.

    Raises:
        InputError: there is none of this name.
    """
    path = _BUNDLED / f"{name}.csv"
    known = sorted(file.stem for file in _BUNDLED.glob("*.csv"))
    if name not in known:
        raise InputError(
            f"data: no bundled data set '{name}'{did_you_mean(name, known)} (there are: {', '.join(known)})"
        )
    return path


def _series(path: Path, index: pd.Index, columns: tuple[str, ...], values: Floats) -> Series:
    freq = frequency.date_steps(index).freq if isinstance(index, pd.DatetimeIndex) else None
    digest = hashlib.sha256(json.dumps(columns).encode())
    digest.update(ticks_of(index).astype("<i8", copy=False).data)
    digest.update(values.astype("<f8", copy=False).data)
    constant = np.flatnonzero(values.min(axis=0) == values.max(axis=0))
    warnings = [
        f"data: column '{columns[i]}' of {path.name} is constant ({values[0, i]:g} in every row)" for i in constant
    ]
    name = re.sub(r"(\.csv|\.csv\.gz|\.parquet)$", "", path.name, flags=re.IGNORECASE)
    return Series(name, index, columns, values, freq, frequency.season_of(freq), digest.hexdigest(), tuple(warnings))


def column_problems(path: Path, names: Sequence[str], time: str | None, target: Sequence[str] | None) -> list[str]:
    """What keeps us from knowing which columns to read, with candidates from the first rows."""
    asked = [*([time] if time is not None else []), *(target or [])]
    problems = [unknown_column(path, names, column) for column in dict.fromkeys(asked) if column not in names]
    problems += [
        f"data: column '{c}' is asked for more than once; name it once" for c in set(asked) if asked.count(c) > 1
    ]
    if target is not None and not target:
        problems.append("data: the list of target columns is empty; name at least one with --target")
    no_time, no_target = time is None and "ds" not in names, target is None and "y" not in names
    if not no_time and not no_target:
        return problems
    dates, numbers = _guess(first_cells(path))
    listed = f"(columns: {list_columns(names)})"
    if no_time:
        remedy = (
            "; ".join(f"'{c}' looks like the time column: --time {c}" for c in dates) or "name it with --time COLUMN"
        )
        problems.append(f"data: no time column 'ds' in {path.name}; {remedy} {listed}")
    if no_target:
        left = [column for column in numbers if column not in (time or "ds", *dates)]
        remedy = f"choose from {list_columns(left)} with --target" if left else "name it with --target COLUMN"
        problems.append(f"data: no target column 'y' in {path.name}; {remedy} {listed}")
    return problems


def _guess(cells: dict[str, list[str]]) -> tuple[list[str], list[str]]:
    """(columns that look like times, columns that look like numbers)."""
    dates, numbers = [], []
    for name, texts in cells.items():
        given = [text for text in texts if text.strip()]
        if given and not np.isnan([_number(text) for text in given]).all():
            numbers.append(name)
        elif given:
            with suppress(ValueError):
                dates += [name] if not frequency.parse_times(pd.Series(given, dtype="str")).hasnans else []
    return dates, numbers


def _number(text: str) -> float:
    """The number a text says, NaN where it says none."""
    try:
        return float(text) if "_" not in text else np.nan
    except ValueError:
        return np.nan


def fill_numbers(into: Floats, column: pd.Series, file: str) -> list[Flaw]:
    """Write a column's numbers into `into` [rows]; what is no finite number is a problem."""
    what = f"data: column '{column.name}' of {file}"
    missing = column.isna().to_numpy()
    problems = []
    if pd.api.types.is_datetime64_any_dtype(column):
        return [Flaw(f"{what} holds times, not numbers", remedy="; choose another target")]
    if pd.api.types.is_numeric_dtype(column):
        into[:] = column.to_numpy(dtype=np.float64)
    else:
        texts = [str(cell) for cell in column]
        into[:] = [_number(text) for text in texts]
        wrong = np.flatnonzero(np.isnan(into) & ~missing)
        notes = [f"'{short(texts[i])}'" for i in wrong[:_SHOWN]]
        if len(wrong):
            hint = _number_hint(notes)
            problems.append(Flaw(f"{what}: {len(wrong)} cell(s) are not numbers", wrong.tolist(), hint, notes))
    inexact = np.flatnonzero(np.abs(into) > _EXACT) if pd.api.types.is_integer_dtype(column) else np.empty(0, int)
    if len(inexact):
        remedy = "; subtract a constant, or write them as decimals"
        problems.append(
            Flaw(f"{what}: {len(inexact)} whole number(s) above 2^53 lose digits", inexact.tolist(), remedy)
        )
    empty, infinite = np.flatnonzero(missing), np.flatnonzero(np.isinf(into))
    if len(empty):
        remedy = "; fill them in before reading, or leave the column out"
        problems.append(Flaw(f"{what}: {len(empty)} empty or NaN value(s)", empty.tolist(), remedy))
    if len(infinite):
        remedy = "; a value must be finite and below 1.8e308"
        problems.append(Flaw(f"{what}: {len(infinite)} infinite value(s)", infinite.tolist(), remedy))
    if len(large := np.flatnonzero((np.abs(into) > _LARGEST) & ~np.isinf(into))):
        too_large = f"{what}: {len(large)} value(s) beyond {_LARGEST:g} are too large to be standardised"
        remedy = "; write them in another unit, or correct them"
        problems.append(Flaw(too_large, large.tolist(), remedy, [f"{into[i]:g}" for i in large[:_SHOWN]]))
    return problems


def _number_hint(notes: Sequence[str]) -> str:
    if all(re.fullmatch(r"'[+-]?\d{1,3}(,\d{3})+(\.\d*)?'", note) for note in notes):
        return "; write numbers without thousands separators: 1234, not 1,234"
    if all(re.fullmatch(r"'[+-]?[\d. ]*,\d+'", note) for note in notes):
        return "; write decimal points, not decimal commas: 1.5, not 1,5"
    return "; correct them, or leave the cells empty and fill them in"


def read_times(column: pd.Series, file: str) -> tuple[pd.Index | None, list[Flaw]]:
    """The time column as an index, or None with its problems."""
    what = f"data: time column '{column.name}' of {file}"
    missing = column.isna().to_numpy()
    index: pd.Index | None = None
    wrong, remedy = np.zeros(len(column), dtype=bool), "; write them as YYYY-MM-DD HH:MM:SS"
    if pd.api.types.is_datetime64_any_dtype(column):
        index, wrong = frequency.in_microseconds(pd.DatetimeIndex(column))
        remedy = "; round them to microseconds"
    elif pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        present = column.fillna(0).to_numpy(dtype=np.float64)
        wrong, remedy = ~(np.abs(present) < 2**63) | (present % 1 != 0), "; number the rows 0, 1, 2, ... or write dates"
        index = None if wrong.any() or missing.any() else frequency.integer_times(column)
    else:
        try:
            index = frequency.parse_times(column.astype("str"))
        except ValueError as error:
            return None, [Flaw(f"{what}: {error}")]
        wrong = index.isna() & ~missing
    problems = []
    if missing.any():
        empty = np.flatnonzero(missing).tolist()
        problems.append(Flaw(f"{what}: {len(empty)} empty time(s)", empty, "; fill them in or leave the rows out"))
    if wrong.any():
        places = np.flatnonzero(wrong).tolist()
        notes = [f"'{short(column.iloc[i])}'" for i in places[:_SHOWN]]
        problems.append(Flaw(f"{what}: {len(places)} cell(s) are not times", places, remedy, notes))
    return (None if problems else index), problems


def ticks_of(index: pd.Index) -> Integers:
    return frequency.ticks(index) if isinstance(index, pd.DatetimeIndex) else index.to_numpy(dtype=np.int64)


def _order_problems(index: pd.Index, file: str) -> list[Flaw]:
    """Times that repeat, go back, are missing or uneven; the last two as they would be after sorting."""
    what = f"data: time column '{index.name}' of {file}"
    time = ticks_of(index)
    order = np.argsort(time, kind="stable")
    new = np.diff(time[order], prepend=time.min() - 1) > 0
    kept = order[new]
    regular = (
        frequency.date_steps(index[kept])
        if isinstance(index, pd.DatetimeIndex)
        else frequency.integer_steps(time[kept])
    )
    usual = int(np.median(np.diff(time[kept]))) if len(kept) > 1 else 0
    repeated, back = np.sort(order[~new]), np.flatnonzero(np.diff(time) < 0) + 1
    problems = []
    if len(repeated):
        remedy = "; keep one row per time (many series: --series COL)" + _clock_hint(index, repeated, repeated, usual)
        problems.append(
            Flaw(f"{what}: {len(repeated)} repeated time(s)", repeated.tolist(), remedy, _name(index, repeated))
        )
    if len(back):
        remedy = f"; sort the rows by '{index.name}'" + _clock_hint(index, back - 1, back, usual)
        notes = [f"{b} after {a}" for a, b in zip(_name(index, back - 1), _name(index, back), strict=True)]
        problems.append(Flaw(f"{what}: {len(back)} time(s) earlier than the one before", back.tolist(), remedy, notes))
    return problems + _step_problems(what, index, kept, regular, usual)


def _step_problems(what: str, index: pd.Index, kept: Integers, regular: frequency.Steps, usual: int) -> list[Flaw]:
    """Gaps and uneven steps between the rows `kept`, which are in time order."""
    step = f" at a step of {regular.freq}" if regular.freq else ""
    missing = sum(regular.gaps.values())
    kinds = (
        (
            f"{missing} missing row(s) in {len(regular.gaps)} gap(s){step}",
            list(regular.gaps),
            "; fill the missing rows",
        ),
        (f"{len(regular.uneven)} uneven step(s){step}", regular.uneven, "; resample the series to equal steps"),
    )
    problems = []
    for kind, at, remedy in kinds:
        if at:
            before, after = kept[at], kept[np.add(at, 1)]
            notes = [f"{b} after {a}" for a, b in zip(_name(index, before), _name(index, after), strict=True)]
            hint = remedy + _clock_hint(index, before, after, usual)
            problems.append(Flaw(f"{what}: {kind}", after.tolist(), hint, notes))
    return problems


def _name(index: pd.Index, positions: Integers) -> list[str]:
    return [str(index[i]) for i in positions[:_SHOWN]]


def _clock_hint(index: pd.Index, before: Integers, after: Integers, usual: int) -> str:
    """The remedy for daylight saving, where one of these steps is an hour too long or short, as at a clock change."""
    if not isinstance(index, pd.DatetimeIndex):
        return ""
    jumps = ticks_of(index)[after] - ticks_of(index)[before]
    off_by_hour = np.abs(jumps - usual) == _HOUR_US
    if index.tz is not None:
        whole_days = usual >= 23 * _HOUR_US and off_by_hour.any()
        return "; if these are days of a zone with daylight saving, write dates without times" if whole_days else ""
    at_night = np.isin(index[before].month, _CLOCK_MONTHS) & (index[before].hour <= 3) & (usual < 24 * _HOUR_US)
    return _TO_UTC if ((off_by_hour | (jumps == 0)) & at_night).any() else ""
