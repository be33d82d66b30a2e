"""The table of a study of thousands of trials, in plain columns: where rich would take half a minute."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.segment import Segment

MANY = 1_000  # rows


class LongTable:
    """What rich prints of rows of text: a heading, columns aligned to the right but for the last, which is as it is."""

    def __init__(self, heading: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        self._lines = [heading, *([_one_line(cell) for cell in row] for row in rows)]
        columns = zip_longest(*(line[:-1] for line in self._lines), fillvalue="")
        self._widths = [max(map(len, column)) for column in columns]

    @property
    def width(self) -> int:
        return sum(width + 2 for width in self._widths) + max(len(line[-1]) for line in self._lines)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[Segment]:
        from rich.segment import Segment

        for line in self._lines:
            cells = [cell.rjust(width) for cell, width in zip(line, self._widths, strict=False)]
            yield Segment("  ".join([*cells, line[-1]]).rstrip())
            yield Segment.line()


def _one_line(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
