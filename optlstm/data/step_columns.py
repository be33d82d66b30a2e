"""Which columns of a file are the steps or the channels of its sequences, where nobody names them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import numpy as np
import numpy.typing as npt
import pandas as pd

from optlstm.data.table import list_columns
from optlstm.util.arrays import Integers
from optlstm.util.format import quoted, short

LIKE_TIMES = ("t", "ds", "time", "timestamp", "datetime", "date", "step")
_NUMBER = re.compile(r"-?\d+(?:[.,]\d+)?")
_NAMES_ROWS = re.compile(
    r"(?i:(?:.*[\W_])?(?:id|idx|uuid|nr)|(?:(?:row|sample|sequence|series)[\W_]?)?index)|.*[a-z](?:Id|ID)|Unnamed: \d+"
)
_WHOSE = re.compile(r"(?i:.*(?:patient|subject|person|participant|user|speaker|machine).*|.*[\W_]id)|.*[a-z](?:Id|ID)")
_LEAST_COUNTED = 10  # rows that a column counts, before it is taken for a count
_LISTED = 6  # columns in a line


@dataclass
class StepColumns:
    """names: those to read; left: others, and why they are no steps or channels (empty: their names say so)."""

    names: list[str]
    left: dict[str, str] = field(default_factory=dict)
    noun: str = "steps"
    numbered: bool = False  # by their names

    @classmethod
    def of_rows(cls, names: Sequence[str]) -> StepColumns:
        """Of a file of one row a sequence: those with numbers in their names (`t0`, `t1`), where most are like that."""
        shapes = [_NUMBER.sub("#", name) for name in names]
        counts = Counter(shape for shape in shapes if "#" in shape)
        largest = max(counts.values(), default=0)
        steps = [name for name, shape in zip(names, shapes, strict=True) if 2 * counts[shape] >= largest > 1]
        if 2 * len(steps) <= len(names):
            return cls.without_ids(names, "steps")
        return cls(steps, {name: "" for name in names if name not in set(steps)}, numbered=True)

    @classmethod
    def without_ids(cls, names: Sequence[str], noun: str) -> StepColumns:
        """All but those whose names say that they name rows, as `id` and `patient_id` do."""
        left = {name: "" for name in names if names_rows(name)}
        return cls([name for name in names if name not in left], left, noun)

    def leave(self, why: Mapping[str, str]) -> None:
        """Do not read these columns, unless no other remains."""
        if len(why) < len(self.names):
            self.names[:] = [name for name in self.names if name not in why]
            self.left |= why

    def leave_text(self, frame: pd.DataFrame) -> None:
        """Leave out columns of times, and of words."""
        kinds = {name: "times" for name in self.names if pd.api.types.is_datetime64_any_dtype(frame[name])}
        self.leave(kinds | {name: "text" for name in self.names if _holds_words(frame[name])})

    def leave_counts(self, frame: pd.DataFrame, codes: Integers | None = None) -> None:
        """Leave out columns that count the file's rows, or those of each sequence. codes: of each row's sequence."""
        rows = None if codes is None else rows_of_sequences(codes)
        counts = [name for name in self.names if any(map(_counts, changes_of(frame[name], rows)))]
        self.leave(dict.fromkeys(counts, "counts the rows"))

    def note(self, file: str) -> tuple[str, ...]:
        """A line on what was taken and left out, where something was."""
        if not self.left:
            return ()
        left = [short(name) + (f" ({why})" if why else "") for name, why in self.left.items()]
        more = [f"... ({len(left)} in all)"] if len(left) > _LISTED else []
        line = f"data: the {self.noun} of {file} are {span(self.names)}; not read: {', '.join(left[:_LISTED] + more)}"
        whose = next((name for name in self.left if _WHOSE.fullmatch(name)), None)
        group = f"; where {quoted(whose)} says whose a row is, --set data.group={short(whose)}" if whose else ""
        return (f"{line}; data.channels names others{group}",)


def names_rows(column: str) -> bool:
    """Whether a column is called as those are that name rows, or whose they are: `id`, `patient_id`."""
    return bool(_NAMES_ROWS.fullmatch(column))


def span(names: Sequence[str]) -> str:
    """`t0 to t29`, or a list of the first few."""
    shapes = {_NUMBER.sub("#", name) for name in names}
    if len(names) > 3 and len(shapes) == 1 and "#" in next(iter(shapes)):
        return f"{short(names[0])} to {short(names[-1])}"
    return list_columns(names, _LISTED)


def matching(wanted: Sequence[str], names: Sequence[str]) -> list[str]:
    """The columns that are named, and those that patterns such as `t*` stand for."""
    columns: dict[str, None] = {}
    for name in wanted:
        like = [] if name in names else [other for other in names if fnmatchcase(other, name)]
        columns.update(dict.fromkeys(like or [name]))
    return list(columns)


def rows_of_sequences(codes: Integers) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """(the rows of one sequence after the other [n], which of them follow one of the same [n - 1])."""
    order = np.argsort(codes, kind="stable")
    return order, np.diff(codes[order]) == 0


def changes_of(column: pd.Series, rows: tuple[Integers, npt.NDArray[np.bool_]] | None) -> list[npt.NDArray[np.float64]]:
    """The differences from row to row of a column of numbers: of the file, and within its sequences; none of text.

    rows: as `rows_of_sequences` gives them.
    """
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return []
    values = column.to_numpy(dtype=np.float64)
    return [np.diff(values)] + ([] if rows is None else [np.diff(values[rows[0]])[rows[1]]])


def _holds_words(column: pd.Series) -> bool:
    """Whether it is text, of which every cell begins with a letter."""
    if not isinstance(column.dtype, pd.StringDtype):
        return False
    cells = column.dropna().unique()
    return len(cells) > 0 and all(str(cell).lstrip()[:1].isalpha() for cell in cells)


def _counts(changes: npt.NDArray[np.float64]) -> bool:
    return len(changes) >= _LEAST_COUNTED - 1 and bool((changes == 1).all())
