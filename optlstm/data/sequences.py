"""Labelled sequences: one row a sequence (label and steps), or one row a step (series, time, channels, label)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from optlstm.data.columns import Flaw, fill_numbers, read_times
from optlstm.data.frequency import ticks_of
from optlstm.data.labels import Integers, class_names, label_texts
from optlstm.data.table import column_names, file_rows, list_columns, read_table, unknown_column
from optlstm.errors import InputError

Floats = npt.NDArray[np.float64]
SERIES_NAMES, TIME_NAMES = ("series_id", "unique_id"), ("t", "ds")  # columns looked for where none is named
_LIKE_TIMES = (*TIME_NAMES, "time", "timestamp", "datetime", "date", "step")
_SHOWN = 3


@dataclass(frozen=True, eq=False)
class Sequences:
    """Sequences one after the other: sequence i is rows starts[i] to starts[i + 1] of `values`."""

    name: str
    values: Floats  # [rows, channels], in the files' units
    starts: Integers  # [n + 1]
    ids: tuple[str, ...]  # what each sequence is called, or the row it stands in
    labels: tuple[str, ...]  # [n]; empty where none were asked for
    groups: tuple[str, ...] | None
    channels: tuple[str, ...]
    columns: tuple[str, ...]  # of the file that hold the numbers: the channels, or the steps
    series: str | None  # column of the sequences' names; None: one row a sequence
    time: str | None
    notes: tuple[str, ...] = ()  # what is allowed, and worth knowing

    def joined(self, other: Sequences) -> Sequences:
        """These sequences, then the other's."""
        starts = np.concatenate([self.starts, other.starts[1:] + self.starts[-1]])
        groups = None if self.groups is None or other.groups is None else self.groups + other.groups
        values = np.concatenate([self.values, other.values])
        ids, labels = self.ids + other.ids, self.labels + other.labels
        notes = self.notes + other.notes
        return replace(self, values=values, starts=starts, ids=ids, labels=labels, groups=groups, notes=notes)

    @property
    def fingerprint(self) -> str:
        """sha256 over channels, labels, groups, lengths and values: the same for the same numbers in any format."""
        digest = hashlib.sha256(json.dumps([self.channels, self.labels, self.groups]).encode())
        digest.update(self.starts.astype("<i8").data)
        digest.update((self.values + 0.0).astype("<f8").data)
        return digest.hexdigest()


@dataclass(frozen=True)
class SequenceColumns:
    """Which columns to read; None: by their usual names. `labelled`: whether there must be labels.

    `wide`: one row a sequence, whatever the columns are called. `like`: what `channels` are the columns of; they are
    read in their order, those that lack are told in one line, and others are left out with a note.
    """

    label: str | None = None
    series: str | None = None
    time: str | None = None
    group: str | None = None
    channels: Sequence[str] | None = None
    labelled: bool = True
    wide: bool = False
    like: str | None = None


def read_sequences(path: Path, columns: SequenceColumns) -> Sequences:
    """Read and check the sequences of a file.

    Raises:
        InputError: every problem of its columns, or of the values in them, at once.
    """
    names = column_names(path)
    label = (columns.label or "label") if columns.labelled else None
    usual = () if columns.wide else SERIES_NAMES
    series = columns.series or next((name for name in usual if name in names), None)
    time = columns.time or next((name for name in TIME_NAMES if series and name in names), None)
    kept = (columns.label or "label", series, time, columns.group)
    others = [name for name in names if name not in kept]
    channels = list(columns.channels or others)
    asked = [label, columns.series, columns.time if series else None, columns.group]
    asked += [] if columns.like else channels
    problems = [unknown_column(path, names, name) for name in dict.fromkeys(asked) if name and name not in names]
    if label and label not in names and columns.label is None:
        listed = f"(columns: {list_columns(names)})"
        problems[0] = f"data: no label column 'label' in {path.name}; name it with --label COLUMN {listed}"
    if columns.time and not series:
        problems.append(
            f"data: --time {columns.time} is for files of one row a step; name the column that says which sequence "
            "a row belongs to with --series COLUMN"
        )
    lacking, more = _listed(channels, others), _listed(others, channels)
    if columns.like and lacking:
        kind, besides = "channels" if series else "columns", f" and has {more} besides" if more else ""
        problems.append(f"data: {path.name} does not have the {kind} of {columns.like}: it lacks {lacking}{besides}")
    if problems:
        raise InputError(problems)
    if not channels:
        raise InputError(f"data: {path.name} has no column of numbers (columns: {list_columns(names)})")
    if label and not series and not columns.wide:
        _check_rows_are_sequences(path, label, others)
    read = [name for name in (label, series, time, columns.group) if name]
    frame = read_table(path, [*read, *channels], texts=[name for name in read if name != time])
    reader = _Reader(path, frame, label, columns.group, channels)
    found = reader.long(series, time) if series else reader.wide()
    if columns.like and more:
        note = f"data: {path.name} has columns that are none of {columns.like}'s; they are not read: {more}"
        return replace(found, notes=(note,))
    return found


