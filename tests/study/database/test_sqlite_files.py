"""The files beside a SQLite database, where others may write or read them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from optlstm.errors import OptlstmError, StorageError, StorageUnopened
from optlstm.study.database.connection import Database, open_database, open_to_read
from tests.damage import make_link

MAGIC = bytes.fromhex("d9d505f920a163d7")


def forge_journal(database: Path, victim: Path) -> None:
    """A journal whose super-journal, which SQLite removes when it has rolled back, is `victim`."""
    name = os.fsencode(victim)
    header = MAGIC + struct.pack(">5I", 0, 1, database.stat().st_size // 4096, 512, 4096)
    record = struct.pack(">I", (1 << 30) // 4096 + 1) + name + struct.pack(">2I", len(name), sum(name)) + MAGIC
    Path(f"{database.resolve()}-journal").write_bytes(header.ljust(512, b"\0") + record)


@pytest.mark.parametrize("opening", [open_database, open_to_read])
@pytest.mark.parametrize("linked", [False, True], ids=["file", "link"])
def test_a_forged_journal_removes_no_file(
    opening: Callable[[str], Database], linked: bool, own_url: str, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "link.db").symlink_to("study.db")
    forge_journal(tmp_path / "study.db", victim)

    with pytest.raises(StorageUnopened, match=r"study\.db-journal names another file"):
        opening(f"sqlite:///{tmp_path}/link.db" if linked else own_url)

    assert victim.exists()


def test_a_journal_that_is_forged_while_the_database_is_open_removes_no_file(
    own_sqlite: Database, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    own_sqlite.rdb.engine.dispose()
    forge_journal(tmp_path / "study.db", victim)

    with pytest.raises(StorageError, match="names another file"):
        own_sqlite.read_clock()

    assert victim.exists()


@pytest.mark.parametrize(
    ("umask", "database", "expected"),
    [(0o022, 0o644, 0o600), (0o022, 0o664, 0o660), (0o007, 0o640, 0o660)],
    ids=["one user", "a database of a group", "files of a group"],
)
@pytest.mark.parametrize("old", [False, True])
def test_who_may_not_write_cannot_hold_the_lock(
    umask: int, database: int, expected: int, old: bool, own_url: str, tmp_path: Path
) -> None:
    lock = tmp_path / "study.db.lock"
    (tmp_path / "study.db").chmod(database)
    before = os.umask(umask)
    try:
        if old:
            lock.touch()
        open_database(own_url).close()
    finally:
        os.umask(before)

    assert lock.stat().st_mode & 0o777 == expected


@pytest.mark.parametrize("opening", [open_database, open_to_read])
def test_another_user_s_link_is_no_database(
    opening: Callable[[str], Database], own_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_link(str(tmp_path / "link.db"), "study.db", monkeypatch)

    with pytest.raises(OptlstmError, match=r"link\.db is a link that another user has made"):
        opening(f"sqlite:///{tmp_path}/link.db")


@pytest.mark.parametrize("opening", [open_database, open_to_read])
@pytest.mark.parametrize(
    "change",
    [
        "CREATE VIEW trials2 AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
        "CREATE TRIGGER t AFTER INSERT ON trials BEGIN DELETE FROM trials; END",
        "CREATE TABLE t (a INTEGER, b BLOB GENERATED ALWAYS AS (zeroblob(a)))",
    ],
    ids=["view", "trigger", "computed column"],
)
def test_a_database_that_computes_what_it_shows_is_refused(
    opening: Callable[[str], Database], change: str, own_url: str, tmp_path: Path
) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "study.db")) as connection:
        connection.execute(change)

    with pytest.raises(StorageError, match=r"study\.db holds what no study database does: (view|trigger|table) 't"):
        opening(own_url)
