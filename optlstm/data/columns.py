"""The columns of a table as times and numbers, or every problem they have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from optlstm.data import frequency
from optlstm.data.table import first_cells, list_columns, unknown_column
from optlstm.util.arrays import Floats
from optlstm.util.format import short

EMPTY = "empty or NaN"
_EXACT = 2**53  # up to here a float holds every whole number
_LARGEST = 1e140  # the squares of a hundred million of these can be added up
_SHOWN = 3  # rows named in one problem


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


def fill_numbers(into: Floats, column: pd.Series, file: str, *, empty: bool = False, instead: str = "") -> list[Flaw]:
    """Write a column's numbers into `into` [rows]; what is no finite number is a problem.

    Args:
        empty: whether cells may be empty; they become NaN.
        instead: what else helps where they may not.
    """
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
    gone, infinite = np.flatnonzero(missing), np.flatnonzero(np.isinf(into))
    if len(gone) and not empty:
        hint = f"; fill them in before reading{instead and f', {instead}'}, or leave the column out"
        problems.append(Flaw(f"{what}: {len(gone)} {EMPTY} value(s)", gone.tolist(), hint))
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
