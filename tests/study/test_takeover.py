"""Leases of running trials: what a driver leaves behind, and who may resume it."""

from __future__ import annotations

import dataclasses
import time

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from optlstm.errors import StorageError
from optlstm.study import leases
from optlstm.study.database import statements
from optlstm.study.database.cached_storage import CachedStorage
from optlstm.study.database.connection import Database
from optlstm.study.events import Event, TrialStarted
from optlstm.study.leases import LEASE_KEY, LEASE_S, Lease, LeaseLost, Owner
from optlstm.study.ledger import Ledger
from tests.study.helpers import EPOCHS, assigned, drive, record, stored_table, table, train, validation_loss
from tests.study.processes import CONTEXT, exit_code, start, train_and_hang
from tests.waiting import wait_until

STRANGER = Owner("another-host", 1, 0.0, "another token")


def lease_of(database: Database, name: str, number: int) -> Lease | None:
    study_id = database.rdb.get_study_id_from_name(name)
    return Lease.of(database.rdb.get_all_trials(study_id)[number].system_attrs)


def forge(database: Database, name: str, number: int, lease: Lease) -> None:
    study_id = database.rdb.get_study_id_from_name(name)
    trial_id = database.rdb.get_trial_id_from_study_id_trial_number(study_id, number)
    database.rdb.set_trial_system_attr(trial_id, LEASE_KEY, lease.stored())


def test_an_assigned_trial_carries_a_lease_by_the_databases_clock(database: Database, name: str) -> None:
    ledger = Ledger(database, name, record())
    before = database.now()
    assigned(ledger)
    after = database.now()

    lease = lease_of(database, name, 0)

    assert lease is not None
    assert dataclasses.replace(lease.owner, token="") == dataclasses.replace(Owner.current(), token="")
    assert before <= lease.expires - LEASE_S <= after


def test_a_released_trial_is_continued_by_another_driver(database: Database, name: str) -> None:
    first, second = (Ledger(database, name, record()) for _ in range(2))
    events: list[Event] = []
    second.listen(events.append)
    assignment = assigned(first)
    first.report(0, 1, 1.5)
    first.report(0, 2, 1.25)
    meanwhile = second.assign(1)

    first.release(0)
    adopted = assigned(second)

    assert meanwhile is None
    assert (adopted.number, adopted.params, adopted.last_epoch) == (0, assignment.params, 2)
    assert events == [TrialStarted(0, adopted.params, 2)]
    train(second, adopted)
    assert sorted(stored_table(database, name)[0][5]) == [1, 2, 3, 4]


def test_a_driver_may_take_a_trial_again_that_it_released(sqlite: Database, name: str) -> None:
    ledger = Ledger(sqlite, name, record())
    assigned(ledger)
    ledger.report(0, 1, 1.5)
    ledger.release(0)

    adopted = assigned(ledger)

    assert (adopted.number, adopted.last_epoch) == (0, 1)
    assert not ledger.report(0, 2, 1.25)


def test_abandoned_trials_are_continued_in_their_order_and_before_new_ones(sqlite: Database, name: str) -> None:
    first = Ledger(sqlite, name, record())
    for _ in range(3):
        assigned(first)
    for number in (2, 0):
        first.release(number)

    second = Ledger(sqlite, name, record())

    assert [assigned(second).number for _ in range(3)] == [0, 2, 3]


def test_a_killed_process_loses_its_trial_at_once_and_nothing_of_it(database: Database, url: str, name: str) -> None:
    ours, theirs = CONTEXT.Pipe()
    process = start(train_and_hang, url, name, record(), 2, theirs)
    number, params = ours.recv()
    ledger = Ledger(database, name, record())
    while_it_lives = ledger.assign(1)

    process.kill()
    exit_code(process)
    adopted = assigned(ledger)

    assert while_it_lives is None
    assert (adopted.number, adopted.params, adopted.last_epoch) == (number, params, 2) == (0, params, 2)
    assert [*adopted.params] == [*params]
    drive(ledger, 4)
    train(ledger, adopted)
    undisturbed = drive(Ledger(database, f"{name} undisturbed", record()), 4)
    assert stored_table(database, name) == table(undisturbed.trials)


