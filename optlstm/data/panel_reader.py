"""One series, or many in one long table, with covariates: read, checked and put in order, or every problem."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from optlstm.data.columns import EMPTY, Flaw, column_problems, fill_numbers, read_times
from optlstm.data.frequency import season_of, ticks_of
from optlstm.data.labels import label_texts
from optlstm.data.panel import Categories, Column, Panel, named, taken
from optlstm.data.panel_time import Times, in_table
from optlstm.data.table import column_names, file_rows, read_table, unknown_column
from optlstm.errors import InputError, did_you_mean
from optlstm.util.arrays import Floats, Integers

SERIES = "unique_id"  # column looked for where none is named
_BUNDLED = Path(__file__).parent / "bundled"
_SHOWN = 3
_INTERPOLATE = "set data.gaps = 'interpolate'"


@dataclass(frozen=True)
class PanelColumns:
    """Which columns to read; None: by their usual names.

    Args:
        series: "": the file is one series.
        gaps: missing rows and values are to be filled.
        plain: nothing but times and targets is asked for. Then a column `unique_id` counts only where it names several
            series; and a file that is one is split and fingerprinted as it was before there were covariates.
    """

    time: str | None = None
    target: Sequence[str] | None = None
    series: str | None = None
    past: Sequence[str] = ()
    future: Sequence[str] = ()
    static: Sequence[str] = ()
    categorical: Sequence[str] = ()
    numeric: Sequence[str] = field(default=())  # known to be numbers, whatever the file looks like
    gaps: bool = False
    plain: bool = False


def bundled(name: str = "co2") -> Path:
    """The path of a data set that comes with the package.

    Raises:
        InputError: there is none of this name.
    """
    path = _BUNDLED / f"{name}.csv"
    known = sorted(file.stem for file in _BUNDLED.glob("*.csv"))
    if name not in known:
        near = did_you_mean(name, known)
        raise InputError(f"data: no bundled data set '{name}'{near} (there are: {', '.join(known)})")
    return path


def read_panel(path: Path, columns: PanelColumns) -> Panel:
    """Read and check the series of a file.

    Raises:
        InputError: every problem of its columns, or of the times and values in them, at once.
    """
    names = column_names(path)
    series = (columns.series or None) if columns.series is not None or SERIES not in names else SERIES
    problems = _problems_of_columns(path, names, columns, series)
    if problems:
        raise InputError(problems)
    time, targets = columns.time or "ds", tuple(columns.target or ["y"])
    others = (*columns.future, *columns.past, *columns.static)
    read = dict.fromkeys([*([series] if series else []), time, *targets, *others])
    frame = read_table(path, list(read), coded=series)
    if columns.plain and columns.series is None and series and not 1 < frame[series].nunique() < len(frame):
        frame, series = frame.drop(columns=series), None  # one series, or the number of each row
    return _Reader(path, frame, columns, series, time, targets).panel()


def _problems_of_columns(path: Path, names: Sequence[str], columns: PanelColumns, series: str | None) -> list[str]:
    problems = column_problems(path, names, columns.time, columns.target)
    asked = [*([columns.series] if columns.series else []), *columns.past, *columns.future, *columns.static]
    problems += [unknown_column(path, names, name) for name in dict.fromkeys(asked) if name not in names]
    covariates = [*columns.past, *columns.future, *columns.static]
    taken = [columns.time or "ds", *(columns.target or ["y"]), *([series] if series else [])]
    for name in dict.fromkeys(covariates):
        identity = name == series and name in columns.static and covariates.count(name) == 1
        if (name in taken and not identity) or covariates.count(name) > 1:
            problems.append(f"data: column '{name}' has more than one part to play; name it once")
    unused = [name for name in columns.categorical if name not in covariates]
    problems += [f"data.categorical: '{name}' is none of data.past, data.future and data.static" for name in unused]
    if columns.static and series is None:
        problems.append(
            "data.static: one series alone has nothing to tell apart; leave it out, or name --series COLUMN"
        )
    return problems


class _Reader:
    """One file's table, taken apart column by column so that little stands in memory twice."""

    def __init__(
        self,
        path: Path,
        frame: pd.DataFrame,
        columns: PanelColumns,
        series: str | None,
        time: str,
        targets: tuple[str, ...],
    ) -> None:
        self.path, self.frame, self.wanted, self.series, self.targets = path, frame, columns, series, targets
        self.flaws: list[Flaw] = []
        self.time = time
        self._categories: set[str] = set(columns.categorical)

    def panel(self) -> Panel:
        rows, codes, ids = len(self.frame), *self._codes()
        static = {name: self._column(name) for name in self.wanted.static}
        if self.series is not None and self.series in self.frame:
            self.frame.pop(self.series)
        index, flaws = read_times(self.frame.pop(self.time), self.path.name)
        self.flaws += flaws
        values = np.empty((rows, len(self.targets)), dtype=np.float64)
        empty = bool(self.wanted.future) or self.wanted.gaps
        for i, name in enumerate(self.targets):
            self.flaws += fill_numbers(
                values[:, i], self.frame.pop(name), self.path.name, empty=empty, instead=_INTERPOLATE
            )
        covariates = {name: self._column(name) for name in (*self.wanted.future, *self.wanted.past)}
        if index is None:
            raise self._error()
        order = None if (codes[1:] >= codes[:-1]).all() else np.argsort(codes, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(ids)))]).astype(np.int64)
        firsts = starts[:-1] if order is None else order[starts[:-1]]
        self._check_constant(static, codes, firsts, ids)
        if order is not None:
            index, values = index[order], values[order]
            covariates = {name: taken(column, order) for name, column in covariates.items()}
        freq, flaws = Times(index, starts, ids, order, self.path.name).check(gaps=self.wanted.gaps)
        self.flaws += flaws
        known = self._known(values, starts, order)
        self._check_covariates(covariates, starts, known, order)
        if self.flaws:
            raise self._error()
        by_series = {name: taken(column, firsts) for name, column in static.items()}
        values += 0.0  # makes -0.0 and 0.0 the same bits for the fingerprint
        plain = self.wanted.plain and self.series is None
        heading = list(self.targets) if plain else [list(self.targets), list(ids), [*covariates, *by_series]]
        digest = hashlib.sha256(json.dumps(heading).encode())
        if not plain:
            digest.update(starts.astype("<i8", copy=False).data)
        return Panel(
            file=self.path.name,
            series=self.series,
            ids=ids,
            starts=starts,
            known=known,
            time=index,
            columns=self.targets,
            values=values,
            covariates=covariates,
            static=by_series,
            freq=freq,
            season=season_of(freq),
            fingerprint=_fingerprint(digest, index, values, [*covariates.values(), *by_series.values()]),
            plain=plain,
        )

    def _codes(self) -> tuple[npt.NDArray[np.int32], tuple[str, ...]]:
        """Each row's series, numbered in order of appearance, and their names."""
        if self.series is None:
            return np.zeros(len(self.frame), dtype=np.int32), ("",)
        column = self.frame[self.series].cat
        codes, names = column.codes.to_numpy(), column.categories
        missing = np.flatnonzero(codes < 0)
        if len(missing):
            what = f"data: column '{self.series}' of {self.path.name}: {len(missing)} row(s) name no series"
            self.flaws.append(Flaw(what, missing.tolist(), "; fill them in or leave the rows out"))
            raise self._error()
        return codes.astype(np.int32), tuple(str(name) for name in names)

    def _column(self, name: str) -> Column:
        """A covariate: numbers (NaN where empty), or categories where it holds text or is named as one."""
        column = self.frame[name]
        if pd.api.types.is_datetime64_any_dtype(column):
            what = f"data: column '{name}' of {self.path.name} holds times, which are no covariate"
            self.flaws.append(Flaw(what, remedy="; leave it out, or see data.calendar"))
            return np.zeros(len(column))
        text = not pd.api.types.is_numeric_dtype(column) and name not in self.wanted.numeric
        if name in self._categories or (text and not column.isna().all()):
            return _categories(column)
        numbers = np.empty(len(column), dtype=np.float64)
        self.flaws += fill_numbers(numbers, column, self.path.name, empty=True)
        return numbers

    def _known(self, values: Floats, starts: Integers, order: Integers | None) -> Integers:
        """How many rows of each series come before its future: up to the last that has any target."""
        if not self.wanted.future:
            return np.diff(starts)
        given: npt.NDArray[np.bool_] = ~np.asarray(np.isnan(values).all(axis=1))
        at = np.where(given, np.arange(len(given)), -1)
        last = np.maximum.reduceat(at, starts[:-1])
        known = np.where(last >= starts[:-1], last - starts[:-1] + 1, 0)
        if not self.wanted.gaps:
            ahead = np.arange(len(given)) >= np.repeat(starts[:-1] + known, np.diff(starts))
            empty = np.flatnonzero(np.isnan(values).any(axis=1) & ~ahead)
            if len(empty):
                what = f"data: {self.path.name}: {len(empty)} row(s) with an {EMPTY} target"
                remedy = f"; fill them in, or {_INTERPOLATE}"
                self.flaws.append(Flaw(what, sorted(in_table(empty, order)), remedy))
        return known.astype(np.int64)

    def _check_covariates(
        self, covariates: Mapping[str, Column], starts: Integers, known: Integers, order: Integers | None
    ) -> None:
        """Past covariates need no value in the future; nothing else may be missing unless gaps are filled."""
        if self.wanted.gaps:
            return
        rows = int(starts[-1])
        ahead = np.arange(rows) >= np.repeat(starts[:-1] + known, np.diff(starts))
        for name, column in covariates.items():
            if isinstance(column, Categories):
                continue
            empty = np.flatnonzero(np.isnan(column) & ~(ahead if name in self.wanted.past else np.zeros(1, dtype=bool)))
            if len(empty):
                what = f"data: column '{name}' of {self.path.name}: {len(empty)} {EMPTY} value(s)"
                remedy = f"; fill them in, or {_INTERPOLATE}"
                self.flaws.append(Flaw(what, sorted(in_table(empty, order)), remedy))

    def _check_constant(
        self, static: Mapping[str, Column], codes: npt.NDArray[np.int32], firsts: Integers, ids: Sequence[str]
    ) -> None:
        for name, column in static.items():
            each = column.codes if isinstance(column, Categories) else column
            empty = column.codes < 0 if isinstance(column, Categories) else np.isnan(column)
            first = each[firsts][codes]
            mixed = np.flatnonzero((each != first) & ~empty)  # it need not be repeated in every row
            missing = [] if isinstance(column, Categories) else firsts[empty[firsts]].tolist()
            if len(mixed):
                which = list(dict.fromkeys(codes[mixed].tolist()))
                what = f"data: column '{name}' of {self.path.name} changes within {len(which)} series"
                shown = named([ids[i] for i in which])
                self.flaws.append(Flaw(f"{what}: {shown}", mixed.tolist(), "; a series has one value of it"))
            elif len(missing):
                what = f"data: column '{name}' of {self.path.name}: {len(missing)} series begin with an empty value"
                self.flaws.append(Flaw(what, missing, "; fill them in"))

    def _error(self) -> InputError:
        rows = file_rows(self.path, [position for flaw in self.flaws for position in flaw.positions[:_SHOWN]])
        return InputError([flaw.line(rows) for flaw in self.flaws])


def _categories(column: pd.Series) -> Categories:
    """1.0 and 1 are one category, as are a text with blanks around it and without."""
    numbered, distinct = pd.factorize(column)
    texts, _ = label_texts(pd.Series(distinct))
    numbers, names = pd.factorize(np.array(texts, dtype=object))
    codes = np.append(numbers, -1).astype(np.int32)[numbered]  # -1, none, is the last
    return Categories(codes, tuple(str(name) for name in names))


def _fingerprint(digest: Any, index: pd.Index, values: Floats, covariates: Sequence[Column]) -> str:
    """A sha256 of names, continued over times, targets and covariates: the same for the same numbers in any format."""
    digest.update(ticks_of(index).astype("<i8", copy=False).data)
    digest.update(values.astype("<f8", copy=False).data)
    for column in covariates:
        if isinstance(column, Categories):  # by the alphabet, not as they happen to appear
            digest.update(json.dumps(sorted(column.names)).encode())
            rank = np.argsort(np.argsort(np.array([*column.names, ""])[:-1])).astype("<i4")
            digest.update(np.append(rank, np.int32(-1))[column.codes].data)
        else:
            digest.update(np.ascontiguousarray(column + 0.0, dtype="<f8").data)
    return str(digest.hexdigest())
