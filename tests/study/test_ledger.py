from __future__ import annotations

import math

import optuna
import pytest

from optlstm.errors import StudyConflict
from optlstm.study.database.connection import Database
from optlstm.study.events import EpochReported, Event, TrialFinished, TrialStarted
from optlstm.study.leases import LEASE_KEY, Lease, LeaseLost
from optlstm.study.ledger import Ledger
from tests.study.helpers import (
    FINITE,
    assigned,
    best_of,
    drive,
    plain_storage,
    record,
    space,
    stored_table,
    table,
    train,
)


def test_trial_0_has_the_defaults_and_numbers_follow(database: Database, name: str) -> None:
    ledger = Ledger(database, name, record())

    assignments = [ledger.assign(5) for _ in range(6)]

    assert assignments[5] is None
    assert [a.number for a in assignments if a] == [0, 1, 2, 3, 4]
    assert assignments[0] is not None
    assert assignments[0].params == {**record().space.defaults(), "num_layers": 2}
    assert all(a.last_epoch == 0 for a in assignments if a)


def test_the_total_is_the_studys_and_not_one_commands(database: Database, name: str) -> None:
    drive(Ledger(database, name, record()), 3)
    again = Ledger(database, name, record())
    nothing = again.assign(3)
    drive(again, 5)

    assert nothing is None
    assert [row[0] for row in stored_table(database, name)] == [0, 1, 2, 3, 4]
    assert Ledger(database, name, record()).assign(4) is None


@pytest.mark.parametrize("pruner", ["asha", "median"])
def test_the_database_holds_exactly_what_the_ledger_knows(database: Database, name: str, pruner: str) -> None:
    ledger = drive(Ledger(database, name, record("tpe", pruner)), 12)

    assert stored_table(database, name) == table(ledger.trials)
    assert table(Ledger(database, name, record("tpe", pruner)).trials) == table(ledger.trials)
    assert sum(ledger.counts.values()) == 12
    assert set(ledger.counts) == {"COMPLETE", "PRUNED"}


def test_a_report_is_stored_with_its_pruning_and_the_reason(database: Database, name: str) -> None:
    ledger = Ledger(database, name, record(pruner="threshold", pruner_options={"upper": 2.0}))
    number = assigned(ledger).number

    decisions = [ledger.report(number, 1, 1.5), ledger.report(number, 2, 2.5)]

    (row,) = stored_table(database, name)
    assert decisions == [False, True]
    assert (row[1], row[2], row[5]) == ("PRUNED", [2.5], {1: 1.5, 2: 2.5})
    assert row[6] == {"reason": "threshold at epoch 2"}
    assert ledger.assign(1) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_report_that_is_not_finite_fails_the_trial(database: Database, name: str, value: float) -> None:
    ledger = Ledger(database, name, record())
    drive(ledger, 1)
    number = assigned(ledger).number
    ledger.report(number, 1, 0.5)

    over = ledger.report(number, 2, value)

    row = stored_table(database, name)[number]
    assert over
    assert (row[1], row[2], row[5]) == ("FAIL", None, {1: 0.5})
    assert row[6] == {"reason": f"the validation value is {value} at epoch 2", "failure": "diverged"}
    assert ledger.best is not None
    assert ledger.best.number == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_objective_that_is_not_finite_fails_the_trial(sqlite: Database, name: str, value: float) -> None:
    ledger = Ledger(sqlite, name, record())
    number = assigned(ledger).number

    ledger.complete(number, value, {"epochs": 1})

    (row,) = stored_table(sqlite, name)
    assert (row[1], row[2]) == ("FAIL", None)
    assert row[6]["reason"] == f"the objective returned {value}"
    assert ledger.best is None


