"""The columns of a table as numbers and labels, or every problem they have."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from optlstm.data.number_marks import MOSTLY
from optlstm.data.stand_ins import empty_cells
from optlstm.data.table import SHOWN, DataFile, file_rows
from optlstm.errors import InputError, Problem
from optlstm.util.arrays import Floats, Integers
from optlstm.util.format import quoted

Fix = Mapping[str, str | bool] | None  # of `Problem`
SERIES_NAMES = ("series_id", "unique_id")  # columns that name a series, or a sequence
EMPTY = "empty or NaN"
INTERPOLATE = "have them interpolated: --gaps interpolate (data.gaps = 'interpolate' in a study file)"  # another remedy
BY_INTERPOLATION: Fix = {"data.gaps": "interpolate"}
_EXACT = 2**53  # up to here a float holds every whole number
_LONGEST_MARK = 12  # characters of a text that stands for a gap
_OF_MARKS = ("<", "#")  # a number below a limit, an error of a spreadsheet
_LARGEST = 1e140  # the squares of a hundred million of these can be added up
_DECIMAL = re.compile(r"[+-]?[\d. ]*,\d+")  # with a comma


class Flaws:
    """What is wrong with the rows of a file, collected so that all of it is reported at once."""

    def __init__(self, file: DataFile, unread: Sequence[str] = (), series: Sequence[str] = ()) -> None:
        self.file = file.name
        self.source = file
        self.unread = unread  # columns that have no role
        self.series = series  # those that name the series
        self.day_and_month = False  # the times are texts with both in one order
        self.notes: list[str] = []  # what was understood, or looks odd, and is no flaw
        self._flaws: list[tuple[str, list[int], str, Sequence[str], tuple[Fix, Fix]]] = []

    def add(
        self,
        problem: str,
        rows: Sequence[int] | Integers | None = None,
        remedy: str = "",
        notes: Sequence[str] = (),
        fix: Fix = None,
        otherwise: Fix = None,
    ) -> None:
        """Add a problem, unless `rows` is empty.

        Args:
            rows: Of the table, from 0; the first are named by their rows in the file. None: the problem is of no row.
            notes: On the first rows.
            fix, otherwise: Of `Problem`.
        """
        if rows is None or len(rows):
            first = [] if rows is None else [int(row) for row in rows[: SHOWN + 1]]
            self._flaws.append((f"data: {problem}", first, f"; {remedy}" if remedy else "", notes, (fix, otherwise)))

    def error(self) -> InputError:
        """One line for every problem."""
        in_file = file_rows(self.source, [row for _, rows, *_ in self._flaws for row in rows[:SHOWN]])
        lines = []
        for problem, rows, remedy, notes, (fix, otherwise) in self._flaws:
            named = [f"row {in_file[row]}" for row in rows[:SHOWN]]
            for i, note in enumerate(notes[: len(named)]):
                named[i] += f": {note}"
            named += ["..."] if len(rows) > SHOWN else []
            line = f"{problem} ({', '.join(named)}){remedy}" if named else f"{problem}{remedy}"
            lines.append(Problem(line, fix, otherwise=otherwise))
        return InputError(lines)

    def raise_any(self) -> None:
        """Raises `error()`, unless there is no problem."""
        if self._flaws:
            raise self.error()


def text_number(text: str) -> float:
    """A text's number, NaN where it is none."""
    try:
        return float(text) if "_" not in text else np.nan
    except ValueError:
        return np.nan


