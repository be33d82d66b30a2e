"""What files of labelled sequences and of labelled texts have in common: columns of labels and groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import pandas as pd

from optlstm.data.columns import Flaw
from optlstm.data.labels import label_texts
from optlstm.data.table import dataset_name, file_rows, list_columns, unknown_column
from optlstm.errors import InputError
from optlstm.util.arrays import Integers

SHOWN = 3  # rows named in one problem


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


class LabelledTable:
    """The rows of a file; what is wrong with them is collected in `flaws`."""

    def __init__(self, path: Path, frame: pd.DataFrame) -> None:
        self.path, self.frame = path, frame
        self.name = dataset_name(path.name)
        self.flaws: list[Flaw] = []

    def texts(self, column: str | None) -> tuple[str, ...] | None:
        """The cells of a column of labels or groups; None where there is no such column."""
        if column is None:
            return None
        texts, missing = label_texts(self.frame[column])
        problem = f"column '{column}' of {self.path.name}: {len(missing)} row(s) without a value"
        self.add_flaw(missing, problem, "fill them in or leave the rows out")
        return tuple(texts)

    def add_flaw(self, positions: Integers, problem: str, remedy: str, notes: Sequence[str] = ()) -> None:
        """Where there are such rows."""
        if len(positions):
            self.flaws.append(Flaw(f"data: {problem}", positions.tolist(), f"; {remedy}", notes))

    def raise_flaws(self) -> None:
        """Raises InputError with every flaw, where there are any."""
        if self.flaws:
            rows = file_rows(self.path, [position for flaw in self.flaws for position in flaw.positions[:SHOWN]])
            raise InputError([flaw.line(rows) for flaw in self.flaws])
