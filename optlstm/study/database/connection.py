"""Opens the study database: SQLite tuned for several writers, PostgreSQL or MySQL by URL.

Optuna opens SQLite without WAL, with a 5 s timeout and deferred transactions, so two processes can read the same
waiting trial before either writes it. Here every SQLite transaction begins IMMEDIATE, waits up to 60 s for its turn,
and the schema is made under a file lock.
"""

from __future__ import annotations

import contextlib
import glob
import importlib.util
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import scoped_session, sessionmaker

from optlstm.errors import InputError, StorageError, StorageUnopened
from optlstm.study.database import optuna_tables
from optlstm.study.database.sqlite_files import check_journal, check_schema, connect_unsynced, file_lock, sync
from optlstm.util.files import identity

BUSY_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 8
# libpq's: a server that is cut off, and says nothing, is noticed after 25 s.
KEEP_ALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 25_000}
# How long a process may be silent in a transaction before the server ends its connection: one that is stopped there
# (SIGSTOP, a machine that sleeps) makes all others wait. A sampler may compute for as long.
SILENT_S = 600
_SCHEMA_LOCK = 0x6F70746C  # "optl"
# What a plain scheme means here, and the extra that installs its driver.
DRIVERS = {
    "postgresql": ("postgresql+psycopg", "psycopg", "postgres"),
    "postgres": ("postgresql+psycopg", "psycopg", "postgres"),
    "mysql": ("mysql+pymysql", "pymysql", "mysql"),
    "mariadb": ("mysql+pymysql", "pymysql", "mysql"),
}


