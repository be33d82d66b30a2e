"""The study database: opened by its URL, its transactions and its clock."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import scoped_session, sessionmaker

from optlstm.errors import InputError, StorageError, StorageUnopened
from optlstm.study.database import optuna_tables
from optlstm.study.database.sqlite import open_read_only, open_sqlite
from optlstm.study.database.sqlite_files import check_journal
from optlstm.study.database.url import as_template, parse_url, shown, sqlite_path
from optlstm.util.files import identity

CONNECT_TIMEOUT_S = 8
# libpq's: a server that is cut off, and says nothing, is noticed after 25 s.
KEEP_ALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 25_000}
# How long a process may be silent in a transaction before the server ends its connection: one that is stopped there
# (SIGSTOP, a machine that sleeps) makes all others wait. A sampler may compute for as long.
SILENT_S = 600
_SCHEMA_LOCK = 0x6F70746C  # "optl"


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
        self._sessions = sessionmaker(join_transaction_mode="create_savepoint")  # a class, which takes time to make
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
            self._sessions.configure(bind=connection)
            self.rdb.scoped_session = scoped_session(self._sessions)
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
    path = sqlite_path(url)
    if path is not None and not create and not path.exists():
        raise NoStudyDatabase(path)
    if path is not None and path.is_dir():
        raise InputError(f"storage: {path} is a folder; name a file in it")
    with _as_unopened(url):
        if path is not None:
            return Database(open_sqlite(url, path), path)
        return Database(_open_server(url, create=create))


def open_to_read(text: str) -> Database:
    """As `open_database` opens one that exists; a SQLite file that cannot be written can still be read."""
    try:
        return open_database(text, create=False)
    except StorageUnopened:
        path = sqlite_path(url := parse_url(text))
        if path is None:
            raise
        with _as_unopened(url):
            return Database(open_read_only(url, path.absolute()))


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
        raise StorageUnopened(f"storage: cannot write {sqlite_path(url)}: {error.strerror or error}") from error
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
        rdb = optuna_tables.StudyStorage(as_template(url), {"connect_args": arguments, "pool_pre_ping": True})
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


def first_line(error: BaseException) -> str:
    """The root cause of an error, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    original = getattr(error, "orig", None) or error
    return str(original).strip().splitlines()[0] if str(original).strip() else type(original).__name__