def test_a_value_that_the_last_owner_committed_late_is_the_trial_s(database: Database, name: str) -> None:
    """It was stopped in its transaction, after its look at the lease; on PostgreSQL nothing holds the others up."""
    first, second = (Ledger(database, name, record()) for _ in range(2))
    assignment = assigned(first)
    first.report(0, 1, 1.5)
    forge(database, name, 0, Lease(STRANGER, 0.0))
    assert assigned(second).last_epoch == 1
    with database.transaction():
        trial_id = second.trials[0]._trial_id
        statements.insert_value(database.connection, trial_id, 2, 1.25)

    events: list[Event] = []
    second.listen(events.append)
    assert second.report(0, 2, 1.25) is False
    second.complete(0, 1.25, {})

    (trial,) = Ledger(database, name, record()).trials
    assert (trial.state.name, trial.intermediate_values) == ("COMPLETE", {1: 1.5, 2: 1.25})
    assert trial.params.items() <= assignment.params.items()
    assert [type(event).__name__ for event in events] == ["EpochReported", "TrialFinished"]


def test_an_assignment_reads_the_trials_that_others_run_and_not_its_own(
    database: Database, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = (Ledger(database, name, record()) for _ in range(2))
    assert [assigned(ledger).number for ledger in (ours, theirs, ours, theirs, ours)] == [0, 1, 2, 3, 4]
    forge(database, name, 2, Lease(STRANGER, database.now() + 30))
    ours.report(0, 1, 1.5)
    theirs.report(1, 1, 1.25)
    theirs.complete(3, 1.0, {})
    read, reads = database.rdb._get_trials, list[set[int]]()
    monkeypatch.setattr(database.rdb, "_get_trials", lambda s, t, ids, i: reads.append(ids) or read(s, t, ids, i))

    assigned(ours)

    assert reads == [{ours.trials[number]._trial_id for number in (1, 2, 3)}]
    assert [trial.intermediate_values for trial in ours.trials[:3]] == [{1: 1.5}, {1: 1.25}, {}]
    assert ours.trials[3].state == TrialState.COMPLETE


@pytest.mark.parametrize(("owner", "adopted"), [(STRANGER, False), (None, False)], ids=["another host", "alive"])
def test_a_lease_that_holds_keeps_others_away(sqlite: Database, name: str, owner: Owner | None, adopted: bool) -> None:
    assigned(Ledger(sqlite, name, record()))
    if owner:
        forge(sqlite, name, 0, Lease(owner, sqlite.now() + 30))
    second = Ledger(sqlite, name, record())

    assert second.assign(1) is None
    assert assigned(second).number == 1


def test_an_expired_lease_of_another_host_is_void(database: Database, name: str) -> None:
    assigned(Ledger(database, name, record()))
    forge(database, name, 0, Lease(STRANGER, database.now() - 1))

    assert assigned(Ledger(database, name, record())).number == 0


def test_a_driver_that_lost_its_trial_is_told_and_changes_nothing(database: Database, name: str) -> None:
    ledger = Ledger(database, name, record())
    assigned(ledger)
    ledger.report(0, 1, 1.5)
    taken = Lease(STRANGER, database.now() + 30)
    forge(database, name, 0, taken)
    before = stored_table(database, name)

    with pytest.raises(LeaseLost, match="trial 0 was taken over by process 1 on another-host"):
        ledger.report(0, 2, 1.0)
    with pytest.raises(LeaseLost):
        ledger.complete(0, 1.0, {"a": 1})
    with pytest.raises(LeaseLost):
        ledger.fail(0, "no")

    assert stored_table(database, name) == before
    assert lease_of(database, name, 0) == taken


def test_releasing_a_trial_that_was_taken_over_leaves_it_to_its_new_owner(database: Database, name: str) -> None:
    ledger = Ledger(database, name, record())
    assigned(ledger)
    taken = Lease(STRANGER, database.now() + 30)
    forge(database, name, 0, taken)

    ledger.release(0)

    assert lease_of(database, name, 0) == taken
    assert Ledger(database, name, record()).assign(1) is None


@pytest.mark.parametrize("known", [False, True], ids=["not known", "known"])
def test_a_trial_another_driver_has_ended_is_lost_too(database: Database, name: str, known: bool) -> None:
    first = Ledger(database, name, record())
    events: list[Event] = []
    assigned(first)
    first.listen(events.append)
    forge(database, name, 0, Lease(STRANGER, 0.0))
    drive(Ledger(database, name, record()), 1)
    before = stored_table(database, name)
    if known:  # it has read so, for another of its trials
        assert first.assign(1) is None

    with pytest.raises(LeaseLost):
        first.report(0, 1, 9.9)
    with pytest.raises(LeaseLost):
        first.complete(0, 9.9, {})
    first.release(0)

    assert stored_table(database, name) == before
    assert events == []
    assert first.assign(1) is None


def test_a_trial_that_was_ended_from_outside_is_not_trained_on(sqlite: Database, name: str) -> None:
    ledger = Ledger(sqlite, name, record())
    number = assigned(ledger).number
    sqlite.rdb.set_trial_state_values(ledger.trials[number]._trial_id, TrialState.FAIL)
    assert ledger.assign(1) is None  # it reads so

    with pytest.raises(LeaseLost):
        ledger.report(number, 1, 0.5)
    with pytest.raises(LeaseLost):
        ledger.complete(number, 0.5, {})


def test_leases_are_renewed_while_held_and_released_at_the_end(
    sqlite: Database, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LEASE_S", 0.4)
    ledger = Ledger(sqlite, name, record())

    def read() -> Lease | None:
        with ledger._storage.lock:  # the thread that renews uses the same connections
            return lease_of(sqlite, name, 0)

    with ledger.held():
        assigned(ledger)
        first = read()
        wait_until(lambda: read() != first)
        renewed = read()
    after = lease_of(sqlite, name, 0)

    assert first
    assert renewed
    assert after
    assert renewed.expires > first.expires
    assert after.expires == 0.0
    assert assigned(Ledger(sqlite, name, record())).number == 0


def test_a_trial_that_was_taken_over_is_not_renewed(
    sqlite: Database, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LEASE_S", 0.2)
    ledger = Ledger(sqlite, name, record())
    taken = Lease(STRANGER, sqlite.now() + 30)
    with ledger.held():
        assigned(ledger)
        with ledger._storage.lock:
            forge(sqlite, name, 0, taken)
        time.sleep(0.2)

    assert lease_of(sqlite, name, 0) == taken


def test_a_running_trial_of_another_program_is_let_be(sqlite: Database, name: str) -> None:
    Ledger(sqlite, name, record())
    study = optuna.load_study(study_name=name, storage=sqlite.rdb)
    study.ask()
    ledger = Ledger(sqlite, name, record())

    assert ledger.assign(1) is None
    assert assigned(ledger).number == 1
    with pytest.raises(LeaseLost, match="another program"):
        ledger.report(0, 1, 0.5)


def test_one_ledger_serves_several_workers(sqlite: Database, name: str) -> None:
    ledger = Ledger(sqlite, name, record())
    running = [assigned(ledger) for _ in range(3)]

    for epoch in range(1, EPOCHS + 1):
        for assignment in running:
            ledger.report(assignment.number, epoch, validation_loss(assignment.params, epoch))
    for assignment in reversed(running):
        ledger.complete(assignment.number, 1.0, {})

    assert [row[1] for row in stored_table(sqlite, name)] == ["COMPLETE"] * 3
    assert ledger.assign(3) is None


def test_a_study_that_is_deleted_while_it_runs_is_an_error_in_one_line(database: Database, name: str) -> None:
    ledger = Ledger(database, name, record())
    assigned(ledger)
    database.rdb.delete_study(database.rdb.get_study_id_from_name(name))

    for action in (lambda: ledger.report(0, 1, 0.5), lambda: ledger.complete(0, 0.5, {}), lambda: ledger.assign(9)):
        with pytest.raises(StorageError, match="the study was deleted while it ran"):
            action()


def test_a_study_that_is_read_again_is_whole_at_every_moment(
    database: Database, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The display's thread reads while the thread that renews leases reads all of it after a failed transaction."""
    ledger = Ledger(database, name, record())
    assigned(ledger), assigned(ledger)
    seen, build = [], CachedStorage._insert

    def look(storage: CachedStorage, trials: list[FrozenTrial]) -> None:
        seen.append(len(ledger.trials))
        build(storage, trials)

    with pytest.raises(ZeroDivisionError):
        ledger._storage.transact(lambda: 1 / 0)
    monkeypatch.setattr(CachedStorage, "_insert", look)
    ledger._storage.refresh()

    assert seen == [2]
    assert len(ledger.trials) == 2