def parse_url(text: str) -> URL:
    """Normalise a storage URL; a bare scheme such as `postgresql://` gets the driver we ship.

    Raises:
        InputError: the text is no database URL, or names a database we do not support.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise InputError(
            "storage: not a database URL; use sqlite:///FILE.db, postgresql://USER@HOST/DB or mysql://USER@HOST/DB"
        ) from None
    if url.drivername in DRIVERS:
        url = url.set(drivername=DRIVERS[url.drivername][0])
    backend = url.get_backend_name()
    if backend not in {"sqlite", "postgresql", "mysql", "mariadb"}:
        raise InputError(f"storage: '{backend}' databases are not supported; use sqlite, postgresql or mysql")
    if backend == "sqlite" and url.database in (None, "", ":memory:"):
        raise InputError("storage: an in-memory SQLite database would be lost at the end; use sqlite:///FILE.db")
    if backend == "sqlite" and (url.database or "").startswith("file:"):
        raise InputError("storage: SQLite's 'file:' names are not supported; use sqlite:///FILE.db")
    # The end of a password, which later messages would show as the host or the database's name.
    if backend != "sqlite" and "@" in f"{url.host or ''}{url.database or ''}":
        raise InputError("storage: more than one '@'; write an '@' in the user name or password as %40")
    for _, module, extra in DRIVERS.values():
        if url.get_driver_name() == module and importlib.util.find_spec(module) is None:
            raise InputError(
                f"storage: the driver '{module}' for {backend} is not installed: pip install 'optlstm[{extra}]'"
            )
    return url


def shown(url: URL) -> str:
    """A database URL for people to read: no password, and no options, which may hold one too."""
    return url.set(query={}).render_as_string()


class Database:
    """An open study database: Optuna's RDB storage, transactions over several of its calls, the database's clock.

    Args:
        file: Of SQLite.
    """

    def __init__(self, rdb: RDBStorage, file: Path | None = None) -> None:
        self.rdb = rdb
        self._file = None if file is None else file.absolute()
        self._identity = self._file and identity(self._file)
        self._failure: SQLAlchemyError | None = None
        self._connection: Connection | None = None
        event.listen(rdb.engine, "handle_error", self._note_failure)
        event.listen(rdb.engine, "do_connect", lambda *_: self._check_file())
        self.read_clock()

    def _check_file(self) -> None:
        """Raises StorageError where SQLite writes into a file that nobody will find again, or would remove others."""
        if self._file is not None and identity(self._file) != self._identity:
            raise StorageError(
                f"storage: {self._file} was removed or replaced while it was in use; "
                "put it back, then resume with the same command"
            )
        if self._file is not None:
            check_journal(self._file)

    def now(self) -> float:
        """Seconds since the epoch by the database's clock, so that leases mean the same on every machine."""
        return time.monotonic() + self._clock_offset

    def read_clock(self) -> None:
        """Compare the clocks again (ours stands still while the machine sleeps). Not inside a transaction."""
        query = {
            "sqlite": "SELECT (julianday('now') - 2440587.5) * 86400.0",
            "postgresql": "SELECT EXTRACT(EPOCH FROM clock_timestamp())",
        }.get(self.rdb.engine.name, "SELECT UNIX_TIMESTAMP(NOW(6))")
        with self.rdb.engine.connect() as connection:
            seconds = float(connection.execute(sqlalchemy.text(query)).scalar_one())
        self._clock_offset = seconds - time.monotonic()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything written through `rdb` inside is committed together, or not at all.

        Optuna's methods commit one by one; bound to one outer connection, their commits become savepoints
        (SQLAlchemy: "Joining a Session into an External Transaction"). Not for several threads at once.

        Raises:
            StorageError: SQLite's file is not at its path any more.
        """
        self._check_file()
        with self.rdb.engine.begin() as connection:
            self._failure, self._connection = None, connection
            outer = self.rdb.scoped_session
            self.rdb.scoped_session = scoped_session(
                sessionmaker(bind=connection, join_transaction_mode="create_savepoint")
            )
            try:
                yield
            except (SQLAlchemyError, StorageInternalError):
                raise
            except Exception:
                if self._failure is None:
                    raise
                raise self._failure from None  # rather than what followed from it
            finally:
                self._connection = None
                self.rdb.scoped_session.remove()
                self.rdb.scoped_session = outer
            if self._failure is not None:  # Optuna tried again by itself: what its first try has left is in doubt
                raise self._failure

    @property
    def connection(self) -> Connection:
        """The transaction's connection; only inside one."""
        assert self._connection is not None, "not in a transaction"
        return self._connection

    def _note_failure(self, context: ExceptionContext) -> None:
        # Optuna handles a row that exists already; its savepoint was rolled back.
        if isinstance(context.sqlalchemy_exception, SQLAlchemyError) and not isinstance(
            context.sqlalchemy_exception, IntegrityError
        ):
            self._failure = context.sqlalchemy_exception

    def close(self) -> None:
        self.rdb.remove_session()
        self.rdb.engine.dispose()


def open_database(text: str, *, create: bool = True) -> Database:
    """Open the study database of a storage URL.

    Args:
        text: A database URL, such as `sqlite:///runs/optlstm.db`.
        create: Make the SQLite file, its folder and the tables when missing.

    Raises:
        InputError: The URL is not one we can use.
        NoStudyDatabase: `create` is false, and there is none.
        StorageUnopened: The database cannot be reached, or its schema is of another Optuna.
    """
    url = parse_url(text)
    path = _path(url)
    if path is not None and not create and not path.exists():
        raise NoStudyDatabase(path)
    if path is not None and path.is_dir():
        raise InputError(f"storage: {path} is a folder; name a file in it")
    with _as_unopened(url):
        if path is not None:
            return Database(_open_sqlite(url, path), path)
        return Database(_open_server(url, create=create))


def open_to_read(text: str) -> Database:
    """As `open_database` opens one that exists; a SQLite file that cannot be written can still be read."""
    try:
        return open_database(text, create=False)
    except StorageUnopened:
        path = _path(url := parse_url(text))
        if path is None:
            raise
        with _as_unopened(url):
            return Database(_open_read_only(url, path.absolute()))


def open_existing(text: str) -> Database | None:
    """The study database if there is one already; looking must not create one. Raises as `open_database`."""
    try:
        return open_database(text, create=False)
    except NoStudyDatabase:
        return None


class NoStudyDatabase(InputError):
    """There is no study database at a path or URL."""

    def __init__(self, place: Path | str) -> None:
        super().__init__(f"storage: no study database at {place}; run a study first, or give --storage URL")


