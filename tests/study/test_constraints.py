"""Constraints known before training: what breaks one is written down, never trained, and not counted."""

from __future__ import annotations

from typing import Any

import pytest
from optuna.trial import TrialState

from optlstm.study.constraints import MAX_INFEASIBLE_IN_A_ROW
from optlstm.study.database.connection import Database
from optlstm.study.events import Event, TrialFinished
from optlstm.study.ledger import Ledger
from tests.study.helpers import drive, record, stored_table

LIMIT = 64


def measure(params: Any) -> dict[str, float]:
    return {"units": params["hidden_size"]}


def ledger(database: Database, name: str, sampler: str = "tpe", limit: float = LIMIT) -> Ledger:
    study = record(sampler, constraints={"units": limit})
    return Ledger(database, name, study, measure=measure)


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_what_breaks_a_constraint_is_never_trained_and_not_counted(sqlite: Database, name: str, sampler: str) -> None:
    opened = ledger(sqlite, name, sampler)
    events: list[Event] = []
    opened.listen(events.append)
    drive(opened, 12)

    infeasible = [t for t in opened.trials if t.params["hidden_size"] > LIMIT]
    trained = [t for t in opened.trials if t.params["hidden_size"] <= LIMIT]
    assert infeasible
    assert len(trained) == opened.ended == 12
    for trial in infeasible:
        assert (trial.state, trial.intermediate_values) == (TrialState.PRUNED, {})
        size = trial.params["hidden_size"]
        assert trial.user_attrs["reason"] == f"infeasible: units {size} above {LIMIT}"
        assert trial.constraints == {"units": size - LIMIT}
    assert all(trial.constraints["units"] <= 0 for trial in trained)
    said = [e.number for e in events if isinstance(e, TrialFinished) and (e.reason or "").startswith("infeasible")]
    assert said == [t.number for t in infeasible]


def test_samplers_learn_where_not_to_look(sqlite: Database, name: str) -> None:
    opened = drive(ledger(sqlite, name, limit=40), 30)
    broken = [t.params["hidden_size"] > 40 for t in opened.trials]
    assert sum(broken[-15:]) <= 7  # of a random draw 11 would be


def test_interrupted_after_every_trial_it_is_the_same_study(sqlite: Database, name: str) -> None:
    drive(ledger(sqlite, f"{name} whole"), 10)
    for total in range(1, 11):
        drive(ledger(sqlite, name), total)
    assert stored_table(sqlite, name) == stored_table(sqlite, f"{name} whole")


def test_a_space_that_never_keeps_the_constraint_ends_the_study_and_says_so(sqlite: Database, name: str) -> None:
    opened = drive(ledger(sqlite, name, "random", limit=1), 3)
    assert (opened.ended, len(opened.trials)) == (0, MAX_INFEASIBLE_IN_A_ROW)
    assert (
        opened.stopped
        == f"none of the last {MAX_INFEASIBLE_IN_A_ROW} configurations kept the constraints max_units = 1"
    )


def test_a_study_that_is_read_again_counts_its_trials_as_before(sqlite: Database, name: str) -> None:
    opened = drive(ledger(sqlite, name, limit=40), 5)
    with pytest.raises(ZeroDivisionError):
        opened._storage.transact(lambda: 1 / 0)  # what memory holds is in doubt from here on

    drive(opened, 8)

    assert opened.ended == 8
    assert len(opened.trials) > 8
