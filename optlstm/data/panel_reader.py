"""One series, or many in one long table, with covariates: read, checked and put in order, or every problem."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from optlstm.data.columns import BY_INTERPOLATION, EMPTY, INTERPOLATE, Flaws, are_mostly_numbers, fill_numbers
from optlstm.data.file_format import TOLD, FileOptions
from optlstm.data.frequency import season_of, ticks_of
from optlstm.data.key_columns import (
    ROW,
    read_series_columns,
    read_time_columns,
    row_numbers,
    split_names,
    texts_of_day,
    whole_names,
)
from optlstm.data.label_cells import label_texts
from optlstm.data.panel import Categories, Column, Panel, named, taken
from optlstm.data.panel_time import AS_THEY_ARE, RowRules, Times, in_table
from optlstm.data.row_rules import Rows, regular
from optlstm.data.stand_ins import likely_stand_in
from optlstm.data.table import SHOWN, DataFile, list_columns, read_table, unknown_column
from optlstm.data.time_column import BY_THE_CELLS, TimeColumn, TimeReading, read_times, without_totals
from optlstm.data.time_format import is_of_numbers
from optlstm.data.unnamed_columns import column_problems
from optlstm.errors import InputError, did_you_mean
from optlstm.util.arrays import Floats, Integers
from optlstm.util.format import listed, many, quoted

SERIES = "unique_id"  # column looked for where none is named
_BUNDLED = Path(__file__).parent / "bundled"


@dataclass(frozen=True)
class PanelColumns:
    """Which columns to read; None: by their usual names.

    Args:
        series: "": the file is one series.
        gaps: rows and values may be missing.
        plain: nothing but times and targets is asked for. Then a column `unique_id` is used only where it names several
            series; a file of one series is split and fingerprinted as before there were covariates.
    """

    time: str | None = None
    target: Sequence[str] | None = None
    series: str | None = None
    past: Sequence[str] = ()
    future: Sequence[str] = ()
    static: Sequence[str] = ()
    categorical: Sequence[str] = ()
    numeric: Sequence[str] = ()  # known to be numbers, whatever the file looks like
    gaps: bool = False
    plain: bool = False
    times: TimeReading = BY_THE_CELLS
    rules: RowRules = AS_THEY_ARE
    options: FileOptions = TOLD

    @property
    def covariates(self) -> tuple[str, ...]:
        return (*self.past, *self.future, *self.static)


def bundled(name: str = "co2") -> Path:
    """The path of a data set that comes with the package.

    Raises:
        InputError: there is no data set of this name.
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
    file = DataFile(path, columns.options)
    names = file.names
    series = (columns.series or None) if columns.series is not None or SERIES not in names else SERIES
    time = columns.time or "ds"
    times = () if time == ROW and ROW not in names else split_names(time, names)
    of_series = split_names(series, names) if series else ()
    columns = _with_whole_names(columns, names, [*times, *of_series])
    targets = tuple(columns.target or ["y"])
    problems = column_problems(file, names, times if columns.time is not None else None, columns.target)
    problems += _problems_of_roles(file, names, columns, [*times, *targets], of_series)
    if problems and not columns.rules.by_flag:
        wanted = list_columns([*of_series, *times, *targets, *columns.covariates])
        problems.append(f"data: the model reads columns of these names: {wanted}; rename those of {file.name}")
    if problems:
        raise InputError(problems)
    read = dict.fromkeys([*of_series, *times, *targets, *columns.covariates])
    as_text = columns.times.format is not None and not is_of_numbers(columns.times.format)
    texts = [*(times[:1] if as_text else []), *(of_series if len(of_series) > 1 else []), *texts_of_day(times)]
    coded = series if len(of_series) == 1 else None
    frame = read_table(file, [*read], coded=coded, texts=texts, times=times, categories=columns.categorical)
    if series and len(of_series) > 1:
        frame[series], totals = read_series_columns(frame, of_series), frame[[*of_series]].isna()
    if columns.plain and columns.series is None and series and not 1 < frame[series].nunique() < len(frame):
        frame, series, of_series = frame.drop(columns=series), None, ()  # one series, or the number of each row
    flaws = Flaws(file, [name for name in names if name not in read], of_series)
    if len(of_series) > 1 and (count := int(np.count_nonzero(totals.any(axis=1) & frame[series].notna()))):
        empty = listed(quoted(name) for name in of_series if totals[name].any())
        flaws.notes.append(f"data: {many(count, 'row')} of {file.name} with an empty {empty}: series of their own")
    if times:
        frame = without_totals(frame, times[0], flaws)
    return _Reader(frame, flaws, columns, series, of_series, times, targets).panel()


