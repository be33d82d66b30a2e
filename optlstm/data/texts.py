"""Labelled texts in a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any, Self

from optlstm.data.columns import Flaws
from optlstm.data.file_format import TOLD, FileOptions
from optlstm.data.label_cells import (
    label_cells,
    label_problems,
    read_label_numbers,
    role_problems,
    text_cells,
    unlabelled_note,
)
from optlstm.data.labels import LabelledSamples, label_columns
from optlstm.data.table import SHOWN, DataFile, dataset_name, file_rows, read_table, unknown_column
from optlstm.errors import InputError
from optlstm.util.format import first_few


@dataclass(frozen=True, eq=False, kw_only=True)
class Texts(LabelledSamples):
    """Texts in the order of their rows."""

    texts: tuple[str, ...]  # [n]

    def joined(self, other: Self, **samples: Any) -> Self:
        """These texts, then the other's."""
        return super().joined(other, texts=self.texts + other.texts, **samples)

    def labelled(self, notes: tuple[str, ...]) -> Self:
        """Those with a label, and more notes."""
        keep = [bool(label) for label in self.labels]
        labels, texts = tuple(compress(self.labels, keep)), tuple(compress(self.texts, keep))
        groups = None if self.groups is None else tuple(compress(self.groups, keep))
        return replace(self, labels=labels, texts=texts, groups=groups, notes=self.notes + notes)

    @property
    def fingerprint(self) -> str:
        """sha256 over texts, labels and groups."""
        content = json.dumps([self.texts, self.labels, self.groups], ensure_ascii=False)
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


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
    if labelled and len(label_columns(label or "label", names)) == 1:
        problems = role_problems(file, names, {"text": text, "label": label}, [group])
    else:
        problems = role_problems(file, names, {"text": text}, [group])
        problems += label_problems(file, names, label, [group]) if labelled else []
    problems += [unknown_column(file, names, group)] if group is not None and group not in names else []
    if problems:
        raise InputError(problems)
    text, labels_of = text or "text", label_columns(label or "label", names) if labelled else ()
    columns = [column for column in (text, *labels_of, group) if column]
    frame, flaws = read_table(file, columns, texts=columns), Flaws(file)
    read_label_numbers(frame, labels_of, flaws)
    cells = frame[text]
    texts = tuple("" if missing else str(cell) for cell, missing in zip(cells, cells.isna(), strict=True))
    labels, groups = label_cells(frame, labels_of, flaws, gaps=True), text_cells(frame, group, flaws)
    flaws.raise_any()
    notes = (*file.notes, *flaws.notes, *_empty_note(file, texts))
    samples = Texts(name=dataset_name(path.name), texts=texts, labels=labels, groups=groups, notes=notes)
    return samples if all(labels) else samples.labelled(unlabelled_note(labels, labels_of, file.name, "texts"))


def _empty_note(file: DataFile, texts: Sequence[str]) -> tuple[str, ...]:
    """A line where there are empty texts."""
    empty = [i for i, text in enumerate(texts) if not text.strip()]
    if not empty:
        return ()
    rows = first_few([str(row) for row in file_rows(file, empty[: SHOWN + 1]).values()])
    return (f"data: {len(empty)} empty text(s) (row {rows}); each is read as one unknown token",)
