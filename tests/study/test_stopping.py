"""Rules to stop: they end the study at the same trial however it was run, and say why."""

from __future__ import annotations

from typing import Any

import pytest

from optlstm.study.database.connection import Database
from optlstm.study.ledger import Ledger
from optlstm.study.stopping import Stopping
from tests.study.helpers import drive, record, space


def ledger(database: Database, name: str, rules: Stopping, **changes: Any) -> Ledger:
    return Ledger(database, name, record("random", **changes), stopping=rules)


@pytest.mark.parametrize(("direction", "sign"), [("minimize", 1), ("maximize", -1)])
def test_a_stop_value_ends_the_study_with_the_trial_that_reaches_it(
    sqlite: Database, name: str, direction: str, sign: int
) -> None:
    whole = drive(ledger(sqlite, f"{name} whole", Stopping(), direction=direction), 12)
    values = [float(t.value or 0) for t in whole.trials]
    wanted = sorted(values[:9], key=lambda v: sign * v)[0]

    stopped = drive(ledger(sqlite, name, Stopping(value=wanted), direction=direction), 12)

    last = values.index(wanted)
    assert [t.value for t in stopped.trials] == values[: last + 1]
    assert stopped.stopped == f"stop value {wanted:g} reached by trial {last} ({wanted:.6g})"


def test_without_improvement_the_study_ends_and_continues_when_the_rule_is_dropped(sqlite: Database, name: str) -> None:
    stopped = drive(ledger(sqlite, name, Stopping(no_improvement=4)), 40)
    best = stopped.best
    assert best is not None
    assert len(stopped.trials) == best.number + 5
    assert stopped.stopped == f"no improvement over 4 trials, the best is trial {best.number}"

    total = len(stopped.trials) + 2
    more = drive(ledger(sqlite, name, Stopping()), total)

    assert len(more.trials) == total
    assert more.stopped is None


def test_optunas_terminator_ends_a_study_at_the_same_trial_after_every_interruption(
    sqlite: Database, name: str
) -> None:
    rules = Stopping(terminator=True)
    small = space({"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}, "hidden_size": 64})
    whole = drive(ledger(sqlite, f"{name} whole", rules, space=small), 40)

    drive(ledger(sqlite, name, Stopping(), space=small), 29)  # nothing is decided before 30
    for total in (31, 32, 40):
        part = drive(ledger(sqlite, name, rules, space=small), total)

    assert (len(part.trials), part.stopped) == (len(whole.trials), whole.stopped)
    assert (whole.stopped or "").startswith("Optuna's terminator")


def test_why_a_run_ended_is_kept_until_the_study_is_resumed(sqlite: Database, name: str) -> None:
    opened = drive(ledger(sqlite, name, Stopping()), 2)
    opened.set_stop_reason("timeout of 5 s")
    assert ledger(sqlite, name, Stopping()).stopped == "timeout of 5 s"
    drive(ledger(sqlite, name, Stopping()), 3)
    assert ledger(sqlite, name, Stopping()).stopped is None
