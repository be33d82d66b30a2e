from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy
from optuna.study import StudyDirection
from sqlalchemy.exc import OperationalError

from optlstm.errors import InputError, StorageError
from optlstm.study.database.connection import Database, open_database, open_to_read
from tests.study.processes import CONTEXT, exit_code, open_files, start


def test_sqlite_writes_ahead_and_waits_for_its_turn(own_sqlite: Database) -> None:
    with own_sqlite.rdb.engine.connect() as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "busy_timeout")
        ]

    assert pragmas == ["wal", 1, 60_000]


def test_a_sqlite_transaction_holds_the_write_lock_from_its_beginning(own_sqlite: Database) -> None:
    other = sqlite3.connect(str(own_sqlite.rdb.engine.url.database), timeout=0, isolation_level=None)

    with own_sqlite.transaction(), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")

    other.execute("BEGIN IMMEDIATE")  # free again
    other.close()


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StorageError, match=r"cannot write .*file/study\.db: ") as caught:
        open_database(f"sqlite:///{tmp_path}/file/study.db")

    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_in_place_of_the_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder; name a file in it"):
        open_database(f"sqlite:///{tmp_path}")


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("these are my notes, and no database at all\n" * 50)
    before = path.read_bytes()

    with pytest.raises(StorageError, match="file is not a database"):
        open_database(f"sqlite:///{path}")

    assert path.read_bytes() == before


def test_a_database_of_another_optuna_is_refused(own_url: str) -> None:
    with sqlite3.connect(own_url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE version_info SET schema_version = 11")
        connection.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
    connection.close()

    with pytest.raises(StorageError, match="storage: sqlite:///"):
        open_database(own_url)


def test_reading_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no study database at"):
        open_database(f"sqlite:///{tmp_path}/none/study.db", create=False)

    assert list(tmp_path.iterdir()) == []


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """A folder as those see it who may not write there: a mount for root, whom permissions do not stop."""
    if os.geteuid() != 0:
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
        return
    view = folder.parent / "view"
    view.mkdir()
    subprocess.run(["mount", "--bind", folder, view], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", view], check=True)
        yield view
    finally:
        subprocess.run(["umount", "--lazy", view], check=True)


@pytest.mark.parametrize("being_written", [False, True], ids=["at rest", "being written"])
def test_what_cannot_be_written_can_be_read(empty_sqlite: Path, tmp_path: Path, being_written: bool) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    shutil.copy(empty_sqlite, folder / "study.db")
    writer = open_database(f"sqlite:///{folder}/study.db")
    with writer.transaction():
        writer.rdb.create_new_study([StudyDirection.MINIMIZE], "shown")
    if not being_written:
        writer.close()
    (folder / "study.db.lock").unlink()
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}

    with read_only(folder) as view:
        with pytest.raises(StorageError):
            open_database(f"sqlite:///{view}/study.db", create=False)
        database = open_to_read(f"sqlite:///{view}/study.db")
        names = [study.study_name for study in database.rdb.get_all_studies()]
        database.close()

    assert names == ["shown"]
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before
    writer.close()


def test_a_role_that_may_only_select_sees_the_studies(postgresql_url: str, postgresql: Database) -> None:
    role = "CREATE ROLE onlooker LOGIN PASSWORD 'x'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO onlooker"
    with postgresql.rdb.engine.begin() as connection:
        connection.exec_driver_sql(role)
    url = sqlalchemy.make_url(postgresql_url).set(username="onlooker", password="x")

    database = open_to_read(url.render_as_string(hide_password=False))

    assert len(database.rdb.get_all_studies()) == len(postgresql.rdb.get_all_studies())
    database.close()


def test_looking_makes_no_tables(postgresql_url: str) -> None:
    admin = sqlalchemy.create_engine(postgresql_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE looked_at")
    admin.dispose()
    url = sqlalchemy.make_url(postgresql_url).set(database="looked_at")

    with pytest.raises(InputError, match="no study database at postgresql"):
        open_to_read(url.render_as_string(hide_password=False))

    engine = sqlalchemy.create_engine(url)
    assert sqlalchemy.inspect(engine).get_table_names() == []
    engine.dispose()


def test_processes_that_open_a_new_file_at_the_same_instant_all_succeed(tmp_path: Path) -> None:
    urls = [f"sqlite:///{tmp_path}/round-{number}.db" for number in range(2)]
    together = CONTEXT.Barrier(4)

    processes = [start(open_files, urls, together) for _ in range(4)]

    assert [exit_code(process) for process in processes] == [0] * 4
    for url in urls:
        database = open_database(url)
        assert database.rdb.get_all_studies() == []
        database.close()


class Interrupted(Exception):
    pass


def test_a_transaction_commits_all_or_nothing(database: Database, name: str) -> None:
    study_id = database.rdb.create_new_study([StudyDirection.MINIMIZE], name)

    with pytest.raises(Interrupted), database.transaction():  # noqa: PT012
        trial_id = database.rdb.create_new_trial(study_id)
        database.rdb.set_trial_user_attr(trial_id, "a", 1)
        database.rdb.set_study_user_attr(study_id, "b", 2)
        raise Interrupted
    nothing = (database.rdb.get_all_trials(study_id), database.rdb.get_study_user_attrs(study_id))

    with database.transaction():
        trial_id = database.rdb.create_new_trial(study_id)
        database.rdb.set_trial_user_attr(trial_id, "a", 1)
        database.rdb.set_study_user_attr(study_id, "b", 2)
    (trial,) = database.rdb.get_all_trials(study_id)

    assert nothing == ([], {})
    assert (trial.number, trial.user_attrs) == (0, {"a": 1})
    assert database.rdb.get_study_user_attrs(study_id) == {"b": 2}


def test_nothing_of_a_transaction_is_seen_before_it_ends(database: Database, url: str, name: str) -> None:
    study_id = database.rdb.create_new_study([StudyDirection.MINIMIZE], name)
    engine = sqlalchemy.create_engine(url)
    query = sqlalchemy.text("SELECT count(*) FROM trials WHERE study_id = :id")

    with database.transaction():
        database.rdb.create_new_trial(study_id)
        with engine.connect() as other:
            during = other.execute(query, {"id": study_id}).scalar_one()
    with engine.connect() as other:
        after = other.execute(query, {"id": study_id}).scalar_one()
    engine.dispose()

    assert (during, after) == (0, 1)


def test_a_transaction_after_a_failed_one_works(database: Database, name: str) -> None:
    study_id = database.rdb.create_new_study([StudyDirection.MINIMIZE], name)
    with pytest.raises(OperationalError), database.transaction():
        raise OperationalError("SELECT 1", {}, Exception("the connection is gone"))

    with database.transaction():
        database.rdb.create_new_trial(study_id)

    assert database.rdb.get_n_trials(study_id) == 1


def test_the_databases_clock_is_near_ours(database: Database) -> None:
    before = time.time()
    first = database.now()
    database.read_clock()
    second = database.now()
    after = time.time()

    slack = 1.0 + after - before  # a clock that is read slowly is wrong by as much
    assert before - slack < first < second + slack
    assert before - slack < second < after + slack
