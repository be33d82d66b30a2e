"""The study databases that a command opens, closed when it ends."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optlstm.study.database.connection import Database

databases = contextlib.ExitStack()


def quieten_optuna() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)


def open_study_database(url: str, *, create: bool) -> Database:
    from optlstm.study.database.connection import open_database

    return databases.enter_context(contextlib.closing(open_database(url, create=create)))


def existing(url: str) -> Database | None:
    """The database if there is one already; looking must not create a file."""
    from optlstm.study.database.connection import open_existing

    database = open_existing(url)
    return databases.enter_context(contextlib.closing(database)) if database is not None else None


def to_read(url: str) -> Database:
    """An existing one, for commands that write nothing into it."""
    from optlstm.study.database.connection import open_to_read

    quieten_optuna()
    return databases.enter_context(contextlib.closing(open_to_read(url)))
