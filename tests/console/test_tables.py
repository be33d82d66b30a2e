"""The table of many trials, as it is printed."""

from __future__ import annotations

import io

from rich.console import Console

from optlstm.console.study_table import study_csv
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


def test_a_study_s_csv_holds_no_formula_and_no_escape_sequence() -> None:
    trial = {"number": 0, "state": "FAIL", "value": -0.5, "epochs": 1, "seconds": 1.0, "reason": "=1+1\x1b[2J"}

    text = study_csv({"trials": [{**trial, "params": {"@x": "+A1", "y": "-1"}}]})

    assert text == "number,state,value,epochs,seconds,reason,'@x,y\n0,FAIL,-0.5,1,1.0,'=1+1\\x1b[2J,'+A1,-1\n"
