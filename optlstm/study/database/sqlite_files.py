"""The files beside a SQLite database: a journal that others may have forged, and our lock."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from pathlib import Path

from filelock import FileLock

from optlstm.errors import StorageError
from optlstm.util.format import quoted
from optlstm.util.links import behind_link

_MAGIC = bytes.fromhex("d9d505f920a163d7")  # of a journal, which the name of a super-journal ends with once more
_COMPUTED = re.compile(r"\bAS\s*\(|\bVIRTUAL\s+TABLE\b", re.IGNORECASE)
_NO_WAITING = getattr(os, "O_NONBLOCK", 0)


def check_journal(path: Path) -> None:
    """See that a database's journal names no super-journal, a file that SQLite would remove.

    Only transactions over several files have one (https://sqlite.org/fileformat.html, 3); ours are over one.

    Raises:
        StorageError: it does.
        ForeignLink: another user's link leads to the database.
    """
    journal = f"{behind_link(path)}-journal"
    try:
        with os.fdopen(os.open(journal, os.O_RDONLY | _NO_WAITING), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - len(_MAGIC)))
            end = file.read(len(_MAGIC))
    except OSError:  # there is none
        return
    if end == _MAGIC:
        raise StorageError(
            f"storage: {journal} names another file, which SQLite would remove; "
            "no journal of optlstm does: remove it, or restore a backup"
        )


def check_schema(path: Path) -> None:
    """Raises StorageError where a database computes what it shows: views, triggers and computed columns may never end.

    Optuna makes none. What cannot be opened is left to who opens it next.
    """
    for option in ("mode=ro", "immutable=1"):
        with contextlib.suppress(sqlite3.Error), contextlib.closing(_connect(path, option)) as connection:
            for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master"):
                if kind in ("view", "trigger") or _COMPUTED.search(str(sql or "")):
                    raise StorageError(
                        f"storage: {path} holds what no study database does: {kind} {quoted(str(name))}; "
                        "it is damaged or altered"
                    )
            return


def _connect(path: Path, option: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&{option}", uri=True)


def file_lock(path: Path, timeout_s: float) -> FileLock:
    """A lock beside a database, for those who may write it. Taking it raises OSError."""
    lock = path.with_name(f"{path.name}.lock")
    with contextlib.suppress(OSError):  # another user's; or it cannot be made, as is seen when it is taken
        _limit(lock, path)
    return FileLock(lock, timeout=timeout_s)


def _limit(lock: Path, path: Path) -> None:
    """Let nobody open a lock's file, which is enough to hold it, but who may write the database, or files made here.

    Raises OSError.
    """
    flags = os.O_RDWR | _NO_WAITING | getattr(os, "O_NOFOLLOW", 0)
    try:
        file = os.open(lock, flags | os.O_CREAT | os.O_EXCL, 0o622)  # of others, those whom the umask lets write
    except FileExistsError:
        file = os.open(lock, flags)
    try:
        writers = (os.fstat(file).st_mode | (path.stat().st_mode if path.exists() else 0)) & 0o222
        if hasattr(os, "fchmod"):
            os.fchmod(file, writers | writers << 1)
    finally:
        os.close(file)


def connect_unsynced(path: Path) -> sqlite3.Connection:
    """For a file that counts only once it is whole: no statement waits for the disk, of which a schema has twenty."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA journal_mode=MEMORY")
    return connection


def sync(path: Path) -> None:
    """Wait until the disk has what was written to a file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