def fill_numbers(
    into: Floats, column: pd.Series, flaws: Flaws, *, empty: bool = False, instead: str = ""
) -> npt.NDArray[np.bool_]:
    """Write a column's numbers into `into` [rows]; cells that are no finite numbers are flaws.

    Returns which cells are empty, or hold a value that stands for a gap, [rows].

    Args:
        empty: whether cells may be empty; they become NaN.
        instead: another remedy where they may not.
    """
    name = f"column {quoted(column.name)} of {flaws.file}"
    options = flaws.source.options
    if pd.api.types.is_datetime64_any_dtype(column):
        flaws.add(f"{name} holds times, not numbers", remedy="choose another target")
        return np.zeros(len(column), dtype=np.bool_)
    if pd.api.types.is_numeric_dtype(column):
        into[:] = column.to_numpy(dtype=np.float64)
        missing = empty_cells(column, into, options)
    else:
        texts = [str(cell) for cell in column]
        into[:] = [text_number(text) for text in texts]
        missing = empty_cells(column, into, options)
        wrong = np.flatnonzero(np.isnan(into) & ~missing)
        notes = [quoted(texts[i]) for i in wrong[:SHOWN]]
        most = bool(2 * len(wrong) > len(texts) - np.count_nonzero(missing))
        mark = "" if most else _gap_mark({texts[i] for i in wrong}, len(wrong))
        commas = not flaws.source.is_parquet and bool(len(wrong)) and all(_DECIMAL.fullmatch(texts[i]) for i in wrong)
        commas &= not any("." in text for text in texts)
        remedy = f"if it stands for a missing value, --set data.missing={shlex.quote(mark)}" if mark else ""
        remedy = "if these are decimal commas, --set data.decimal=," if commas else remedy
        remedy = remedy or _number_hint(notes, instead, most)
        fix: Fix = {"data.missing": mark} if mark else {"data.decimal": ","} if commas else None
        flaws.add(f"{name}: {len(wrong)} cell(s) are not numbers", wrong, remedy, notes, fix)
        into[wrong] = 0.0  # they are not empty, too
    if pd.api.types.is_integer_dtype(column):
        inexact = np.flatnonzero(np.abs(into) > _EXACT)
        remedy = "subtract a constant, or write them as decimals"
        flaws.add(f"{name}: {len(inexact)} whole number(s) above 2^53 lose digits", inexact, remedy)
    if not empty:
        gone = np.flatnonzero(missing)
        remedy = f"fill them in before reading{instead and f', {instead}'}, or leave the column out"
        if instead == INTERPOLATE and 0 < len(gone) == len(into) - int(gone[0]) < len(into):
            remedy = "leave these last rows out, or give --gaps interpolate: forecasts begin behind the last value"
        filled = BY_INTERPOLATION if "--gaps interpolate" in instead else None
        flaws.add(f"{name}: {len(gone)} {EMPTY} value(s)", gone, remedy, fix=filled)
    infinite = np.flatnonzero(np.isinf(into))
    remedy = "a value must be finite and below 1.8e308"
    flaws.add(f"{name}: {len(infinite)} infinite value(s)", infinite, remedy)
    large = np.flatnonzero((np.abs(into) > _LARGEST) & ~np.isinf(into))
    problem = f"{name}: {len(large)} value(s) beyond {_LARGEST:g} are too large to be standardised"
    flaws.add(problem, large, "write them in another unit, or correct them", [f"{into[i]:g}" for i in large[:SHOWN]])
    return missing


def _gap_mark(distinct: set[str], count: int) -> str:
    """The text of cells that are no numbers, where all have the same of few characters: `-`, `closed`, `<1`, `#REF!`.

    One alone has neither letters nor digits.
    """
    mark = next(iter(distinct)) if len(distinct) == 1 else ""
    if len(mark) > _LONGEST_MARK or (any(map(str.isdigit, mark)) and not mark.startswith(_OF_MARKS)):
        return ""
    return mark if count > 1 or mark.startswith(_OF_MARKS) or not any(map(str.isalnum, mark)) else ""


def _number_hint(notes: Sequence[str], instead: str, most: bool) -> str:
    """most: Of the cells are no numbers."""
    if all(re.fullmatch(r"'[+-]?\d{1,3}(,\d{3})+(\.\d*)?'", note) for note in notes):
        return "write numbers without thousands separators: 1234, not 1,234"
    if all(re.fullmatch(r"'[+-]?[\d. ]*,\d+'", note) for note in notes):
        return "write decimal points, not decimal commas: 1.5, not 1,5"
    if most:
        return "it is no column of numbers: name another one, or write numbers"
    return f"correct them{instead and f', or empty the cells and {instead}'}"


def are_mostly_numbers(column: pd.Series) -> bool:
    """Whether the texts of a column that differ are numbers, all but a few mistakes."""
    distinct = [str(text) for text in column.dropna().unique()]
    return sum(not np.isnan(text_number(text)) for text in distinct) > MOSTLY * len(distinct)
