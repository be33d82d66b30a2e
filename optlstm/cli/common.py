"""What the commands share: the app, options that come from the config, the study database."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from optlstm.config.schema import StudyConfig
from optlstm.errors import OptlstmError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from optlstm.study.database.connection import Database

STORAGE_VARIABLE = "OPTLSTM_STORAGE"
DEFAULT_STORAGE: str = StudyConfig.model_fields["storage"].default


_opened: list[Database] = []


class _Interrupted(OptlstmError):
    exit_code = 128 + signal.SIGINT


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """Ctrl-C while nothing runs yet says so; typer alone would end without a word."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _Interrupted("interrupted") from None


app = typer.Typer(
    cls=_Commands,
    name="optlstm",
    help="Tune PyTorch LSTMs: bring sequences in a file, get the best LSTM for them.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def flag(section: type[BaseModel], key: str, flag: str, metavar: str, panel: str, extra: str = "") -> Any:
    """An option that sets a config key: its help and its default are the config's. The config checks its text."""
    field = section.model_fields[key]
    default = getattr(field.default, "name", field.default)
    shown = "" if default is None else f" [dim]\\[default: {default}][/dim]"
    return typer.Option(flag, help=f"{field.description}{extra}{shown}", metavar=metavar, rich_help_panel=panel)


def quieten_optuna() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)


def open_study_database(url: str, *, create: bool) -> Database:
    from optlstm.study.database.connection import open_database

    database = open_database(url, create=create)
    _opened.append(database)
    return database


def close_databases() -> None:
    """Close what the command has opened."""
    while _opened:
        _opened.pop().close()


def existing(url: str) -> Database | None:
    """The database if there is one already; looking must not create a file."""
    from optlstm.study.database.connection import open_existing

    database = open_existing(url)
    if database is not None:
        _opened.append(database)
    return database


StorageOption = Annotated[
    str | None,
    typer.Option("--storage", metavar="URL", help=f"database URL; or ${STORAGE_VARIABLE} (default: {DEFAULT_STORAGE})"),
]


FactoryOption = Annotated[
    str | None,
    typer.Option("--factory", metavar="MODULE:FUNCTION", help="what makes the networks, where they are not ours"),
]


StoragePathOption = Annotated[
    str,
    typer.Option("--storage-path", metavar="DIR|URL", help="where the studies' checkpoints are, as `study` had it"),
]
DEFAULT_STORAGE_PATH: str = StudyConfig.model_fields["storage_path"].default


def given_database(storage: str | None) -> Database:
    quieten_optuna()
    return open_study_database(storage or os.environ.get(STORAGE_VARIABLE) or DEFAULT_STORAGE, create=False)
