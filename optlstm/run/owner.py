"""The database that a study's folder belongs to: another one with a study of the same id must change nothing there.

A copy of a database is such a one, cut short or altered perhaps: the best trials by what it says may be others.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from optlstm.errors import InputError, OptlstmError, in_one_line
from optlstm.study.database.connection import Database
from optlstm.study.database.url import sqlite_url
from optlstm.util.files import Location, is_url, open_folder, shown_location
from optlstm.util.program import program

OWNER_FILE = "database.json"
_MOST_BYTES = 1 << 16
_IDENTITY = {
    "postgresql": "SELECT system_identifier FROM pg_control_system()",
    "mysql": "SELECT @@server_uuid",
    "mariadb": "SELECT @@server_uid",
}
_LOCAL = ("", "127.0.0.1", "::1")


def owner_problem(folder: Location, database: Database) -> str | None:
    """Why a database must not change the checkpoints in a study's folder; None where it may: its own, or nobody's."""
    owner = _stored(folder)
    ours = _record(folder, database)
    if owner is None or _same(owner, ours):
        return None
    return f"{shown_location(folder)} belongs to a study of the same id in another database: {_shown(owner)}"


def adopt_command(name: str, storage_path: Location, database: Database) -> str:
    """What makes a study's folder that of this database; a URL that can hold a password is named, not shown."""
    url = database.rdb.engine.url
    storage = shlex.quote(sqlite_url(url.database or "")) if url.get_backend_name() == "sqlite" else "URL"
    flags = f"--storage {storage} --storage-path {shlex.quote(str(storage_path))}"
    return f"{program()} doctor {shlex.quote(name)} --adopt {flags}"


def check_moved(folder: Location, database: Database) -> None:
    """Raises InputError where the database that a folder belongs to is another file, and still there."""
    owner, ours = _stored(folder) or {}, _record(folder, database)
    path = str(owner.get("database", ""))
    if _is_file(path) and path != ours["database"] and not _same(owner, ours):
        raise InputError(
            f"--adopt: {_shown(owner)}, the database that {shown_location(folder)} names, is still there: is this one "
            f"a copy? Then copy the study ({program()} copy), or give another --storage-path; if that file is "
            f"another one by now, remove {OWNER_FILE} from the folder"
        )


def owner_remedy(folder: Location, database: Database) -> tuple[str, str]:
    """Whom a folder belongs to that no study of the database has, and what to do with it."""
    owner = _stored(folder)
    if owner is None:  # of an older version
        return "", "remove it, unless a study of another database is using it"
    if _same(owner, _record(folder, database)):
        return "", "remove it"
    path = str(owner.get("database", ""))
    if os.path.isabs(path) and not _is_file(path):
        return f"; it belongs to {_shown(owner)}, which is gone", "remove it, unless that database was moved"
    return f"; it belongs to {_shown(owner)}{', which is there' if _is_file(path) else ''}", "leave it"


def _shown(owner: Mapping[str, Any]) -> str:
    return in_one_line(str(owner.get("database", "unknown")))[:200]


def _is_file(path: str) -> bool:
    try:
        return os.path.isabs(path) and os.path.isfile(path)
    except ValueError:  # a null character
        return False


def claim(folder: Location, database: Database) -> None:
    """Make a study's folder that of a database. Raises OptlstmError where it cannot be written."""
    try:
        for _ in range(2):  # the record says more once there is a folder
            if _stored(folder) != (ours := _record(folder, database)):
                open_folder(folder).write(OWNER_FILE, json.dumps(ours, indent=2).encode())
    except OSError as error:
        reason = error.strerror or error
        raise OptlstmError(f"storage_path: cannot write {shown_location(folder)}: {reason}") from error


def _stored(folder: Location) -> Mapping[str, Any] | None:
    files = open_folder(folder)
    if OWNER_FILE not in files.names():
        return None
    try:
        owner = json.loads(files.read(OWNER_FILE, _MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _same(owner: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Whether two records are of one database: the same file or server; where that is not known, one in its place."""
    for key in ("server", "file"):
        if key in owner and key in ours and owner.get("folder") == ours.get("folder"):
            return bool(owner[key] == ours[key])
    return any(owner.get(key) == value for key, value in ours.items() if key in ("database", "from_here"))


def _record(folder: Location, database: Database) -> dict[str, Any]:
    """What tells a database from others: where it is. A file is also known by the way to it, as both may be moved.

    file, folder: the inodes of a file and of the folder, by which a copy at the same path on another machine, which
    shares the folder, is told from the database. A folder that was copied or moved elsewhere has another one.
    server: what a server calls itself, as it may have several addresses.
    """
    url = database.rdb.engine.url
    if url.get_backend_name() == "sqlite":
        path = os.path.realpath(str(url.database))
        there: dict[str, Any] = {}
        if not is_url(folder):
            there["from_here"] = os.path.relpath(path, os.path.realpath(Path(folder)))
            if os.path.isdir(folder) and os.path.exists(path):
                there |= {"file": os.stat(path).st_ino, "folder": os.stat(folder).st_ino}
        return {"database": path, **there}
    host = str(url.host or url.query.get("host", "")).lower()
    port = url.port or {"postgresql": 5432}.get(url.get_backend_name(), 3306)
    address = f"{url.get_backend_name()}://{'localhost' if host in _LOCAL else host}:{port}/{url.database}"
    return {"database": address, **_server(database)}


def _server(database: Database) -> dict[str, str]:
    """A server's own identity, and the database's name; nothing where it does not say."""
    engine = database.rdb.engine
    query = _IDENTITY.get(engine.url.get_backend_name())
    try:
        with engine.connect() as connection:
            return {"server": f"{connection.scalar(text(query))}/{engine.url.database}"} if query else {}
    except SQLAlchemyError:
        return {}
