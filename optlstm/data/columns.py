"""The columns of a table as numbers and labels, or every problem they have."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from optlstm.data.date_parts import columns_of_day, date_columns
from optlstm.data.stand_ins import empty_cells
from optlstm.data.table import (
    SHOWN,
    DataFile,
    encoding_problem,
    file_rows,
    first_cells,
    list_columns,
    listed,
    unknown_column,
)
from optlstm.data.time_format import parse_times, whole_number_format
from optlstm.data.wide_file import wide_problem
from optlstm.errors import InputError, Problem, nearest
from optlstm.util.arrays import Floats, Integers
from optlstm.util.format import quoted, short

Fix = Mapping[str, str | bool] | None  # of `Problem`
SERIES_NAMES = ("series_id", "unique_id")  # columns that name a series, or a sequence
EMPTY = "empty or NaN"
INTERPOLATE = "have them interpolated: --gaps interpolate (data.gaps = 'interpolate' in a study file)"  # another remedy
BY_INTERPOLATION: Fix = {"data.gaps": "interpolate"}
_EXACT = 2**53  # up to here a float holds every whole number
_LONGEST_MARK = 12  # characters of a text that stands for a gap
_ODD_TIMES = 0.2  # of the first cells, such as totals, of a column of times
_MOSTLY = 0.9  # of texts that differ
_OF_MARKS = ("<", "#")  # a number below a limit, an error of a spreadsheet
_LARGEST = 1e140  # the squares of a hundred million of these can be added up
_DECIMAL = re.compile(r"[+-]?[\d. ]*,\d+")  # with a comma
_MARKED = re.compile(r"[-+(\u2212]?[^\w\s]{0,2}\s*\d[\d.,'\u2019\u00a0\u202f ]*[^\d\s]{0,6}")  # with marks and units
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?(e[+-]?\d+)?", re.IGNORECASE)


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


def column_problems(
    file: DataFile, names: Sequence[str], time: Sequence[str] | None, target: Sequence[str] | None
) -> list[str]:
    """Problems of the time and target columns, with candidates from the first rows."""
    asked = [*(time or []), *(target or [])]
    problems: list[str] = [
        Problem(unknown_column(file, names, column), _nearest_instead(column, names, time or [], target or []))
        for column in dict.fromkeys(asked)
        if column not in names
    ]
    if target is not None and not target:
        problems.append("data: the list of target columns is empty; name at least one with --target")
    no_time, no_target = time is None and "ds" not in names, target is None and "y" not in names
    if not no_time and not no_target and not (time and target):
        return problems
    cells = first_cells(file)
    dates, numbers = _guess(cells)
    if (no_time or no_target) and (wide := wide_problem(file, cells, dates)) is not None:
        return [*problems, wide]
    if not no_time and not no_target:
        return [*problems, *_swapped(file, cells, dates, numbers, time or [], target or [])]
    if no_time and no_target and not dates and (kind := _labelled(names, numbers)):
        line = f"data: no time column 'ds' and no target column 'y' in {file.name}, which has a column 'label'"
        return [*problems, Problem(f"{line}; to learn labels: --task {kind}", {"task": kind})]
    parts = date_columns(names)
    if len(dates) == 1 and len(set(cells[dates[0]])) < len(cells[dates[0]]):
        parts = (*dates, *columns_of_day(cells))
    dates = dates if len(parts) < 2 or len(dates) > 1 else [",".join(parts)]
    if (no_text := encoding_problem(file, names)) is not None:
        return [*problems, no_text]
    columns = listed(file, names)
    if no_time:
        remedy = (
            "; ".join(f"{quoted(c)} looks like the time column: --time {shlex.quote(short(c))}" for c in dates)
            or "name it with --time COLUMN, or --time row where there is none and the rows are in order"
        )
        line = f"data: no time column 'ds' in {file.name}; {remedy} {columns}"
        one = set(numbers) == set(names) and not any(_is_count(cells[name]) for name in names)
        in_order = one and (len(names) == 1 or target is not None or "y" in names)
        ways = [{"data.time": name} for name in (dates if len(dates) < 3 else [])]  # two: from and to
        ways = ways or ([{"data.time": "row"}] if in_order and not dates else [])
        problems.append(Problem(line, *ways[:1], otherwise=ways[1] if len(ways) > 1 else None))
    if no_target:
        left = [column for column in numbers if column not in (*(time or ["ds"]), *dates, *parts, *SERIES_NAMES)]
        left = [column for column in left if not _is_count(cells[column])] or left
        remedy = f"choose from {list_columns(left)} with --target COL" if left else "name it with --target COLUMN"
        remedy = f"name it: --target {shlex.quote(short(left[0]))}" if len(left) == 1 else remedy
        stem = re.sub(r"\d+$", "", left[0]) if left else ""
        if stem and sum(bool(re.fullmatch(re.escape(stem) + r"\d+", name)) for name in left) > 2:
            remedy += f", or all with --target '{stem}*'"
        line = f"data: no target column 'y' in {file.name}; {remedy} {columns}"
        problems.append(Problem(line, {"data.target": left[0]} if left else None))
    return problems


def _swapped(
    file: DataFile,
    cells: Mapping[str, Sequence[str]],
    dates: Sequence[str],
    numbers: Sequence[str],
    time: Sequence[str],
    target: Sequence[str],
) -> list[str]:
    """A problem where the column of the times holds numbers and no count, and that of the target times."""
    if len(time) != 1 or len(target) != 1 or time[0] not in numbers or target[0] not in dates or _rises(cells[time[0]]):
        return []
    line = f"data: of {file.name} '{target[0]}', the target, holds times, and '{time[0]}', the time, numbers that fall"
    remedy = f"--time {shlex.quote(short(target[0]))} --target {shlex.quote(short(time[0]))}, the other way round?"
    return [Problem(f"{line}; {remedy}", {"data.time": target[0], "data.target": time[0]})]


def _labelled(names: Sequence[str], numbers: Sequence[str]) -> str | None:
    """The task of a file with a column `label`, if its other columns are those of one."""
    others = [name for name in names if name != "label"]
    if len(others) == len(names):
        return None
    return "text" if "text" in others else "sequence" if set(others) <= set(numbers) else None


def _nearest_instead(column: str, names: Sequence[str], time: Sequence[str], target: Sequence[str]) -> dict[str, str]:
    """The config with the column that was meant, if one is spelt nearly like it."""
    near = nearest(column, names)
    if near is None:
        return {}
    key, asked = ("data.time", time) if column in time else ("data.target", target)
    return {key: ",".join(near if name == column else name for name in asked)}


def _guess(cells: dict[str, list[str]]) -> tuple[list[str], list[str]]:
    """(columns that look like times, columns that look like numbers)."""
    dates: list[str] = []
    numbers: list[str] = []
    for name, texts in cells.items():
        given = [text for text in texts if text.strip()]
        if given and all(re.fullmatch(r"\d{6,18}", text) for text in given):
            form, _ = whole_number_format(np.array(given, dtype=np.int64))
            (numbers if form is None else dates).append(name)
        elif given and not np.isnan([_number(text.replace(",", ".")) for text in given]).all():
            numbers.append(name)
        elif given:
            try:
                times, _ = parse_times(pd.Series(given, dtype="str"))
                if times.isna().mean() < _ODD_TIMES:
                    dates.append(name)
                elif 2 * sum(bool(_MARKED.fullmatch(text.strip())) for text in given) > len(given):
                    numbers.append(name)
            except ValueError:  # times, of which it is to be said which
                dates.append(name)
    return dates, numbers


def _rises(texts: Sequence[str]) -> bool:
    """Whether no number is below the one before it."""
    return not (np.diff([_number(text) for text in texts]) < 0).any()


def _is_count(texts: Sequence[str]) -> bool:
    """Whether the cells number the rows: 1, 2, 3, ..."""
    numbers = np.array([_number(text) for text in texts])
    return len(numbers) > 2 and bool((np.diff(numbers) == 1).all())


def _number(text: str) -> float:
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
        into[:] = [_number(text) for text in texts]
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
    return sum(not np.isnan(_number(text)) for text in distinct) > _MOSTLY * len(distinct)