def _with_whole_names(columns: PanelColumns, names: Sequence[str], keys: Sequence[str]) -> PanelColumns:
    """With the file's names of the columns that were asked for. keys: those of times and series."""
    past, future, static = (whole_names(role, names, keys) for role in (columns.past, columns.future, columns.static))
    others = [*keys, *past, *future, *static]
    return replace(
        columns,
        target=columns.target and whole_names(columns.target, names, others),
        past=past,
        future=future,
        static=static,
        categorical=whole_names(columns.categorical, names),
        rules=replace(columns.rules, sums=whole_names(columns.rules.sums, names)),
    )


def _problems_of_roles(
    file: DataFile, names: Sequence[str], columns: PanelColumns, others: Sequence[str], series: Sequence[str]
) -> list[str]:
    """What is wrong with the columns of the series and the covariates. others: the columns of times and targets."""
    asked, keys = [*(series if columns.series else []), *columns.covariates], [*others, *series]
    problems = [unknown_column(file, names, name) for name in dict.fromkeys(asked) if name not in names]
    roles = [*columns.covariates, *keys]
    for name in dict.fromkeys(roles):
        most = 2 if name in series and name in columns.static else 1  # the series' names may be a static covariate
        if roles.count(name) > most:
            problems.append(f"data: column '{name}' is asked for more than once; name it once")
    unused = [name for name in columns.categorical if name not in columns.covariates]
    problems += [f"data.categorical: '{name}' is none of --past, --future and --static" for name in unused]
    kinds = "--target, --past and --future"
    summed = [name for name in columns.rules.sums if name not in (*keys, *columns.past, *columns.future)]
    problems += [f"data.resample_sum: '{name}' is none of {kinds}" for name in summed]
    if columns.static and not series:
        problems.append("--static: one series alone has nothing to tell apart; leave it out, or name --series COLUMN")
    return problems


