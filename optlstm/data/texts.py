"""Labelled texts in a file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from optlstm.data.columns import (
    Flaws,
    label_cells,
    label_problems,
    named_column_problems,
    read_label_numbers,
    text_cells,
)
from optlstm.data.file_format import TOLD, FileOptions
from optlstm.data.labels import LabelledSamples, label_columns
from optlstm.data.table import DataFile, dataset_name, read_table, unknown_column
from optlstm.errors import InputError
from optlstm.util.format import first_few


@dataclass(frozen=True, eq=False, kw_only=True)
class Texts(LabelledSamples):
    """Texts in the order of their rows."""

    texts: tuple[str, ...]  # [n]

    def joined(self, other: Self, **samples: Any) -> Self:
        """These texts, then the other's."""
        return super().joined(other, texts=self.texts + other.texts, **samples)

    @property
    def fingerprint(self) -> str:
        """sha256 over texts, labels and groups."""
        content = json.dumps([self.texts, self.labels, self.groups], ensure_ascii=False)
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def empty_note(self) -> tuple[str, ...]:
        """A line where there are empty texts."""
        empty = [str(i + 2) for i, text in enumerate(self.texts) if not text.strip()]
        if not empty:
            return ()
        return (f"data: {len(empty)} empty text(s) (row {first_few(empty)}); each is read as one unknown token",)


def read_texts(
    path: Path,
    text: str | None,
    label: str | None,
    group: str | None,
    *,
    labelled: bool = True,
    options: FileOptions = TOLD,
) -> Texts:
    """Read texts and labels; an empty text is a text.

    Raises:
        InputError: every problem of the columns, or of the labels, at once.
    """
    file = DataFile(path, options)
    names = file.names
    problems = named_column_problems(file, names, text, "text")
    problems += label_problems(file, names, label) if labelled else []
    problems += [unknown_column(file, names, group)] if group is not None and group not in names else []
    if problems:
        raise InputError(problems)
    text, labels_of = text or "text", label_columns(label or "label", names) if labelled else ()
    columns = [column for column in (text, *labels_of, group) if column]
    frame, flaws = read_table(file, columns, texts=columns), Flaws(file)
    read_label_numbers(frame, labels_of, flaws)
    cells = frame[text]
    texts = tuple("" if missing else str(cell) for cell, missing in zip(cells, cells.isna(), strict=True))
    labels, groups = label_cells(frame, labels_of, flaws), text_cells(frame, group, flaws)
    flaws.raise_any()
    return Texts(
        name=dataset_name(path.name), texts=texts, labels=labels, groups=groups, notes=(*file.notes, *flaws.notes)
    )
