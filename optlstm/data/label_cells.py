"""The columns of labels, groups and texts: which they are, and their cells as text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from optlstm.data.columns import Flaws
from optlstm.data.detect import MISSING
from optlstm.data.labels import FEW_NUMBERS, are_meant_as_numbers, are_numbers, joined_labels, label_columns
from optlstm.data.step_columns import StepColumns, names_rows
from optlstm.data.table import DataFile, first_cells, list_columns, listed, unknown_column
from optlstm.errors import InputError, Problem
from optlstm.util.arrays import Integers
from optlstm.util.format import quoted, short

_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?(e[+-]?\d+)?", re.IGNORECASE)
_LABEL_NAMES = (
    *("label", "labels", "class", "classes", "target", "category", "sentiment", "activity", "species", "diagnosis"),
    *("outcome", "rating", "stars", "score", "y"),
)
_WORDS = 2  # blanks in a text, on average, at least
_LONGER = 1.5  # than the next, a column that is the text


def role_problems(
    file: DataFile, names: Sequence[str], columns: Mapping[str, str | None], others: Collection[str | None] = ()
) -> list[str]:
    """Problems of columns that are named, or have their usual names: with one that may be meant.

    Args:
        columns: `text` and `label`, as they were named.
        others: Columns that are named for something else.
    """
    problems = [unknown_column(file, names, name) for name in columns.values() if name and name not in names]
    absent = [default for default, name in columns.items() if not name and default not in names]
    if not absent:
        return problems
    cells = {name: column for name, column in first_cells(file).items() if name not in others}
    has_header = file.is_parquet or file.is_archive or bool(file.form.header_line)
    first_row = has_header and any(name in column for name, column in cells.items())  # a cell that comes again below
    text = columns.get("text") or ("text" if "text" in names else "")
    cells = cells if len(names) > 1 else {}
    guesses = {"text": _texts(cells)} if "text" in absent else {}
    guesses["label"] = _labels(cells, [text, *guesses.get("text", ())])
    for role in absent:
        line, fix = f"data: no {role} column '{role}' in {file.name}", {}
        likely = guesses[role]
        if first_row:
            likely = [f"c{names.index(name) + 1}" for name in likely]
            line, fix = f"{line}; its first row seems to hold data: --set data.header=false", {"data.header": "false"}
        remedy = f"choose from {list_columns(likely)} with --{role}" if likely else f"name it with --{role} COLUMN"
        if len(likely) == 1:
            remedy, fix = f"name it: --{role} {shlex.quote(short(likely[0]))}", {**fix, f"data.{role}": likely[0]}
        problems.append(Problem(f"{line}; {remedy} {listed(file, names)}", fix))
    return problems


def _texts(cells: Mapping[str, Sequence[str]]) -> list[str]:
    """The columns that may hold texts to learn from: the one whose cells are by far the longest, or several."""
    lengths = {
        name: float(np.mean([len(cell) for cell in column]))
        for name, column in cells.items()
        if column and np.mean([cell.strip().count(" ") for cell in column]) >= _WORDS
    }
    ranked = sorted(lengths, key=lambda name: -lengths[name])
    alone = len(ranked) > 1 and lengths[ranked[0]] > _LONGER * lengths[ranked[1]]
    return ranked[:1] if alone else ranked


def _labels(cells: Mapping[str, Sequence[str]], others: Collection[str]) -> list[str]:
    """The columns beside steps that may be labels: of a usual name, else of few different words or whole numbers."""
    columns = {name: column for name, column in cells.items() if name not in others and not names_rows(name)}
    steps = StepColumns.of_rows([*columns])
    columns = {name: columns[name] for name in steps.left} if steps.numbered and steps.left else columns
    usual = [name for name in columns if name.lower() in _LABEL_NAMES and any(columns[name])]
    few = []
    for name, column in columns.items():
        given = {cell.strip() for cell in column} - {""}
        whole = all(cell.lstrip("+-").isdecimal() for cell in given)
        if 1 < len(given) <= max(2, len(column) // 4) and (whole or not any(are_numbers([cell]) for cell in given)):
            few.append(name)
    return usual or few or ([*columns] if len(columns) == 1 else [])


def label_texts(column: pd.Series) -> tuple[list[str], Integers]:
    """(labels as text, rows without one). Where all are whole numbers, 1.0 and 1e0 are 1; 01 is not."""
    missing = column.isna().to_numpy()
    texts = ["" if absent else str(value).strip() for value, absent in zip(column, missing, strict=True)]
    distinct = set(texts) - {""}
    if all(_NUMBER.fullmatch(text) and float(text).is_integer() for text in distinct):
        names = {text: text if text.lstrip("+-").isdecimal() else str(int(float(text))) for text in distinct}
        texts = [names.get(text, "") for text in texts]
    return texts, np.array([i for i, text in enumerate(texts) if not text], dtype=np.int64)


def read_label_numbers(frame: pd.DataFrame, columns: Sequence[str], flaws: Flaws) -> None:
    """Write labels that are numbers with marks, percent or a currency as plain numbers: 3,5 as 3.5. A note says so.

    Cells that stand for a gap become empty: those that are named, and among numbers NA and the like.

    Raises InputError where nothing tells decimal commas from thousands, and they are too many to be classes.
    """
    if flaws.source.is_parquet or flaws.source.is_archive:
        return
    for column in columns:
        names = {cell: str(cell).strip() for cell in frame[column].dropna().unique()}
        if all(map(str.isdecimal, names.values())):
            continue
        try:
            numbers = flaws.source.marked_numbers(column, [*names.values()])
        except InputError:
            if len(names) > FEW_NUMBERS:
                raise
            continue
        plain = {cell: numbers.get(name, name) for cell, name in names.items()}
        marked = [cell for cell, name in names.items() if _number(plain[cell]) not in (None, _number(name))]
        are_numbers_meant = are_meant_as_numbers([*plain.values()])
        gaps = {*flaws.source.options.missing_texts, *(MISSING if are_numbers_meant else ())}
        if absent := [cell for cell, name in names.items() if name in gaps]:
            frame[column] = frame[column].mask(frame[column].isin(absent))
        if marked and are_numbers_meant:
            frame[column] = frame[column].map(plain | {cell: cell for cell in names if cell not in marked})
            longest = max(marked, key=len)
            example = f"{quoted(names[longest])} is read as {plain[longest]}"
            flaws.notes.append(f"data: column '{column}' of {flaws.file}: {example}")


def label_problems(
    file: DataFile, names: Sequence[str], label: str | None, others: Collection[str | None] = ()
) -> list[str]:
    """What is wrong with the label column, or the columns `a,b,c`. others: as of `role_problems`."""
    columns = label_columns(label or "label", names)
    if len(columns) == 1:
        return role_problems(file, names, {"label": label}, others)
    twice = [name for name in dict.fromkeys(columns) if columns.count(name) > 1]
    problems = [f"data.label: '{name}' stands there twice; name each column once" for name in twice]
    return problems + [unknown_column(file, names, name) for name in dict.fromkeys(columns) if name not in names]


def text_cells(frame: pd.DataFrame, column: str | None, flaws: Flaws) -> tuple[str, ...] | None:
    """The cells of a column of labels or groups; None where there is no such column."""
    if column is None:
        return None
    texts, missing = label_texts(frame[column])
    problem = f"column '{column}' of {flaws.file}: {len(missing)} row(s) without a value"
    flaws.add(problem, missing, "fill them in or leave the rows out")
    return tuple(texts)


def label_cells(frame: pd.DataFrame, columns: Sequence[str], flaws: Flaws, *, gaps: bool = False) -> tuple[str, ...]:
    """The labels of a column, or of several as `joined_labels`; empty where there is no column.

    gaps: whether some rows may have none: theirs is empty.
    """
    cells = [label_texts(frame[column])[0] if gaps else text_cells(frame, column, flaws) or () for column in columns]
    labels = tuple(joined_labels(cells))
    if gaps and columns and not any(labels):
        flaws.add(f"column {', '.join(map(quoted, columns))} of {flaws.file}: no row has a value")
    return labels


def unlabelled_note(labels: Sequence[str], columns: Sequence[str], file: str, noun: str) -> tuple[str, ...]:
    """A line where samples without a label are left out."""
    empty = sum(not label for label in labels)
    where = f"column {', '.join(map(quoted, columns))} of {file}"
    return (f"data: {where}: {empty:,} of {len(labels):,} {noun} have no value; they are left out",) if empty else ()


def _number(text: str) -> float | None:
    return float(text) if are_numbers([text]) else None
