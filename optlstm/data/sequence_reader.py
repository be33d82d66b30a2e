"""Reads labelled sequences: one row a sequence (label and steps), or one row a step (series, time, channels, label)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from optlstm.data.columns import BY_INTERPOLATION, SERIES_NAMES, Flaws, fill_numbers
from optlstm.data.frequency import ticks_of
from optlstm.data.label_cells import (
    label_cells,
    label_texts,
    read_label_numbers,
    text_cells,
    unlabelled_note,
)
from optlstm.data.labels import FEW_NUMBERS, are_meant_as_numbers, joined_labels, label_columns
from optlstm.data.sequence_columns import (
    SequenceColumns,
    check_rows_are_sequences,
    sequence_problems,
    told_time,
    unknown_names,
)
from optlstm.data.sequences import Sequences, fill_gaps
from optlstm.data.stand_ins import likely_stand_in
from optlstm.data.step_columns import StepColumns, matching
from optlstm.data.table import SHOWN, DataFile, dataset_name, list_columns, read_table
from optlstm.data.time_column import TimeReading, read_times
from optlstm.errors import InputError
from optlstm.util.arrays import Floats, Integers
from optlstm.util.format import first_few, listed, quoted
from optlstm.util.time_formats import INTEGER

TIME_NAMES = ("t", "ds")  # columns looked for where none is named
_FILL = "have them filled from their sequence: --gaps interpolate"  # another remedy
_IN_ORDER = TimeReading(usual=INTEGER)  # whole numbers are in the same order whatever they stand for


def read_sequences(path: Path, columns: SequenceColumns) -> Sequences:
    """Read and check the sequences of a file.

    Raises:
        InputError: every problem of its columns, or of the values in them, at once.
    """
    file = DataFile(path, columns.options)
    names = file.names
    usual = () if columns.wide else SERIES_NAMES
    series = columns.series or next((name for name in usual if name in names), None)
    time = columns.time or next((name for name in TIME_NAMES if series and name in names), None)
    labels_of = label_columns(columns.label or "label", names)
    others = [name for name in names if name not in (*labels_of, series, time, columns.group)]
    unnamed = [name for name in file.unnamed if name in others]  # as `to_csv` numbers the rows: no values
    first = unnamed[0] if unnamed else ""  # which models of older versions have as a column with the name ""
    taken = StepColumns(matching([name or first for name in columns.channels or ()], others))
    if not columns.channels:
        named = [name for name in others if name not in unnamed]
        taken = StepColumns.without_ids(named, "channels") if series else StepColumns.of_rows(named)
    channels = taken.names
    problems = sequence_problems(file, names, columns, series, channels)
    extra = unknown_names([name for name in others if name not in unnamed], channels) if columns.like else ""
    if columns.like and (lacking := unknown_names(channels, others)):
        kind, besides = "channels" if series else "columns", f" and has {extra} besides" if extra else ""
        problems.append(f"data: {file.name} does not have the {kind} of {columns.like}: it lacks {lacking}{besides}")
    if columns.per_step and not series:
        problems.append(
            f"data.per_step: a row of {file.name} must be a step; name the column that says which sequence it "
            "belongs to with --series COLUMN"
        )
    if problems:
        raise InputError(problems)
    if not channels:
        raise InputError(f"data: {file.name} has no column of numbers (columns: {list_columns(names)})")
    labels = labels_of if columns.labelled else ()
    if labels and not series and not columns.wide:
        check_rows_are_sequences(file, labels_of[0], others)
    texts = [name for name in (*labels, series, columns.group) if name]
    frame = read_table(file, [*texts, *([time] if time else []), *channels], texts=texts, times=[time] if time else ())
    flaws, notes = Flaws(file), list[str]()
    read_label_numbers(frame, labels, flaws)
    if not columns.channels:
        codes = frame[series].astype("str").factorize()[0] if series else None
        time = time or (told_time(frame, taken, codes, notes, file) if codes is not None else None)
        taken.leave_text(frame)
        if not taken.numbered:
            taken.leave_counts(frame, codes)
    table = _SequenceTable(frame, flaws, labels, columns.group, taken.names, columns.per_step, columns.gaps)
    sequences = table.long(series, time, columns) if series else table.wide()
    notes += unlabelled_note(sequences.labels, labels, file.name, "sequences")
    if not all(sequences.labels):
        sequences = sequences.taken(np.array([label != "" for label in sequences.labels]))
    notes += _without_gaps(sequences, file.name, causal=columns.causal) if columns.gaps else []
    notes = [*file.notes, *table.flaws.notes, *sequences.notes, *notes, *taken.note(file.name)]
    if left := [name for name in unnamed if name not in taken.names]:
        notes.append(f"data: columns of {file.name} without a name are not read: {list_columns(left)}")
    if extra:
        notes.append(f"data: {file.name} has columns that are none of {columns.like}'s; they are not read: {extra}")
    return replace(sequences, notes=tuple(notes)) if notes else sequences


def _without_gaps(sequences: Sequences, file: str, *, causal: bool) -> list[str]:
    """A line on the values that were filled in."""
    filled, left = fill_gaps(sequences.values, sequences.starts, from_past=causal or sequences.of_steps)
    how = "replaced by the last ones before them" if causal or sequences.of_steps else "interpolated"
    lines = [f"data: {file}: {filled:,} missing value(s) were {how} within their sequences"] if filled else []
    without = f"{left:,} missing value(s), whose sequences have none to fill them from, are read as the channel's mean"
    return lines + ([f"data: {file}: {without}"] if left else [])


def _thinned(labels: Sequence[str], starts: Integers, every: int) -> Integers:
    """The labelled rows, of each sequence one in `every`, counted back from its last. starts [sequences + 1]."""
    rows = np.flatnonzero([label != "" for label in labels])
    behind = np.searchsorted(rows, starts[1:])[np.searchsorted(starts, rows, side="right") - 1]  # of its sequence's
    kept: Integers = rows[(behind - 1 - np.arange(len(rows))) % every == 0]
    return kept


def _changes(labels: Sequence[str] | npt.NDArray[Any], codes: Integers) -> npt.NDArray[np.bool_]:
    """Where a row has another label than the one before it of the same sequence [rows - 1]. codes: sequences [rows]."""
    texts = np.asarray(labels, dtype=object)
    changes: npt.NDArray[np.bool_] = (np.diff(codes) == 0) & (texts[1:] != texts[:-1])
    return changes


@dataclass(frozen=True)
class _SequenceTable:
    """One file's table, in either form."""

    frame: pd.DataFrame
    flaws: Flaws
    labels: Sequence[str]  # columns
    group: str | None
    channels: list[str]
    per_step: bool = False
    gaps: bool = False  # may be filled

    def wide(self) -> Sequences:
        """A row is a sequence of one channel; empty cells at its end make it shorter."""
        table = self._numbers(empty=True)  # [n, steps]
        given = ~np.isnan(table)
        lengths = np.where(given.any(axis=1), given.shape[1] - given[:, ::-1].argmax(axis=1), 0).astype(np.int64)
        inside = np.arange(table.shape[1]) < lengths[:, None]
        gaps, empty = np.flatnonzero((inside & ~given).any(axis=1)), np.flatnonzero(lengths == 0)
        problem = f"{len(gaps)} sequence(s) of {self.flaws.file} with an empty or NaN value before their end"
        if not self.gaps:
            self.flaws.add(problem, gaps, f"leave the rows out, or {_FILL}", fix=BY_INTERPOLATION)
        problem = f"{len(empty)} sequence(s) of {self.flaws.file} have no value"
        self.flaws.add(problem, empty, "leave the rows out")
        labels = label_cells(self.frame, self.labels, self.flaws, gaps=True)
        groups = text_cells(self.frame, self.group, self.flaws)
        self.flaws.raise_any()
        return Sequences(
            name=dataset_name(self.flaws.file),
            labels=labels,
            groups=groups,
            values=table[inside][:, None],
            starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            ids=tuple(str(i + 1) for i in range(len(table))),
            channels=("value",),
            columns=tuple(self.channels),
        )

    def long(self, series: str, time: str | None, columns: SequenceColumns) -> Sequences:
        """A row is a step; the rows of a sequence need not stand together, and are in order of time."""
        codes, ids = pd.factorize(self.frame[series].astype("str"), use_na_sentinel=True)
        codes = codes.astype(np.int64)
        missing = np.flatnonzero(codes < 0)
        problem = f"column '{series}' of {self.flaws.file}: {len(missing)} row(s) name no sequence"
        self.flaws.add(problem, missing, "fill them in or leave the rows out")
        values = self._numbers(empty=self.gaps)
        if time is not None:
            self._check_times(codes, series, time)
        order = np.argsort(codes, kind="stable")
        starts = np.searchsorted(codes[order], np.arange(len(ids) + 1)).astype(np.int64)
        notes: list[str] = []
        steps = None if self.per_step else self._by_step(codes, order, columns, notes)
        groups = self._constant(self.group, codes, ids, notes)
        labels: tuple[str, ...] = ()
        if self.per_step and self.labels:
            labels = self._labels_of_steps(codes, order, columns, notes)
        elif steps is None:
            labels = tuple(joined_labels([self._constant(label, codes, ids, notes) or () for label in self.labels]))
        self.flaws.raise_any()
        samples: dict[str, Any] = {}
        by_step = self.per_step or steps is not None
        if steps is not None:
            ends = _thinned(steps, starts, columns.every) + 1
            of = codes[order][ends - 1]
            names = groups or tuple(str(name) for name in ids)
            labels, groups = tuple(steps[end - 1] for end in ends), tuple(names[i] for i in of)
            samples = {"ends": ends, "step_labels": tuple(steps)}
        return Sequences(
            name=dataset_name(self.flaws.file),
            labels=labels,
            groups=groups,
            values=np.ascontiguousarray(values[order]),
            **samples,
            starts=starts,
            ids=tuple(str(name) for name in ids),
            channels=tuple(self.channels),
            columns=tuple(self.channels),
            series=series,
            time=time,
            per_step=self.per_step,
            order=order if self.per_step else None,
            times=tuple(self.frame[time].astype(str).to_numpy()[order].tolist()) if by_step and time else (),
            notes=tuple(notes),
        )

    def _by_step(
        self, codes: Integers, order: Integers, columns: SequenceColumns, notes: list[str]
    ) -> list[str] | None:
        """The label of every row in `order`, empty where it has none; None where labels are of sequences.

        Without a column of labels every step has one, which is not known.
        """
        if columns.by_step is False:
            return None
        if not self.labels:
            return ["?"] * len(order)
        cells = [label_texts(self.frame[label])[0] for label in self.labels]
        texts = np.array(joined_labels(cells), dtype=object)[order]
        given = np.flatnonzero(texts != "")
        if columns.by_step is None:
            names = {*texts[given].tolist()}
            are_numbers = columns.numbers or (len(names) > FEW_NUMBERS and are_meant_as_numbers([*names]))
            if not (are_numbers and _changes(texts[given], codes[order][given]).any()):
                return None
            notes.append(
                f"data: column '{self.labels[0]}' of {self.flaws.file} changes within a sequence, so a sample is a "
                "window that ends at a labelled step; data.every=N takes one step in N"
            )
        if not len(given):
            self.flaws.add(f"column {listed(map(quoted, self.labels))} of {self.flaws.file}: no row has a value")
        return [str(text) for text in texts]

    def _labels_of_steps(
        self, codes: Integers, order: Integers, columns: SequenceColumns, notes: list[str]
    ) -> tuple[str, ...]:
        """The label of each step, of one sequence after the other. notes: Gets what is said of them."""
        cells = label_cells(self.frame, self.labels, self.flaws)
        labels = tuple(cells[row] for row in order.tolist())
        if columns.like is None and not _changes(labels, codes[order]).any():
            notes.append(
                f"data: no label of {self.flaws.file} changes within a sequence; without data.per_step a sequence "
                "is a sample, with one label"
            )
        return labels

    def _numbers(self, *, empty: bool) -> Floats:
        """[rows, channels]. empty: whether cells may be empty; they are NaN."""
        table = np.empty((len(self.frame), len(self.channels)), dtype=np.float64)
        for i, name in enumerate(self.channels):
            missing = fill_numbers(table[:, i], self.frame[name], self.flaws, empty=empty, instead=_FILL)
            table[~missing & np.isnan(table[:, i]), i] = 0.0  # no number: a flaw already, and not an empty cell
        self.flaws.notes += likely_stand_in(self.flaws.file, self.channels, table)
        return table

    def _check_times(self, codes: Integers, series: str, time: str) -> None:
        times = read_times(self.frame[time], self.flaws, _IN_ORDER)
        if times is None:
            return
        index = times.index
        ticks = ticks_of(index)
        order = np.lexsort((np.arange(len(ticks)), codes))
        backwards = (np.diff(codes[order]) == 0) & (np.diff(ticks[order]) < 0)
        by_time = np.lexsort((np.arange(len(ticks)), ticks, codes))
        repeats = (np.diff(codes[by_time]) == 0) & (np.diff(ticks[by_time]) == 0)
        repeated, early = np.sort(by_time[1:][repeats]), np.sort(order[1:][backwards])
        for rows, problem, remedy in (
            (repeated, f"repeat a ({series}, {time})", "keep one row per time of a sequence"),
            (early, "are earlier than the row of their sequence before them", f"sort the rows by {series} and {time}"),
        ):
            notes = [f"{quoted(self.frame[series].iloc[i])} at {index[i]}" for i in rows[:SHOWN]]
            self.flaws.add(f"{self.flaws.file}: {len(rows)} row(s) {problem}", rows, remedy, notes)

    def _constant(self, column: str | None, codes: Integers, ids: pd.Index, notes: list[str]) -> tuple[str, ...] | None:
        """The one text of each sequence in a column, where at least one row has it; None without such a column."""
        if column is None:
            return None
        texts, empty = label_texts(self.frame[column])
        numbers = pd.factorize(np.array(texts, dtype=object))[0]
        numbers[empty] = -1
        given = np.flatnonzero((numbers >= 0) & (codes >= 0))[::-1]
        first = np.full(len(ids), -1, dtype=np.int64)  # row of each sequence that has it
        first[codes[given]] = given
        lacking = np.flatnonzero(first < 0)
        name, rows = f"column '{column}' of {self.flaws.file}", np.flatnonzero(np.isin(codes, lacking))
        problem = f"{name}: no row of {len(lacking)} sequence(s) has a value ({self._names(ids, lacking)})"
        if column not in self.labels or len(lacking) == len(ids):
            self.flaws.add(problem, rows, "fill it in for one row of each, or leave their rows out")
        mixed = np.sort(given[numbers[given] != numbers[first[codes[given]]]])
        problem = f"{name} changes within a sequence ({self._names(ids, codes[mixed])})"
        of_steps = "; a label of every step: --set data.per_step=true" if column in self.labels else ""
        self.flaws.add(problem, mixed, f"a sequence has one value of it{of_steps}")
        taking = len(empty) - len(rows)
        if taking > 0:
            notes.append(f"data: {name}: {taking} empty row(s) take the value of their sequence's other rows")
        return tuple("" if row < 0 else texts[row] for row in first.tolist())

    @staticmethod
    def _names(ids: pd.Index, codes: Integers) -> str:
        return first_few([quoted(ids[code]) for code in dict.fromkeys(codes.tolist())])
