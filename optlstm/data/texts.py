"""Labelled texts in a file."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from optlstm.data.columns import Flaw
from optlstm.data.labels import label_texts
from optlstm.data.table import column_names, file_rows, list_columns, read_table, unknown_column
from optlstm.errors import InputError

_SHOWN = 3


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts in the order of their rows; labels and groups are empty or None where they were not asked for."""

    name: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    groups: tuple[str, ...] | None

    def joined(self, other: Texts) -> Texts:
        """These texts, then the other's."""
        groups = None if self.groups is None or other.groups is None else self.groups + other.groups
        return Texts(self.name, self.texts + other.texts, self.labels + other.labels, groups)

    @property
    def fingerprint(self) -> str:
        """sha256 over texts, labels and groups."""
        content = json.dumps([self.texts, self.labels, self.groups], ensure_ascii=False)
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def read_texts(path: Path, text: str | None, label: str | None, group: str | None, *, labelled: bool = True) -> Texts:
    """Read texts and labels; an empty text is a text.

    Raises:
        InputError: every problem of the columns, or of the labels, at once.
    """
    names = column_names(path)
    wanted = {"--text": text or "text", **({"--label": label or "label"} if labelled else {})}
    problems = []
    for flag, column in wanted.items():
        if column in names:
            continue
        if column == (text if flag == "--text" else label):
            problems.append(unknown_column(path, names, column))
        else:
            listed = f"(columns: {list_columns(names)})"
            problems.append(f"data: no column '{column}' in {path.name}; name it with {flag} COLUMN {listed}")
    if group is not None and group not in names:
        problems.append(unknown_column(path, names, group))
    if problems:
        raise InputError(problems)
    read = [*wanted.values(), *([group] if group else [])]
    frame = read_table(path, read, texts=read)
    flaws: list[Flaw] = []
    texts = tuple("" if missing else str(cell) for cell, missing in zip(*_cells(frame[text or "text"]), strict=True))
    labels = _labels(frame[label or "label"], path, flaws) if labelled else ()
    groups = _labels(frame[group], path, flaws) if group else None
    if flaws:
        rows = file_rows(path, [position for flaw in flaws for position in flaw.positions[:_SHOWN]])
        raise InputError([flaw.line(rows) for flaw in flaws])
    name = re.sub(r"(\.csv|\.csv\.gz|\.parquet)$", "", path.name, flags=re.IGNORECASE)
    return Texts(name, texts, labels, groups)


def _cells(column: pd.Series) -> tuple[list[object], list[bool]]:
    return column.tolist(), column.isna().tolist()


def _labels(column: pd.Series, path: Path, flaws: list[Flaw]) -> tuple[str, ...]:
    labels, missing = label_texts(column)
    if len(missing):
        what = f"data: column '{column.name}' of {path.name}: {len(missing)} row(s) without a value"
        flaws.append(Flaw(what, missing.tolist(), "; fill them in or leave the rows out"))
    return tuple(labels)