def test_a_report_of_a_known_epoch_changes_nothing(database: Database, name: str) -> None:
    ledger = Ledger(database, name, record(pruner="threshold", pruner_options={"upper": 2.0}))
    events: list[Event] = []
    number = assigned(ledger).number
    ledger.report(number, 1, 1.0)
    ledger.listen(events.append)

    over = ledger.report(number, 1, 9.0)

    assert not over
    assert events == []
    assert stored_table(database, name)[0][5] == {1: 1.0}


def test_epochs_are_in_their_order_however_the_database_returns_them(postgresql: Database, name: str) -> None:
    study = record(pruner="patient", pruner_options={"patience": 1})
    assigned(Ledger(postgresql, name, study))
    (trial,) = postgresql.rdb.get_all_trials(postgresql.rdb.get_study_id_from_name(name))
    for epoch, value in ((3, 0.7), (1, 0.9), (2, 0.8)):
        postgresql.rdb.set_trial_intermediate_value(trial._trial_id, epoch, value)
    owner = Lease.of(trial.system_attrs)
    assert owner is not None
    postgresql.rdb.set_trial_system_attr(trial._trial_id, LEASE_KEY, Lease(owner.owner, 0.0).stored())

    ledger = Ledger(postgresql, name, study)
    adopted = assigned(ledger)

    assert adopted.last_epoch == 3
    assert [*ledger.trials[0].intermediate_values] == [1, 2, 3]
    assert not ledger.report(0, 4, 0.6)  # it improves with every epoch


def test_a_trial_that_ended_cannot_be_changed(sqlite: Database, name: str) -> None:
    ledger = drive(Ledger(sqlite, name, record()), 1)
    before = stored_table(sqlite, name)

    with pytest.raises(LeaseLost):
        ledger.report(0, 9, 0.1)
    ledger.complete(0, 0.1, {"epochs": 9})
    with pytest.raises(LeaseLost):
        ledger.fail(0, "too late")
    ledger.release(0)

    assert stored_table(sqlite, name) == before == table(ledger.trials)


def test_attributes_are_in_memory_as_they_read_back(sqlite: Database, name: str) -> None:
    ledger = Ledger(sqlite, name, record())
    number = assigned(ledger).number

    ledger.complete(number, 0.5, {"shape": (1, 2), "note": "ä", "nested": {"a": [1, None, True]}})

    assert ledger.trials[0].user_attrs == {"shape": [1, 2], "note": "ä", "nested": {"a": [1, None, True]}}
    assert stored_table(sqlite, name) == table(ledger.trials)


def test_listeners_hear_of_everything_once(sqlite: Database, name: str) -> None:
    ledger = Ledger(sqlite, name, record(pruner="threshold", pruner_options={"upper": 2.0}))
    events: list[Event] = []
    ledger.listen(events.append)

    first = assigned(ledger)
    ledger.report(0, 1, 1.0)
    ledger.complete(0, 1.0, {})
    second = assigned(ledger)
    ledger.report(1, 1, 3.0)
    third = assigned(ledger)
    ledger.fail(2, "out of memory")

    assert events == [
        TrialStarted(0, first.params, 0),
        EpochReported(0, 1, 1.0),
        TrialFinished(0, "COMPLETE", 1.0, None),
        TrialStarted(1, second.params, 0),
        EpochReported(1, 1, 3.0),
        TrialFinished(1, "PRUNED", 3.0, "threshold at epoch 1"),
        TrialStarted(2, third.params, 0),
        TrialFinished(2, "FAIL", None, "out of memory"),
    ]


@pytest.mark.parametrize(("direction", "best"), [("minimize", [1, 3, 0]), ("maximize", [0, 1, 3])])
def test_the_ranking_follows_the_direction_and_the_earlier_wins(
    sqlite: Database, name: str, direction: str, best: list[int]
) -> None:
    ledger = Ledger(sqlite, name, record(direction=direction))
    for value in (2.0, 1.0, None, 1.0):
        number = assigned(ledger).number
        ledger.complete(number, value, {}) if value else ledger.fail(number, "no")

    assert [trial.number for trial in ledger.ranking] == best
    assert ledger.best is not None
    assert ledger.best.value == (2.0 if direction == "maximize" else 1.0)


