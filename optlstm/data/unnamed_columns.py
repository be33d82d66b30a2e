"""Columns of times and targets that were not named: candidates by the first rows, and what to type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from optlstm.data.columns import SERIES_NAMES, text_number
from optlstm.data.date_parts import columns_of_day, date_columns
from optlstm.data.table import DataFile, encoding_problem, first_cells, list_columns, listed, unknown_column
from optlstm.data.time_format import parse_times, whole_number_format
from optlstm.data.wide_file import wide_problem
from optlstm.errors import Problem, nearest
from optlstm.util.format import quoted, short

_MARKED = re.compile(r"[-+(\u2212]?[^\w\s]{0,2}\s*\d[\d.,'\u2019\u00a0\u202f ]*[^\d\s]{0,6}")  # with marks and units
_ODD_TIMES = 0.2  # of the first cells, such as totals, of a column of times


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
        one = set(numbers) == set(names) and not any(_is_count(cells[name]) for name in names)
        in_order = one and (len(names) == 1 or target is not None or "y" in names)
        problems.append(_no_time(file, dates, columns, in_order=in_order))
    if no_target:
        left = [column for column in numbers if column not in (*(time or ["ds"]), *dates, *parts, *SERIES_NAMES)]
        left = [column for column in left if not _is_count(cells[column])] or left
        problems.append(_no_target(file, left, columns))
    return problems


def _no_time(file: DataFile, dates: Sequence[str], columns: str, *, in_order: bool) -> Problem:
    """No time column is named. dates: those that may be it. in_order: where there is none, the rows may be in order."""
    remedy = (
        "; ".join(f"{quoted(c)} looks like the time column: --time {shlex.quote(short(c))}" for c in dates)
        or "name it with --time COLUMN, or --time row where there is none and the rows are in order"
    )
    ways = [{"data.time": name} for name in (dates if len(dates) < 3 else [])]  # two: from and to
    ways = ways or ([{"data.time": "row"}] if in_order and not dates else [])
    line = f"data: no time column 'ds' in {file.name}; {remedy} {columns}"
    return Problem(line, *ways[:1], otherwise=ways[1] if len(ways) > 1 else None)


def _no_target(file: DataFile, left: Sequence[str], columns: str) -> Problem:
    """No target column is named. left: those that may be it."""
    remedy = f"choose from {list_columns(left)} with --target COL" if left else "name it with --target COLUMN"
    remedy = f"name it: --target {shlex.quote(short(left[0]))}" if len(left) == 1 else remedy
    stem = re.sub(r"\d+$", "", left[0]) if left else ""
    if stem and sum(bool(re.fullmatch(re.escape(stem) + r"\d+", name)) for name in left) > 2:
        remedy += f", or all with --target '{stem}*'"
    line = f"data: no target column 'y' in {file.name}; {remedy} {columns}"
    return Problem(line, {"data.target": left[0]} if left else None)


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
        elif given and not np.isnan([text_number(text.replace(",", ".")) for text in given]).all():
            numbers.append(name)
        elif given:
            try:
                times, _ = parse_times(pd.Series(given, dtype="str"))
                if np.mean(times.isna()) < _ODD_TIMES:
                    dates.append(name)
                elif 2 * sum(bool(_MARKED.fullmatch(text.strip())) for text in given) > len(given):
                    numbers.append(name)
            except ValueError:  # times, of which it is to be said which
                dates.append(name)
    return dates, numbers


def _rises(texts: Sequence[str]) -> bool:
    """Whether no number is below the one before it."""
    return not (np.diff([text_number(text) for text in texts]) < 0).any()


def _is_count(texts: Sequence[str]) -> bool:
    """Whether the cells number the rows: 1, 2, 3, ..."""
    numbers = np.array([text_number(text) for text in texts])
    return len(numbers) > 2 and bool((np.diff(numbers) == 1).all())
