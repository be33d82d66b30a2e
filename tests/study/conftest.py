from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import tenacity
from optuna.storages._rdb import storage as rdb_storage

from optlstm.study.database.connection import Database, open_database


@pytest.fixture(scope="session")
def sqlite_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One file for all tests; every test names its study after itself."""
    return f"sqlite:///{tmp_path_factory.mktemp('sqlite')}/study.db"


@pytest.fixture(scope="session")
def sqlite(sqlite_url: str) -> Iterator[Database]:
    opened = open_database(sqlite_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def postgresql(postgresql_url: str) -> Iterator[Database]:
    opened = open_database(postgresql_url)
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Database:
    opened: Database = request.getfixturevalue(request.param)
    return opened


@pytest.fixture
def url(database: Database) -> str:
    return str(database.rdb.engine.url.render_as_string(hide_password=False))


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return f"{request.path.stem}: {request.node.name}"


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the tables made: copying it is ten times faster than making them."""
    path = tmp_path_factory.mktemp("empty") / "empty.db"
    open_database(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def own_url(empty_sqlite: Path, tmp_path: Path) -> str:
    """A file for one test, which may damage it."""
    shutil.copy(empty_sqlite, tmp_path / "study.db")
    return f"sqlite:///{tmp_path / 'study.db'}"


@pytest.fixture
def own_sqlite(own_url: str) -> Iterator[Database]:
    opened = open_database(own_url)
    yield opened
    opened.close()


@pytest.fixture
def own_postgresql(postgresql_url: str) -> Iterator[Database]:
    """Connections for one test, to listen to and to cut."""
    opened = open_database(postgresql_url)
    yield opened
    opened.close()


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries without their pauses."""

    class Clock:
        sleep = staticmethod(lambda seconds: None)

    monkeypatch.setattr(tenacity.nap, "time", Clock)
    monkeypatch.setattr(rdb_storage, "time", Clock)  # Optuna pauses for seconds where a trial could not be created