def test_a_study_made_by_plain_optuna_is_refused_and_left_alone(database: Database, name: str) -> None:
    with plain_storage(database) as storage:
        study = optuna.create_study(study_name=name, storage=storage)
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    before = stored_table(database, name)

    with pytest.raises(StudyConflict, match=r"was not made by optlstm; choose another --name"):
        Ledger(database, name, record())

    assert stored_table(database, name) == before


def test_a_study_keeps_its_config_and_an_id_of_its_own(database: Database, name: str) -> None:
    first = Ledger(database, name, record(), {"training": {"epochs": 4}})
    again = Ledger(database, name, record(), {"training": {"epochs": 9}})
    other = Ledger(database, f"{name} 2", record())

    kept = database.rdb.get_study_user_attrs(database.rdb.get_study_id_from_name(name))
    assert kept["optlstm:config"] == {"training": {"epochs": 4}}
    assert first.uid == again.uid
    assert first.uid != other.uid


@pytest.mark.parametrize("sampler", ["grid", "brute-force"])
def test_an_exhaustive_search_ends_by_itself_with_every_configuration_once(
    sqlite: Database, name: str, sampler: str
) -> None:
    study = record(sampler, space=space(FINITE))

    ledger = drive(Ledger(sqlite, name, study), 1000, epochs=1)

    tried = [tuple(trial.params.items()) for trial in ledger.trials]
    assert len(tried) == len(set(tried)) == study.space.combinations() == 18
    assert ledger.counts == {"COMPLETE": 18}
    assert Ledger(sqlite, name, study).assign(1000) is None
    assert ledger.best is not None
    assert ledger.best.value == min(best_of(trial.params, epochs=1) for trial in ledger.trials)


@pytest.mark.parametrize("sampler", ["grid", "brute-force"])
def test_drivers_that_take_turns_try_every_configuration_once(sqlite: Database, name: str, sampler: str) -> None:
    study = record(sampler, space=space(FINITE))
    ledgers = [Ledger(sqlite, name, study) for _ in range(3)]

    running = True
    while running:
        assignments = [(ledger, ledger.assign(1000)) for ledger in ledgers]
        running = any(assignment for _, assignment in assignments)
        for ledger, assignment in assignments:
            if assignment is not None:
                train(ledger, assignment, epochs=1)

    tried = [tuple(row[3]) for row in stored_table(sqlite, name)]
    assert len(tried) == len(set(tried)) == 18


def test_brute_force_follows_conditions(sqlite: Database, name: str) -> None:
    section = {
        "optimizer": {"choices": ["adam", "sgd"]},
        "momentum": {"choices": [0.1, 0.9], "when": {"optimizer": "sgd"}},
        "dropout": {"choices": [0.0, 0.5]},
    }

    ledger = drive(Ledger(sqlite, name, record("brute-force", space=space(section))), 1000, epochs=1)

    assert len({tuple(sorted(trial.params.items())) for trial in ledger.trials}) == len(ledger.trials) == 6
    assert ledger.stopped == "every configuration of the space was tried"


@pytest.mark.parametrize(
    ("patience", "values", "last"),
    [(2, (0.5, 0.25, 0.25), False), (2, (0.5, 0.25, 0.25, 0.5), True), (0, (0.25, 0.5, 0.5), False)],
)
def test_a_trial_is_at_its_end_where_its_patience_has_run_out(
    sqlite: Database, patience: int, values: tuple[float, ...], last: bool
) -> None:
    ledger = Ledger(
        sqlite, f"patient {values}", record(epochs=9, pruner="none", task={"training": {"patience": patience}})
    )
    number = assigned(ledger).number
    for epoch, value in enumerate(values, start=1):
        ledger.report(number, epoch, value)

    assert ledger.is_last(number, len(values)) is last
