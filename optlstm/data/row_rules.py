"""Rows of series made regular on demand: sorted by time, repeated times merged, resampled to equal steps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from optlstm.data.columns import Flaws
from optlstm.data.frequency import ticks_of
from optlstm.data.panel import Categories, Column, taken
from optlstm.data.panel_time import RowRules, Times
from optlstm.errors import InputError
from optlstm.util.arrays import Floats, Integers
from optlstm.util.format import listed, many, quoted
from optlstm.util.time_formats import STEP

_UNIT_US = {"s": 10**6, "min": 60 * 10**6, "h": 3600 * 10**6, "D": 86_400 * 10**6, "W": 7 * 86_400 * 10**6}
_MONTHS = {"MS": 1, "QS": 3, "YS": 12}
_MONDAY_US = 4 * 86_400 * 10**6  # January 5, 1970
_MOST_STEPS = 10  # for each one with rows
_WHOLE = 0.9  # of the rows of other steps


@dataclass(frozen=True, eq=False)
class Rows:
    """Series one after the other. order: the table's row of each; None: they are the same."""

    index: pd.Index
    starts: Integers  # [n + 1]
    order: Integers | None
    values: Floats  # [rows, targets]
    covariates: dict[str, Column]

    @property
    def series(self) -> Integers:
        """The series of each row."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def steps(self) -> Integers:
        """From each row to the next, in ticks; 1 from one series to the next."""
        steps = np.diff(ticks_of(self.index))
        steps[self.starts[1:-1] - 1] = 1
        return steps

    def taken(self, rows: Integers) -> Rows:
        """These rows, in this order; `starts` are those of as many rows in each series."""
        covariates = {name: taken(column, rows) for name, column in self.covariates.items()}
        order = rows if self.order is None else self.order[rows]
        return Rows(self.index[rows], self.starts, order, self.values[rows], covariates)


def regular(
    rows: Rows, rules: RowRules, columns: Sequence[str], ids: Sequence[str], flaws: Flaws
) -> tuple[Rows, list[str]]:
    """The rows by the rules, and a line for each that changed any. columns: of the values.

    Raises:
        InputError: they cannot be resampled.
    """
    notes: list[str] = []
    if rules.sort or _is_newest_first(rows):
        rows, notes = in_order(rows)
    if rules.repeated != "refuse" and not (rows.steps() < 0).any():
        rows, more = merged(rows, rules.repeated)
        notes += more
    if rules.resample is not None:
        Times(rows.index, rows.starts, ids, rows.order, flaws, rules).check_order()
        flaws.raise_any()
        rows, more = resampled(rows, rules, columns)
        notes += more
    return rows, notes


def in_order(rows: Rows) -> tuple[Rows, list[str]]:
    """The rows in order of time, those of one time in order of the file; and a note."""
    count = int(np.count_nonzero(rows.steps() < 0))
    if not count:
        return rows, []
    stood = "the newest stood first" if _is_newest_first(rows) else f"{many(count, 'row')} stood behind a later one"
    note = f"data: rows sorted by {quoted(rows.index.name)}: {stood}"
    return rows.taken(np.lexsort((ticks_of(rows.index), rows.series))), [note]


def _is_newest_first(rows: Rows) -> bool:
    """Whether all rows of every series stand before earlier ones."""
    within = len(rows.index) - (len(rows.starts) - 1)
    return within > 0 and bool(np.count_nonzero(rows.steps() < 0) == within)


def merged(rows: Rows, repeated: str) -> tuple[Rows, list[str]]:
    """One row for each time of a series, of rows in order; and a note."""
    new = np.concatenate([[True], rows.steps() > 0])
    count = int(np.count_nonzero(~new))
    if not count:
        return rows, []
    kept = "the last row of each is kept" if repeated == "last" else "the mean of each one's rows is taken"
    note = f"data: {many(count, 'repeated time')} in {quoted(rows.index.name)}: {kept}"
    first = np.flatnonzero(new)
    last = _last_of_each(rows, first)
    return (last if repeated == "last" else _with_means(last, rows, first)), [note]


def resampled(rows: Rows, rules: RowRules, columns: Sequence[str]) -> tuple[Rows, list[str]]:
    """A row for each step from a series' first to its last, of rows in order, and a note. columns: of the values.

    The numbers of a step without rows are NaN. A series' first or last step is left out where it has fewer than nine
    tenths of the rows that three of four steps have: the file begins or ends within it.

    Raises:
        InputError: the times are whole numbers, or most steps have no rows; a series has no step left.
    """
    if not isinstance(rows.index, pd.DatetimeIndex):
        raise InputError("data.resample: the times are whole numbers, not dates; number the rows evenly")
    grid = _Grid.of(str(rules.resample))
    number = grid.number(rows.index)
    new = np.concatenate([[True], np.diff(number) > 0])
    new[rows.starts[:-1]] = True
    first = np.flatnonzero(new)
    steps = _with_means(_last_of_each(rows, first), rows, first, columns, rules.sums)
    whole = _whole(steps, number[first], np.diff(np.append(first, len(number))), grid)
    steps = replace(steps.taken(whole), starts=np.searchsorted(whole, steps.starts).astype(np.int64))
    if not np.diff(steps.starts).all():
        raise InputError(
            f"data.resample: some series has too few rows for a step of {rules.resample}; take a shorter one"
        )
    steps = _without_holes(steps, number[first][whole], grid)
    kinds = [f"sums of {listed(map(quoted, rules.sums))}"] if rules.sums else []
    numbers = [*columns, *(name for name, column in rows.covariates.items() if not isinstance(column, Categories))]
    kinds += [f"means of {'the other ' if kinds else ''}numbers"] if set(numbers) - set(rules.sums) else []
    kinds += ["the last of categories"] if len(numbers) < len(columns) + len(rows.covariates) else []
    repeated = int(np.count_nonzero(rows.steps() == 0))
    taken = f"{len(number):,} rows" + (f" ({repeated:,} at the time of another)" if repeated else "")
    note = f"data: {taken} resampled to {len(steps.index):,} at {rules.resample}: {listed(kinds)}"
    partial = len(first) - len(whole)
    note += f"; {many(partial, 'step')} at an end left out, of which there are only some rows" if partial else ""
    return steps, [note]


@dataclass(frozen=True)
class _Grid:
    """Numbered steps of a fixed length, or of months."""

    size: int  # microseconds, or months
    origin: int = 0  # of step 0, in microseconds
    months: bool = False

    @classmethod
    def of(cls, step: str) -> _Grid:
        match = re.fullmatch(STEP, step)
        assert match is not None
        multiple, unit = int(match[1] or 1), match[2]
        if unit in _MONTHS:
            return cls(multiple * _MONTHS[unit], months=True)
        return cls(multiple * _UNIT_US[unit], _MONDAY_US if unit == "W" else 0)

    def number(self, time: pd.DatetimeIndex) -> Integers:
        """The step that each time is in."""
        if self.months:
            months = np.asarray(time.year, dtype=np.int64) * 12 + np.asarray(time.month, dtype=np.int64) - 1
            return months // self.size
        return (ticks_of(time) - self.origin) // self.size

    def start(self, number: Integers) -> Integers:
        """The ticks at which steps begin."""
        if self.months:
            return (number * self.size - 1970 * 12).astype("M8[M]").astype("M8[us]").astype(np.int64)
        return number * self.size + self.origin


def _whole(steps: Rows, number: Integers, counts: Integers, grid: _Grid) -> Integers:
    """The steps without those first and last ones of a series that have too few rows for their length.

    Args:
        number: of the grid, of each step that has rows.
        counts: how many rows each has.
    """
    density = counts / (grid.start(number + 1) - grid.start(number))
    few = density < _WHOLE * np.quantile(density, 0.25)
    edge = np.zeros(len(number), dtype=bool)
    edge[steps.starts[:-1]] = edge[steps.starts[1:] - 1] = True
    return np.flatnonzero(~(few & edge))


def _without_holes(rows: Rows, number: Integers, grid: _Grid) -> Rows:
    """With a row for every step; number: the step of each row. Of a row that is added `order` has the one before."""
    first, last = number[rows.starts[:-1]], number[rows.starts[1:] - 1]
    starts = np.concatenate([[0], np.cumsum(last - first + 1)]).astype(np.int64)
    total = int(starts[-1])
    if total > max(_MOST_STEPS * len(number), 10_000):
        raise InputError(f"data.resample: {total:,} steps, of which {len(number):,} have rows; is every time right?")
    at = number + np.repeat(starts[:-1] - first, np.diff(rows.starts))
    source = np.full(total, -1, dtype=np.int64)  # the row of each step, or the one before
    source[at] = np.arange(len(at))
    added = source < 0
    filled = rows.taken(np.maximum.accumulate(source))
    filled.values[added] = np.nan
    for column in filled.covariates.values():
        if isinstance(column, Categories):
            column.codes[added] = -1
        else:
            column[added] = np.nan
    of_row = np.repeat(np.arange(len(first)), np.diff(starts))
    ticks = grid.start(np.arange(total) - starts[:-1][of_row] + first[of_row])
    assert isinstance(rows.index, pd.DatetimeIndex)
    index = pd.DatetimeIndex(ticks.view("M8[us]"), name=rows.index.name)
    return replace(filled, starts=starts, index=index if rows.index.tz is None else index.tz_localize("UTC"))


def _last_of_each(rows: Rows, first: Integers) -> Rows:
    """The last row of each group of successive rows of one series. first: the groups' first rows."""
    last = np.append(first[1:], len(rows.index)) - 1
    return replace(rows.taken(last), starts=np.searchsorted(first, rows.starts).astype(np.int64))


def _with_means(last: Rows, rows: Rows, first: Integers, columns: Sequence[str] = (), sums: Sequence[str] = ()) -> Rows:
    """The groups' last rows with the mean of each column of numbers, or its sum, where it has any."""
    names = columns or [""] * rows.values.shape[1]
    values = np.column_stack([_mean(rows.values[:, i], first, name in sums) for i, name in enumerate(names)])
    covariates = {
        name: column
        if isinstance(column, Categories)
        else _mean(np.asarray(rows.covariates[name]), first, name in sums)
        for name, column in last.covariates.items()
    }
    return replace(last, values=values, covariates=covariates)


def _mean(column: Floats, first: Integers, total: bool) -> Floats:
    """Of each group's numbers, or their sum; NaN where it has none."""
    missing = np.isnan(column)
    counts = np.add.reduceat(~missing, first, dtype=np.int64)
    sums = np.add.reduceat(np.where(missing, 0.0, column), first)
    means = sums if total else sums / np.maximum(counts, 1)
    return np.where(counts > 0, means, np.nan)
