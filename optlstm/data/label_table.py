"""What files of labelled sequences and of labelled texts have in common: columns of labels and groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import pandas as pd

from optlstm.data.columns import Flaws, label_texts
from optlstm.data.table import list_columns, unknown_column


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledSamples:
    """Sequences or texts with their labels; labels are empty and groups None where they were not asked for."""

    name: str  # the file's, without its suffix
    labels: tuple[str, ...]  # [n]
    groups: tuple[str, ...] | None  # [n]
    notes: tuple[str, ...] = ()  # what is allowed, and worth knowing

    @property
    def fingerprint(self) -> str:
        """sha256 over the samples, their labels and groups: the same for the same samples in any format."""
        raise NotImplementedError

    def joined(self, other: Self, **samples: Any) -> Self:
        """These samples, then the other's."""
        groups = None if self.groups is None or other.groups is None else self.groups + other.groups
        return replace(
            self, labels=self.labels + other.labels, groups=groups, notes=self.notes + other.notes, **samples
        )


def named_column_problems(path: Path, names: Sequence[str], column: str | None, default: str) -> list[str]:
    """A problem where `column`, or the `default` one, is not in the file. The flag that names it is `--{default}`."""
    if (column or default) in names:
        return []
    if column:
        return [unknown_column(path, names, column)]
    listed = f"(columns: {list_columns(names)})"
    return [f"data: no {default} column '{default}' in {path.name}; name it with --{default} COLUMN {listed}"]


def text_cells(frame: pd.DataFrame, column: str | None, flaws: Flaws) -> tuple[str, ...] | None:
    """The cells of a column of labels or groups; None where there is no such column."""
    if column is None:
        return None
    texts, missing = label_texts(frame[column])
    problem = f"column '{column}' of {flaws.file}: {len(missing)} row(s) without a value"
    flaws.add(problem, missing, "fill them in or leave the rows out")
    return tuple(texts)