def _check_rows_are_sequences(path: Path, label: str, others: Sequence[str]) -> None:
    """Raises InputError where a row seems to be a step of a sequence that another column names."""
    time = next((name for name in others if name.lower() in _LIKE_TIMES), None)
    names = sorted((name for name in others if name != time), key=lambda name: not name.lower().endswith("id"))
    if time is None or not names:
        return
    frame = read_table(path, [label, time, *names], texts=[label])
    for name in names:
        several = 1 < frame[name].nunique() <= len(frame) / 2 and not pd.api.types.is_float_dtype(frame[name])
        if several and not frame.duplicated([name, time]).any() and frame.groupby(name)[label].nunique().max() == 1:
            raise InputError(
                f"data: {path.name} seems to hold one row a step, at '{time}' of the sequence '{name}': "
                f"--series {name} --time {time}; if a row is a sequence, rename '{time}'"
            )


def _listed(names: Sequence[str], known: Sequence[str]) -> str:
    """Those of the names that are not known, the first few; the empty text where there is none."""
    there = set(known)
    unknown = [name for name in names if name not in there]
    more = f" (and {len(unknown) - _SHOWN:,} more)" if len(unknown) > _SHOWN else ""
    return ", ".join(unknown[:_SHOWN]) + more


class _Reader:
    """One file's table; what is wrong with it is collected in `flaws`."""

    def __init__(self, path: Path, frame: pd.DataFrame, label: str | None, group: str | None, channels: list[str]):
        self.path, self.frame, self.label, self.group, self.channels = path, frame, label, group, channels
        self.flaws: list[Flaw] = []
        self.name = re.sub(r"(\.csv|\.csv\.gz|\.parquet)$", "", path.name, flags=re.IGNORECASE)

    def wide(self) -> Sequences:
        """A row is a sequence of one channel; empty cells at its end make it shorter."""
        table = self._numbers(empty_is_flaw=False)  # [n, steps]
        given = ~np.isnan(table)
        lengths = np.where(given.any(axis=1), given.shape[1] - given[:, ::-1].argmax(axis=1), 0).astype(np.int64)
        inside = np.arange(table.shape[1]) < lengths[:, None]
        gaps = np.flatnonzero((inside & ~given).any(axis=1))
        if len(gaps):
            what = f"data: {len(gaps)} sequence(s) of {self.path.name} with an empty or NaN value before their end"
            self.flaws.append(Flaw(what, gaps.tolist(), "; fill them in, or leave the rows out"))
        empty = np.flatnonzero(lengths == 0)
        if len(empty):
            what = f"data: {len(empty)} sequence(s) of {self.path.name} have no value"
            self.flaws.append(Flaw(what, empty.tolist(), "; leave the rows out"))
        labels, groups = self._texts(self.label), self._texts(self.group)
        self._refuse()
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        values = table[inside][:, None]
        ids = tuple(str(i + 1) for i in range(len(table)))
        return Sequences(
            self.name, values, starts, ids, labels or (), groups, ("value",), tuple(self.channels), None, None
        )

    def long(self, series: str, time: str | None) -> Sequences:
        """A row is a step; the rows of a sequence need not stand together, and are in order of time."""
        codes, found = pd.factorize(self.frame[series].astype("str"), use_na_sentinel=True)
        codes = codes.astype(np.int64)
        missing = np.flatnonzero(codes < 0)
        if len(missing):
            what = f"data: column '{series}' of {self.path.name}: {len(missing)} row(s) name no sequence"
            self.flaws.append(Flaw(what, missing.tolist(), "; fill them in or leave the rows out"))
        values = self._numbers(empty_is_flaw=True)
        labels, groups = self._texts(self.label), self._texts(self.group)
        if time is not None:
            self._check_times(codes, series, time)
        order = np.argsort(codes, kind="stable")
        starts = np.searchsorted(codes[order], np.arange(len(found) + 1)).astype(np.int64)
        firsts = order[starts[:-1]] if len(order) else order
        for column, texts in ((self.label, labels), (self.group, groups)):
            self._check_constant(column, texts, codes, firsts, found)
        self._refuse()
        picked = None if groups is None else tuple(groups[i] for i in firsts)
        return Sequences(
            self.name,
            np.ascontiguousarray(values[order]),
            starts,
            tuple(str(name) for name in found),
            tuple(labels[i] for i in firsts) if labels else (),
            picked,
            tuple(self.channels),
            tuple(self.channels),
            series,
            time,
        )

    def _numbers(self, *, empty_is_flaw: bool) -> Floats:
        table = np.empty((len(self.frame), len(self.channels)), dtype=np.float64)
        for i, name in enumerate(self.channels):
            found = fill_numbers(table[:, i], self.frame[name], self.path.name)
            if not empty_is_flaw:
                missing = self.frame[name].isna().to_numpy()
                table[missing, i] = np.nan
                table[~missing & np.isnan(table[:, i]), i] = 0.0  # no number: a flaw already, and not an empty cell
            self.flaws += [flaw for flaw in found if empty_is_flaw or "empty or NaN" not in flaw.what]
        return table

    def _texts(self, column: str | None) -> tuple[str, ...] | None:
        if column is None:
            return None
        texts, missing = label_texts(self.frame[column])
        if len(missing):
            what = f"data: column '{column}' of {self.path.name}: {len(missing)} row(s) without a value"
            self.flaws.append(Flaw(what, missing.tolist(), "; fill them in or leave the rows out"))
        return tuple(texts)

    def _check_times(self, codes: Integers, series: str, time: str) -> None:
        index, found = read_times(self.frame[time], self.path.name)
        self.flaws += found
        if index is None:
            return
        ticks = ticks_of(index)
        order = np.lexsort((np.arange(len(ticks)), codes))
        same = np.diff(codes[order]) == 0
        steps = np.diff(ticks[order])
        back = np.sort(order[1:][same & (steps < 0)])
        by_time = np.lexsort((np.arange(len(ticks)), ticks, codes))
        twice = (np.diff(codes[by_time]) == 0) & (np.diff(ticks[by_time]) == 0)
        repeated = np.sort(by_time[1:][twice])
        where = f"data: {self.path.name}"
        if len(repeated):
            notes = [f"'{self.frame[series].iloc[i]}' at {index[i]}" for i in repeated[:_SHOWN]]
            what = f"{where}: {len(repeated)} row(s) repeat a ({series}, {time})"
            self.flaws.append(Flaw(what, repeated.tolist(), "; keep one row per time of a sequence", notes))
        if len(back):
            notes = [f"'{self.frame[series].iloc[i]}' at {index[i]}" for i in back[:_SHOWN]]
            what = f"{where}: {len(back)} row(s) are earlier than the row of their sequence before them"
            self.flaws.append(Flaw(what, back.tolist(), f"; sort the rows by {series} and {time}", notes))

    def _check_constant(
        self,
        column: str | None,
        texts: tuple[str, ...] | None,
        codes: Integers,
        firsts: Integers,
        found: pd.Index,
    ) -> None:
        if column is None or texts is None or (codes < 0).any():
            return
        numbers = pd.factorize(np.array(texts, dtype=object))[0]
        mixed = np.flatnonzero(numbers != numbers[firsts][codes])
        if len(mixed):
            named = ", ".join(f"'{found[i]}'" for i in dict.fromkeys(codes[mixed].tolist()))
            what = f"data: column '{column}' of {self.path.name} changes within a sequence ({named[:60]})"
            self.flaws.append(Flaw(what, mixed.tolist(), "; a sequence has one value of it"))

    def _refuse(self) -> None:
        if self.flaws:
            rows = file_rows(self.path, [position for flaw in self.flaws for position in flaw.positions[:_SHOWN]])
            raise InputError([flaw.line(rows) for flaw in self.flaws])


def check_classes(labels: Sequence[str], file: str, column: str) -> tuple[str, ...]:
    """The classes of `labels`. Raises InputError where there is only one."""
    names = class_names(labels)
    if len(names) < 2:
        raise InputError(
            f"data: column '{column}' of {file} holds only one class ('{names[0]}'); there is nothing to tell apart"
        )
    return names
