"""An event happens or does not: whatever fails in its middle, the study ends as if nothing had."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import OperationalError

from optlstm.errors import StorageError
from optlstm.study.database.connection import Database
from optlstm.study.events import Event
from optlstm.study.ledger import Ledger
from tests.study.helpers import assigned, drive, record, stored_table, table, validation_loss
from tests.study.processes import exit_code, start, work_until_statement

STUDY = record("tpe", "threshold", pruner_options={"upper": 3.0}, sampler_options={"n_startup_trials": 1})
Table = list[tuple[Any, ...]]


class Trouble:
    """A database that fails once, at the chosen statement after it was armed; its commit counts as one."""

    def __init__(self, engine: Engine, fail: Callable[[Any], None]) -> None:
        self.fail = fail
        self.left = 0
        self.met = 0
        event.listen(engine, "do_execute", lambda cursor, *_: self._count(cursor.connection))
        event.listen(engine, "commit", self._at_commit)

    def arm(self, statement: int) -> None:
        self.left = statement

    def _at_commit(self, connection: Connection) -> None:
        try:
            self._count(connection.connection.driver_connection)
        except sqlite3.Error as error:
            raise OperationalError("COMMIT", {}, error) from error

    def _count(self, connection: Any) -> None:
        self.left -= 1
        if self.left == 0:
            self.met += 1
            self.fail(connection)


def connection_lost(*_: Any) -> None:
    raise OperationalError("a statement", {}, sqlite3.OperationalError("the connection was lost"))


def statement_fails(_: Any) -> None:
    raise sqlite3.OperationalError("disk I/O error")


def every_kind_of_event(database: Database, name: str, before_each: Callable[[], None]) -> Ledger:
    """A study made, asked, reported, pruned, released, continued and completed."""

    def step(action: Callable[..., Any], *args: Any) -> Any:
        before_each()
        return action(*args)

    ledger: Ledger = step(Ledger, database, name, STUDY)
    assert step(ledger.assign, 9).number == 0
    assert step(ledger.report, 0, 1, 9.0)  # pruned
    assignment = step(ledger.assign, 9)
    assert assignment.number == 1
    assert not step(ledger.report, 1, 1, validation_loss(assignment.params, 1))
    step(ledger.release, 1)
    adopted = step(ledger.assign, 9)
    assert (adopted.number, adopted.params, adopted.last_epoch) == (1, assignment.params, 1)
    step(ledger.complete, 1, 0.5, {"epochs": 2, "note": "done"})
    return ledger


@pytest.fixture
def undisturbed(own_sqlite: Database) -> Table:
    return table(every_kind_of_event(own_sqlite, "undisturbed", lambda: None).trials)


@pytest.mark.usefixtures("no_waiting")
def test_a_database_that_fails_at_any_statement_of_every_event_changes_nothing(
    own_sqlite: Database, undisturbed: Table, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    trouble = Trouble(own_sqlite.rdb.engine, statement_fails)
    statement, met = 1, -1

    while met != trouble.met:  # until no event has so many statements
        met = trouble.met
        name = f"failing at {statement}"
        ledger = every_kind_of_event(own_sqlite, name, lambda at=statement: trouble.arm(at))  # type: ignore[misc]
        trouble.arm(0)
        assert table(ledger.trials) == undisturbed, name
        assert table(own_sqlite.rdb.get_all_trials(own_sqlite.rdb.get_study_id_from_name(name))) == undisturbed, name
        statement += 1

    assert statement > 20
    assert trouble.met > 100


@pytest.mark.usefixtures("no_waiting")
def test_a_commit_whose_answer_was_lost_is_not_repeated(own_sqlite: Database, undisturbed: Table) -> None:
    armed: list[bool] = []

    def commit_without_an_answer(connection: Connection) -> None:
        if armed:
            armed.clear()
            connection.connection.commit()
            connection_lost()

    event.listen(own_sqlite.rdb.engine, "commit", commit_without_an_answer)

    ledger = every_kind_of_event(own_sqlite, "unanswered", lambda: armed.append(True))

    assert table(ledger.trials) == undisturbed
    assert stored_table(own_sqlite, "unanswered") == undisturbed


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("statement", [5, 9])
def test_a_server_that_ends_the_connection_changes_nothing(
    own_postgresql: Database, undisturbed: Table, name: str, statement: int
) -> None:
    admin = sqlalchemy.create_engine(own_postgresql.rdb.engine.url, isolation_level="AUTOCOMMIT")

    def terminate(connection: Any) -> None:
        with admin.connect() as other:
            query = sqlalchemy.text("SELECT pg_terminate_backend(:pid, 5000)")
            other.execute(query, {"pid": connection.info.backend_pid})

    trouble = Trouble(own_postgresql.rdb.engine, terminate)

    ledger = every_kind_of_event(own_postgresql, name, lambda: trouble.arm(statement))
    admin.dispose()

    assert trouble.met > 5
    assert table(ledger.trials) == undisturbed
    assert stored_table(own_postgresql, name) == undisturbed


@pytest.fixture(scope="module")
def four_trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    from optlstm.study.database.connection import open_database

    database = open_database(f"sqlite:///{tmp_path_factory.mktemp('whole')}/study.db")
    yield table(drive(Ledger(database, "whole", STUDY), 4).trials)
    database.close()


@pytest.mark.parametrize("statement", [12, 80, 121, 163])
def test_a_process_killed_at_any_statement_leaves_a_study_that_is_finished_the_same(
    own_sqlite: Database, own_url: str, four_trials: Table, statement: int
) -> None:
    killed = start(work_until_statement, own_url, "study", STUDY, 4, statement)
    assert exit_code(killed) == -9

    ledger = drive(Ledger(own_sqlite, "study", STUDY), 4)

    assert table(ledger.trials) == four_trials
    assert stored_table(own_sqlite, "study") == four_trials


@pytest.mark.parametrize("statement", [45, 110])
def test_a_process_killed_in_front_of_postgresql_too(
    postgresql_url: str, own_postgresql: Database, name: str, four_trials: Table, statement: int
) -> None:
    killed = start(work_until_statement, postgresql_url, name, STUDY, 4, statement)
    assert exit_code(killed) == -9

    drive(Ledger(own_postgresql, name, STUDY), 4)

    assert stored_table(own_postgresql, name) == four_trials


def test_a_study_killed_again_and_again_comes_to_its_end(
    own_sqlite: Database, own_url: str, four_trials: Table
) -> None:
    codes = [exit_code(start(work_until_statement, own_url, "study", STUDY, 4, 140)) for _ in range(7)]

    assert codes[0] == -9
    assert codes[-1] == 0
    assert stored_table(own_sqlite, "study") == four_trials


@pytest.mark.usefixtures("no_waiting")
def test_a_database_that_stays_away_is_an_error_and_the_ledger_works_again_later(
    own_sqlite: Database, name: str
) -> None:
    ledger = Ledger(own_sqlite, name, record(), storage_timeout=0.05)
    heard: list[Event] = []
    assigned(ledger)
    ledger.listen(heard.append)
    event.listen(own_sqlite.rdb.engine, "before_cursor_execute", connection_lost)

    for _ in range(2):
        with pytest.raises(StorageError, match="storage: the study database failed: the connection was lost"):
            ledger.report(0, 1, 0.5)
        assert [trial.number for trial in ledger.trials] == [0]
    event.remove(own_sqlite.rdb.engine, "before_cursor_execute", connection_lost)

    assert not ledger.report(0, 1, 0.5)
    assert len(heard) == 1
    assert stored_table(own_sqlite, name) == table(ledger.trials)
    assert stored_table(own_sqlite, name)[0][5] == {1: 0.5}


def test_an_error_of_ours_is_not_retried(own_sqlite: Database, name: str) -> None:
    ledger = Ledger(own_sqlite, name, record())
    assigned(ledger)

    with pytest.raises(TypeError, match="not JSON serializable"):
        ledger.complete(0, 1.0, {"note": "kept?", "object": object()})

    assert stored_table(own_sqlite, name)[0][1] == "RUNNING"
    assert stored_table(own_sqlite, name)[0][6] == {}
    ledger.complete(0, 1.0, {"note": "kept"})
    assert table(ledger.trials) == stored_table(own_sqlite, name)