def _path(url: URL) -> Path | None:
    """Of SQLite's file."""
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


@contextlib.contextmanager
def _as_unopened(url: URL) -> Iterator[None]:
    """What goes wrong while a database is opened, in one line."""
    try:
        yield
    except StorageError as error:
        raise StorageUnopened(str(error)) from None
    except ImportError:
        raise InputError(f"storage: the driver of {url.drivername}:// is not installed") from None
    except OSError as error:
        raise StorageUnopened(f"storage: cannot write {_path(url)}: {error.strerror or error}") from error
    except (SQLAlchemyError, StorageInternalError) as error:
        raise StorageUnopened(f"storage: cannot open {shown(url)}: {first_line(error)}") from None
    except RuntimeError as error:  # how Optuna reports a schema of another version
        raise StorageUnopened(f"storage: {shown(url)}: {first_line(error)}") from None


def _open_server(url: URL, *, create: bool) -> RDBStorage:
    arguments: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_S}
    if url.get_driver_name() in ("psycopg", "psycopg2"):
        arguments |= KEEP_ALIVE
    with _schema_lock(url, arguments) as connection:
        if not create and not optuna_tables.are_in(connection):
            raise NoStudyDatabase(shown(url))
        rdb = optuna_tables.StudyStorage(_template(url), {"connect_args": arguments, "pool_pre_ping": True})
    if rdb.engine.name == "postgresql":
        rdb.remove_session()
        rdb.engine.dispose()  # connections made from here on begin as the listener says
        event.listen(rdb.engine, "connect", _limit_silence)
    return rdb


def _limit_silence(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"SET idle_in_transaction_session_timeout = {round(1000 * SILENT_S)}")
    cursor.close()
    connection.commit()


@contextlib.contextmanager
def _schema_lock(url: URL, arguments: dict[str, Any]) -> Iterator[Connection]:
    """Held while tables are made: of two processes at once, one would fail on tables that exist already."""
    engine = sqlalchemy.create_engine(url, connect_args=arguments, poolclass=sqlalchemy.NullPool)
    lock = "pg_advisory_xact_lock({})" if engine.name == "postgresql" else "GET_LOCK('{}', 60)"
    with engine.begin() as connection:  # what is locked is free again when the connection closes
        connection.exec_driver_sql(f"SELECT {lock.format(_SCHEMA_LOCK)}")
        yield connection


def _open_sqlite(url: URL, path: Path) -> RDBStorage:
    check_journal(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Of two processes that make the tables at once, one would fail on `alembic_version`.
    with file_lock(path, BUSY_TIMEOUT_S):
        if not path.exists() or path.stat().st_size == 0:
            _make_tables(url, path.resolve())
        check_schema(path)
        rdb = optuna_tables.StudyStorage(_template(url), {"connect_args": {"timeout": BUSY_TIMEOUT_S}})
        with rdb.engine.connect() as connection:
            # Where WAL cannot be had (some network mounts), SQLite keeps its rollback journal.
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    rdb.remove_session()
    rdb.engine.dispose()  # connections made from here on begin as the listeners say
    event.listen(rdb.engine, "do_connect", _connect_existing)
    event.listen(rdb.engine, "connect", _prepare_connection)
    event.listen(rdb.engine, "begin", _begin_immediate)
    return rdb


def _open_read_only(url: URL, path: Path) -> RDBStorage:
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
            return optuna_tables.StudyStorage(_template(url), {"creator": connect}, skip_table_creation=True)
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
        rdb = RDBStorage(_template(url.set(database=str(half))), {"creator": partial(connect_unsynced, half)})
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


def _template(url: URL) -> str:
    # RDBStorage fills `{SCHEMA_VERSION}` with str.format: braces in a password must survive it.
    return url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")


def first_line(error: BaseException) -> str:
    """The root cause of an error, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    original = getattr(error, "orig", None) or error
    return str(original).strip().splitlines()[0] if str(original).strip() else type(original).__name__
