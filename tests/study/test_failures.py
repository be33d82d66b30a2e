"""Trials that fail: what ends the study, what is not tried again."""

from __future__ import annotations

import pytest

from optlstm.study.database.connection import Database
from optlstm.study.failures import FAILURE_KEY, MEMORY
from optlstm.study.ledger import Ledger
from optlstm.study.stopping import Stopping
from tests.study.helpers import assigned, drive, record, space, stored_table, train

Kinds = list[str | None]  # of each trial in turn: how it fails, or None


def fail_in_turn(ledger: Ledger, kinds: Kinds, total: int = 20) -> int:
    """Run trials until the study takes no more; how many were run."""
    for done, kind in enumerate(kinds):
        assignment = ledger.assign(total)
        if assignment is None:
            return done
        if kind is None:
            train(ledger, assignment)
        elif kind == "nan":
            ledger.report(assignment.number, 1, float("nan"))
        else:
            ledger.fail(assignment.number, f"{kind}: as ever", {FAILURE_KEY: kind})
    return len(kinds) if ledger.assign(total) is not None else -len(kinds)


@pytest.mark.parametrize(
    ("kinds", "run"),
    [
        ([None, "A", "A", "A", "A"], 4),
        ([None, "A", "B", "A", "A", "B"], 6),
        ([None, "A", "A", None, "A", "A"], 6),
        (["nan", "nan", "nan", "nan"], 3),
        ([None, "nan", "nan", "nan", "nan"], 5),  # a search that has met its border
        ([MEMORY, MEMORY, MEMORY], -3),
    ],
)
def test_three_alike_in_a_row_end_the_study(sqlite: Database, name: str, kinds: Kinds, run: int) -> None:
    ledger = Ledger(sqlite, name, record())

    assert fail_in_turn(ledger, kinds) == run
    ended_early = run < len(kinds)
    assert (ledger.stopped is not None) == ended_early
    if ended_early:
        assert "the last 3 trials failed alike" in str(ledger.stopped)
        assert Ledger(sqlite, name, record()).assign(20) is None


def test_how_many_is_asked_for(sqlite: Database, name: str) -> None:
    never = Ledger(sqlite, f"{name} never", record(), stopping=Stopping(failures=0))
    five = Ledger(sqlite, f"{name} five", record(), stopping=Stopping(failures=5))

    assert fail_in_turn(never, ["A"] * 8) == 8
    assert fail_in_turn(five, ["A"] * 8) == 5


def test_after_a_resume_the_next_three_failures_count(sqlite: Database, name: str) -> None:
    fail_in_turn(Ledger(sqlite, name, record()), ["A"] * 3)

    again = Ledger(sqlite, name, record())
    again.clear_stop_reason(())

    assert fail_in_turn(again, ["A"] * 5) == 3


def test_a_configuration_that_ran_out_of_memory_is_not_tried_again(sqlite: Database, name: str) -> None:
    few = space({"hidden_size": {"choices": [32, 64, 96]}})
    ledger = Ledger(sqlite, name, record("random", space=few))
    first = assigned(ledger)
    ledger.fail(first.number, "MemoryError", {FAILURE_KEY: MEMORY})

    drive(ledger, 12)

    again = [
        row for row in stored_table(sqlite, name)[1:] if dict(row[3]) == {"hidden_size": first.params["hidden_size"]}
    ]
    assert again
    assert {(row[1], row[6]["reason"]) for row in again} == {("PRUNED", "trial 0 ran out of memory with these params")}
    assert all(row[5] == {} for row in again)
    assert ledger.ended == 12
