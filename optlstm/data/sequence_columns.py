"""Which columns hold the sequences of a file, as they were asked for; what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from optlstm.data.file_format import TOLD, FileOptions
from optlstm.data.label_cells import label_problems
from optlstm.data.step_columns import LIKE_TIMES, StepColumns, changes_of, rows_of_sequences
from optlstm.data.table import SHOWN, DataFile, read_table, unknown_column
from optlstm.errors import InputError, Problem
from optlstm.util.arrays import Integers
from optlstm.util.format import quoted, short


@dataclass(frozen=True)
class SequenceColumns:
    """Which columns to read; None: by their usual names. `labelled`: whether there must be labels.

    `by_step`: whether labels are of steps; None: where they change within a sequence and are numbers, of which more
    differ than may be classes. `numbers`: whether labels are to be numbers; then they need only change.
    `every`: of the labelled steps of a sequence one in so many, counted back from the last.
    `gaps`: whether empty cells are filled; where samples are windows, or labels `causal`, from the steps before alone.

    `wide`: one row a sequence, whatever the columns are called. `like`: what `channels` are the columns of; they are
    read in their order, those that lack are told in one line, and others are left out with a note. `per_step`: a label
    is of a row, not of a sequence.
    """

    label: str | None = None
    series: str | None = None
    time: str | None = None
    group: str | None = None
    channels: Sequence[str] | None = None
    labelled: bool = True
    wide: bool = False
    like: str | None = None
    options: FileOptions = TOLD
    per_step: bool = False
    by_step: bool | None = False
    numbers: bool = False
    every: int = 1
    gaps: bool = False
    causal: bool = False


def sequence_problems(
    file: DataFile, names: Sequence[str], columns: SequenceColumns, series: str | None, channels: Sequence[str]
) -> list[str]:
    """What is wrong with the columns that were asked for by name."""
    others = (series, columns.time, columns.group)
    problems = label_problems(file, names, columns.label, others) if columns.labelled else []
    asked = [columns.series, columns.time if series else None, columns.group]
    asked += [] if columns.like else channels
    missing = [name for name in dict.fromkeys(asked) if name and name not in names]
    problems += [unknown_column(file, names, name) for name in missing if name != columns.label]
    if columns.time and not series:
        problems.append(
            f"data: --time {columns.time} is for files of one row a step; name the column that says which sequence "
            "a row belongs to with --series COLUMN"
        )
    return problems


def check_rows_are_sequences(file: DataFile, label: str, others: Sequence[str]) -> None:
    """Raises InputError where a row seems to be a step of a sequence that another column names."""
    time = next((name for name in others if name.lower() in LIKE_TIMES), None)
    names = sorted((name for name in others if name != time), key=lambda name: not name.lower().endswith("id"))
    if time is None or not names:
        return
    frame = read_table(file, [label, time, *names], texts=[label], times=[time])
    for name in names:
        several = 1 < frame[name].nunique() <= len(frame) / 2 and not pd.api.types.is_float_dtype(frame[name])
        if several and not frame.duplicated([name, time]).any() and frame.groupby(name)[label].nunique().max() == 1:
            line = (
                f"data: {file.name} seems to hold one row a step, at {quoted(time)} of the sequence {quoted(name)}: "
                f"--series {short(name)} --time {short(time)}; if a row is a sequence, rename {quoted(time)}"
            )
            raise InputError(Problem(line, {"data.series": name, "data.time": time}))


def told_time(frame: pd.DataFrame, taken: StepColumns, codes: Integers, notes: list[str], file: DataFile) -> str | None:
    """The channel that is called as times are, and holds some: text, or numbers that rise in each sequence."""
    for name in [name for name in taken.names if name.lower() in LIKE_TIMES]:
        changes = changes_of(frame[name], rows_of_sequences(codes))
        if len(taken.names) > 1 and all(len(change) and (change > 0).all() for change in changes[1:]):
            taken.names.remove(name)
            notes.append(f"data: {quoted(name)} of {file.name} is taken for the time; --time {short(name)} says so")
            return name
    return None


def unknown_names(names: Sequence[str], known: Sequence[str]) -> str:
    """The first few of the names that are not known; the empty text where all are."""
    known_names = set(known)
    unknown = [name for name in names if name not in known_names]
    more = f" (and {len(unknown) - SHOWN:,} more)" if len(unknown) > SHOWN else ""
    return ", ".join(map(short, unknown[:SHOWN])) + more
