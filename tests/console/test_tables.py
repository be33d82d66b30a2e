"""The table of many trials, as it is printed."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from optlstm.console.study_table import best_first, differing, study_csv, study_table
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


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"task": "forecast", "space": {"patch": {"choices": [8, 24]}}}, [12, 4]),  # the default window of 96 rows
        ({"task": "forecast", "space": {"window": 30, "patch": {"choices": [8, 24]}}}, [4, 2]),
        ({"task": "forecast", "space": {"window": {"choices": [30]}, "patch": {"choices": [8, 24]}}}, [None, None]),
        ({"task": "sequence", "space": {"patch": {"choices": [8, 24]}}}, [None, None]),
        ({"task": "forecast", "space": {"window": 30}, "model": {"factory": "mine:make"}}, [None, None]),
    ],
)
def test_a_trial_s_row_says_how_many_steps_the_lstm_makes(record: dict[str, Any], expected: list[int | None]) -> None:
    trials = [
        {"number": i, "state": "COMPLETE", "value": 0.5, "epochs": 1, "seconds": 1.0, "reason": None, "params": params}
        for i, params in enumerate([{"patch": 8, "dropout": 0.1}, {"patch": 24, "dropout": 0.1}])
    ]
    summary = {"name": "s", "direction": "minimize", "counts": {"COMPLETE": 2}, "at_work": 0, "best": None}
    more = {"sampler": {"name": "tpe"}, "pruner": {"name": "none"}, "seed": 0}

    *lines, _, table = study_table({**summary, "trials": trials}, {**more, **record}, 200, 10)

    steps = [list(column.cells) for column in table.columns if str(column.header).replace("\n", "") == "LSTM_steps"]
    assert [[*map(str, cells)] for cells in steps] == ([[*map(str, expected)]] if expected[0] else [])
    assert [line for line in map(str, lines) if "each reads a patch" in line] == (
        ["LSTM_steps: window / patch: each reads a patch of rows at once"] if expected[0] else []
    )


def trial(number: int, state: str = "COMPLETE", value: Any = 0.5, reason: str | None = None, **params: Any) -> Any:
    return {"number": number, "state": state, "value": value, "epochs": 4, "seconds": 1.0, "reason": reason} | {
        "params": params
    }


@pytest.mark.parametrize(
    ("more", "values", "expected"),
    [
        ({"direction": "minimize"}, (3.0, 1.0, float("nan"), 2.0), [1, 3, 0, 2, 5, 4]),
        ({"direction": "maximize"}, (3.0, 1.0, float("nan"), 2.0), [0, 3, 1, 2, 5, 4]),
        ({"direction": "minimize, minimize", "front": [1, 3]}, ([1, 2],) * 4, [1, 3, 0, 2, 5, 4]),
    ],
)
def test_the_best_trial_is_shown_first_and_a_failed_one_last(
    more: dict[str, Any], values: tuple[Any, ...], expected: list[int]
) -> None:
    trials = [*(trial(i, value=value) for i, value in enumerate(values)), trial(4, "FAIL"), trial(5, "PRUNED")]

    assert [t["number"] for t in best_first({**more, "trials": trials})] == expected


def test_only_the_params_that_vary_have_a_column() -> None:
    trials = [trial(0, a=1, b=2, c=3), trial(1, a=1, b=4)]

    assert differing(trials) == (["b", "c"], {"a": 1})
    assert differing(trials[:1]) == (["a", "b", "c"], {})


def test_a_table_fits_the_terminal_or_stands_on_its_side() -> None:
    out = io.StringIO()
    names = [f"{word}_of_the_network" for word in ("size", "depth", "rate", "slope", "width")]
    trials = [trial(i, value=float(i), **dict.fromkeys(names, i * 1.2345), same="x") for i in range(11)]
    trials[9] |= {"state": "PRUNED", "reason": "median at epoch 1"}
    summary = {"name": "s", "direction": "minimize", "counts": {"COMPLETE": 12}, "at_work": 0, "best": None}
    console = Console(file=out, width=80)

    for part in study_table({**summary, "trials": trials}, {}, 80, 11):
        console.print(part)
    lines = out.getvalue().splitlines()

    assert max(map(len, lines)) <= 80
    assert [line.split()[1:] for line in lines if line.startswith("trial  ")] == [
        ["0", "1", "2", "3", "4", "5"],
        ["6", "7", "8", "10", "9"],
    ]
    assert [line.split()[-1] for line in lines if line.startswith("rate_of_the_network")] == ["6.172", "11.11"]
    assert "alike in all of these: same=x" in lines
    assert lines[-1] == "trial 9: median at epoch 1"