@dataclass(frozen=True)
class _Reader:
    """One file's table, taken apart column by column so that little stands in memory twice."""

    frame: pd.DataFrame
    flaws: Flaws
    wanted: PanelColumns
    series: str | None
    of_series: tuple[str, ...]  # the columns that `series` stands for
    times: tuple[str, ...]  # the columns of the times; none: the rows are in order
    targets: tuple[str, ...]

    def panel(self) -> Panel:
        codes, ids = self._codes()
        static = {name: self._column(name) for name in self.wanted.static}
        if self.series is not None and self.series in self.frame:
            self.frame.pop(self.series)
        times = self._read_times(codes)
        values = self._target_values()
        covariates = {name: self._column(name) for name in (*self.wanted.future, *self.wanted.past)}
        if times is None:
            raise self.flaws.error()
        index, form, understood = times.index, times.format, [times.note] if times.note else []
        del times  # its index is another one than that of the rows in order
        order = None if (codes[1:] >= codes[:-1]).all() else np.argsort(codes, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(ids)))]).astype(np.int64)
        firsts = starts[:-1] if order is None else order[starts[:-1]]
        self._check_constant(static, codes, firsts, ids)
        if order is not None:
            index, values = index[order], values[order]
            covariates = {name: taken(covariates.pop(name), order) for name in list(covariates)}
        rows, notes = regular(
            Rows(index, starts, order, values, covariates), self.wanted.rules, self.targets, ids, self.flaws
        )
        if not self.wanted.future and not self.wanted.gaps:
            rows = self._without_future(rows, ids)
        index, starts, order, values, covariates = rows.index, rows.starts, rows.order, rows.values, rows.covariates
        freq = Times(index, starts, ids, order, self.flaws, self.wanted.rules).freq(gaps=self.wanted.gaps)
        known = _known(values, starts) if self.wanted.future or self.wanted.gaps else np.diff(starts)
        if self.wanted.gaps and not self.wanted.future:
            self._note_ahead(np.diff(starts) - known, ids)
        if not self.wanted.gaps:
            future = np.arange(len(index)) >= np.repeat(starts[:-1] + known, np.diff(starts))
            self._check_empty(values, covariates, future, order)
        self.flaws.raise_any()
        by_series = {name: taken(column, firsts) for name, column in static.items()}
        values += 0.0  # makes -0.0 and 0.0 the same bits for the fingerprint
        plain = self.wanted.plain and self.series is None
        heading = list(self.targets) if plain else [list(self.targets), list(ids), [*covariates, *by_series]]
        columns = [*covariates.values(), *by_series.values()]
        return Panel(
            file=self.flaws.file,
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
            fingerprint=_fingerprint(heading, None if plain else starts, index, values, columns),
            plain=plain,
            time_format=form,
            time_columns=self.times,
            series_columns=self.of_series,
            decimal=self.flaws.source.decimal,
            notes=(*self.flaws.source.notes, *understood, *self.flaws.notes, *notes),
        )

    def _target_values(self) -> Floats:
        """[rows, targets], taken out of the frame."""
        values = np.empty((len(self.frame), len(self.targets)), dtype=np.float64)
        for i, name in enumerate(self.targets):
            fill_numbers(values[:, i], self.frame.pop(name), self.flaws, empty=True, instead=INTERPOLATE)
            self.flaws.notes += likely_stand_in(self.flaws.file, [name], values[:, i])
        return values

    def _read_times(self, codes: npt.NDArray[np.int32]) -> TimeColumn | None:
        """None where they have flaws. codes: the series of each row."""
        if not self.times:
            return row_numbers(codes)
        if len(self.times) > 1:
            return read_time_columns(self.frame, self.times, self.flaws, self.wanted.times)
        return read_times(self.frame.pop(self.times[0]), self.flaws, self.wanted.times)

    def _codes(self) -> tuple[npt.NDArray[np.int32], tuple[str, ...]]:
        """Each row's series, numbered in order of appearance, and their names."""
        if self.series is None:
            return np.zeros(len(self.frame), dtype=np.int32), ("",)
        column = self.frame[self.series].cat
        codes, names = column.codes.to_numpy(), column.categories
        missing = np.flatnonzero(codes < 0)
        problem = f"column '{self.series}' of {self.flaws.file}: {len(missing)} row(s) name no series"
        remedy = "fill them in, leave the rows out, or name a series by more columns: --series COL,COL"
        self.flaws.add(problem, missing, remedy)
        self.flaws.raise_any()
        return codes.astype(np.int32), tuple(str(name) for name in names)

    def _column(self, name: str) -> Column:
        """A covariate: numbers (NaN where empty), or categories where it holds text or is named as one."""
        column = self.frame[name]
        if pd.api.types.is_datetime64_any_dtype(column):
            problem = f"column '{name}' of {self.flaws.file} holds times, which are no covariate"
            self.flaws.add(problem, remedy="leave it out; --calendar makes features of the times")
            return np.zeros(len(column))
        text = not pd.api.types.is_numeric_dtype(column) and name not in self.wanted.numeric
        if name in self.wanted.categorical:
            return _categories(column)
        if text and not column.isna().all() and not are_mostly_numbers(column):
            categories = _categories(column)
            shown = list_columns(categories.names, most=3)
            self.flaws.notes.append(f"data: covariate '{name}' is text, and read as categories: {shown}")
            return categories
        numbers = np.empty(len(column), dtype=np.float64)
        instead = f"{INTERPOLATE}; or, of categories, --set data.categorical={name}" if text else ""
        fill_numbers(numbers, column, self.flaws, empty=True, instead=instead)
        self.flaws.notes += likely_stand_in(self.flaws.file, [name], numbers)
        return numbers

    def _without_future(self, rows: Rows, ids: Sequence[str]) -> Rows:
        """The rows without those behind each series' last target, which are to be forecast."""
        lengths, known = np.diff(rows.starts), _known(rows.values, rows.starts)
        known = np.where(known > 0, known, lengths)
        if (known == lengths).all():
            return rows
        self._note_ahead(lengths - known, ids)
        kept = np.arange(len(rows.index)) < np.repeat(rows.starts[:-1] + known, lengths)
        return replace(rows.taken(np.flatnonzero(kept)), starts=np.concatenate([[0], np.cumsum(known)]))

    def _note_ahead(self, ahead: Integers, ids: Sequence[str]) -> None:
        """Say which rows are to be forecast. ahead: how many behind the last target of each series."""
        series = np.flatnonzero(ahead)
        if len(series):
            of = f"{len(series)} of {len(ids)} series of " if self.series else ""
            which = f" ({named([ids[i] for i in series[: SHOWN + 1]])})" if self.series else ""
            rows = f"{many(int(ahead.sum()), 'row')} at the end of {of}{self.flaws.file}{which}"
            self.flaws.notes.append(f"data: {rows} without a target: to be forecast")

    def _check_empty(
        self, values: Floats, covariates: Mapping[str, Column], future: npt.NDArray[np.bool_], order: Integers | None
    ) -> None:
        """Only targets and past covariates may be empty, and only in the future. future: which rows are, [rows]."""
        remedy = f"fill them in, or {INTERPOLATE}"
        for name, target in zip(self.targets, values.T, strict=True):
            empty = np.flatnonzero(np.isnan(target) & ~future)
            problem = f"column '{name}' of {self.flaws.file}: {len(empty)} {EMPTY} value(s)"
            self.flaws.add(problem, sorted({*in_table(empty, order)}), remedy, fix=BY_INTERPOLATION)
        for name, column in covariates.items():
            if not isinstance(column, Categories):
                missing = np.isnan(column)
                empty, ahead = np.flatnonzero(missing & ~future), np.flatnonzero(missing & future)
                problem = f"column '{name}' of {self.flaws.file}: {len(empty)} {EMPTY} value(s)"
                self.flaws.add(problem, sorted({*in_table(empty, order)}), remedy, fix=BY_INTERPOLATION)
                if name in self.wanted.future:
                    problem = f"column '{name}' of {self.flaws.file}: {len(ahead)} {EMPTY} value(s) behind the targets"
                    remedy = "fill them in, for it is to be known ahead, or name it with --past"
                    self.flaws.add(problem, sorted({*in_table(ahead, order)}), remedy)

    def _check_constant(
        self, static: Mapping[str, Column], codes: npt.NDArray[np.int32], firsts: Integers, ids: Sequence[str]
    ) -> None:
        for name, column in static.items():
            cells, empty = (
                (column.codes, column.codes < 0) if isinstance(column, Categories) else (column, np.isnan(column))
            )
            mixed = np.flatnonzero((cells != cells[firsts][codes]) & ~empty)  # it need not be repeated in every row
            if len(mixed):
                changing = list(dict.fromkeys(codes[mixed].tolist()))
                problem = f"column '{name}' of {self.flaws.file} changes within {len(changing)} series"
                names = named([ids[i] for i in changing])
                self.flaws.add(
                    f"{problem}: {names}", mixed, "a series has one value of it; or name it with --past or --future"
                )
            elif not isinstance(column, Categories):
                missing = firsts[empty[firsts]]
                problem = f"column '{name}' of {self.flaws.file}: {len(missing)} series begin with an empty value"
                self.flaws.add(problem, missing, "fill them in")


def _known(values: Floats, starts: Integers) -> Integers:
    """How many rows of each series come before its future: up to the last that has any target."""
    given = np.asarray(~np.isnan(values).all(axis=1))
    last = np.maximum.reduceat(np.where(given, np.arange(len(given)), -1), starts[:-1])
    return np.where(last >= starts[:-1], last - starts[:-1] + 1, 0).astype(np.int64)


def _categories(column: pd.Series) -> Categories:
    """1.0 and 1 are one category, as are a text with blanks around it and without."""
    numbered, distinct = pd.factorize(column)
    texts, _ = label_texts(pd.Series(distinct))
    numbers, names = pd.factorize(np.array(texts, dtype=object))
    codes = np.append(numbers, -1).astype(np.int32)[numbered]  # -1, none, is the last
    return Categories(codes, tuple(str(name) for name in names))


def _fingerprint(
    heading: Sequence[Any], starts: Integers | None, index: pd.Index, values: Floats, covariates: Sequence[Column]
) -> str:
    """A sha256 of names, starts, times, targets and covariates: the same for the same numbers in any format."""
    digest = hashlib.sha256(json.dumps(heading).encode())
    if starts is not None:
        digest.update(starts.astype("<i8", copy=False).data)
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
