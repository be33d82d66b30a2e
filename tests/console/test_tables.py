"""The table of many trials, as it is printed."""

from __future__ import annotations

import io

from rich.console import Console

from optlstm.console.tables import LongTable


def test_columns_stand_below_each_other_and_a_cell_is_one_line() -> None:
    out = io.StringIO()
    found = LongTable(["trial", "value", "why"], [["0", "0.5", ""], ["12000", "11.25", "a\nb\x1b[31m  [bold]c"]])

    Console(file=out, width=100).print(found)

    assert out.getvalue().splitlines() == [
        "trial  value  why",
        "    0    0.5",
        "12000  11.25  a b [31m  [bold]c",
    ]
    assert found.width == max(map(len, out.getvalue().splitlines()))
