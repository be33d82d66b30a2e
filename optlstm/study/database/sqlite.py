"""Opens a SQLite file for several writers, or one that can only be read.

Optuna opens SQLite without WAL, with a 5 s timeout and deferred transactions, so two processes can read the same
waiting trial before either writes it. Here every transaction begins IMMEDIATE, waits up to 60 s for its turn, and the
schema is made under a file lock.
"""

from __future__ import annotations

import glob
import os
import shutil
import sqlite3
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from optlstm.errors import StorageUnopened
from optlstm.study.database import optuna_tables
from optlstm.study.database.sqlite_files import check_journal, check_schema, connect_unsynced, file_lock, sync
from optlstm.study.database.url import as_template

BUSY_TIMEOUT_S = 60.0


def open_sqlite(url: URL, path: Path) -> RDBStorage:
    """Open a file to read and write, made where there is none. Raises what SQLAlchemy and Optuna raise, or OSError."""
    check_journal(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Of two processes that make the tables at once, one would fail on `alembic_version`.
    with file_lock(path, BUSY_TIMEOUT_S):
        if not path.exists() or path.stat().st_size == 0:
            _make_tables(url, path.resolve())
        check_schema(path)
        rdb = optuna_tables.StudyStorage(as_template(url), {"connect_args": {"timeout": BUSY_TIMEOUT_S}})
        with rdb.engine.connect() as connection:
            # Where WAL cannot be had (some network mounts), SQLite keeps its rollback journal.
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    rdb.remove_session()
    rdb.engine.dispose()  # connections made from here on begin as the listeners say
    event.listen(rdb.engine, "do_connect", _connect_existing)
    event.listen(rdb.engine, "connect", _prepare_connection)
    event.listen(rdb.engine, "begin", _begin_immediate)
    return rdb


def open_read_only(url: URL, path: Path) -> RDBStorage:
    """Open a file that cannot be written. Raises StorageUnopened where its log cannot be read without writing."""
    check_journal(path)
    check_schema(path)
    # A log in write-ahead mode needs a file beside it, which SQLite would make; without a log nobody is writing.
    log = path.with_name(f"{path.name}-wal")
    at_rest = not log.exists() or log.stat().st_size == 0
    for option in ("mode=ro", "immutable=1") if at_rest else ("mode=ro",):
        connect = partial(
            sqlite3.connect, f"{path.as_uri()}?{option}", BUSY_TIMEOUT_S, check_same_thread=False, uri=True
        )
        try:
            return optuna_tables.StudyStorage(as_template(url), {"creator": connect}, skip_table_creation=True)
        except (SQLAlchemyError, StorageInternalError) as error:
            problem = error
    if at_rest:
        raise problem
    raise StorageUnopened(f"storage: cannot read {path}: its folder is read-only; copy it and {log.name} elsewhere")


def _make_tables(url: URL, path: Path) -> None:
    """A new file, with all tables or not there: killed between a table and its index, it would never get the index."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        shutil.rmtree(left, ignore_errors=True)
    # In a folder that nobody else can put a link into.
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".partial", dir=path.parent) as folder:
        half = Path(folder, path.name)
        rdb = RDBStorage(as_template(url.set(database=str(half))), {"creator": partial(connect_unsynced, half)})
        rdb.remove_session()
        rdb.engine.dispose()
        sync(half)
        os.replace(half, path)


def _connect_existing(_dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> None:
    # A file that is gone is not made again.
    arguments[0], options["uri"] = f"{Path(arguments[0]).as_uri()}?mode=rw", True


def _prepare_connection(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we send BEGIN ourselves
    # With WAL, NORMAL survives a killed process; after a power cut the file is sound and the last epochs are retrained.
    connection.execute("PRAGMA synchronous=NORMAL")


def _begin_immediate(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
