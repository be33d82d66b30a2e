"""Tables: rich's in one style, and one of thousands of rows, for which rich would take half a minute."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.table import Table

MANY = 1_000  # rows


def plain_table(*headings: str) -> Table:
    """A table without lines; the columns of `headings` are aligned to the right."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


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
        for line in self._lines:
            cells = [cell.rjust(width) for cell, width in zip(line, self._widths, strict=False)]
            yield Segment("  ".join([*cells, line[-1]]).rstrip())
            yield Segment.line()


def _one_line(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
