"""What the commands share: the app, options that come from the config, the study database."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from optlstm.config.flags import STORAGE_VARIABLE
from optlstm.config.schema import StudyConfig
from optlstm.errors import OptlstmError

if TYPE_CHECKING:
    from optlstm.study.database.connection import Database

Function = TypeVar("Function", bound=Callable[..., Any])
DEFAULT_STORAGE: str = StudyConfig.model_fields["storage"].default


_opened: list[Database] = []


class _Interrupted(OptlstmError):
    exit_code = 128 + signal.SIGINT


class _Help:
    """A switch takes no value, so none is shown; typer shows its type."""

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
        return params


class _Command(_Help, TyperCommand):
    pass


class _Commands(_Help, TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """Ctrl-C while nothing runs yet says so; typer alone would end without a word."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _Interrupted("interrupted") from None


class _App(typer.Typer):
    def command(self, name: str | None = None) -> Callable[[Function], Function]:  # type: ignore[override]
        return super().command(name, cls=_Command)


app = _App(
    cls=_Commands,
    name="optlstm",
    help="Tune PyTorch LSTMs: bring sequences in a file, get the best LSTM for them.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    # `--output` is what some commands called `--out`; it is still understood.
    context_settings={"token_normalize_func": lambda token: "out" if token == "output" else token},
)


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
