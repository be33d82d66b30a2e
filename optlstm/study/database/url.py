"""The storage URL: what it may be, and how it is shown."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from optlstm.errors import InputError
from optlstm.util.extras import install

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
            raise InputError(f"storage: the driver '{module}' for {backend} is not installed: {install(extra)}")
    return url


def shown(url: URL) -> str:
    """A database URL for people to read: no password, and no options, which may hold one too."""
    return url.set(query={}).render_as_string()


def sqlite_url(path: str | Path) -> str:
    """Of a file whose name may hold what means something in a URL: `?`, `#`, `%`."""
    return URL.create("sqlite", database=str(path)).render_as_string()


def sqlite_path(url: URL) -> Path | None:
    """Of SQLite's file; None: the URL is of a server."""
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def as_template(url: URL) -> str:
    """As RDBStorage takes it, which fills `{SCHEMA_VERSION}` with str.format: braces in a password survive that."""
    return url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
