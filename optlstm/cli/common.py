"""What the commands share: the app, options that come from the config, the study database."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from optlstm.config.flags import STORAGE_VARIABLE
from optlstm.config.schema import StudyConfig
from optlstm.errors import OptlstmError
from optlstm.util import interrupts

if TYPE_CHECKING:
    from optlstm.study.database.connection import Database

Function = TypeVar("Function", bound=Callable[..., Any])
DEFAULT_STORAGE: str = StudyConfig.model_fields["storage"].default


databases = contextlib.ExitStack()  # closes those that the command has opened


class Interrupted(OptlstmError):
    """By a signal, where there was nothing to stop gently."""

    def __init__(self) -> None:
        number = interrupts.first()
        super().__init__("interrupted" if number == signal.SIGINT else "terminated")
        self.exit_code = 128 + number


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
        """Ctrl-C before anything runs is reported, where typer alone would exit silently."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted from None


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
    # Some commands once had `--output` for `--out`: it is still accepted.
    context_settings={"token_normalize_func": lambda token: "out" if token == "output" else token},
)


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


StorageOption = Annotated[
    str | None,
    typer.Option("--storage", metavar="URL", help=f"database URL; or ${STORAGE_VARIABLE} (default: {DEFAULT_STORAGE})"),
]

FactoryOption = Annotated[
    str | None,
    typer.Option("--factory", metavar="MODULE:FUNCTION", help="what makes the networks, where they are not ours"),
]

VerifyOption = Annotated[
    Path | None,
    typer.Option("--verify", metavar="KEY.pem", help="refuse a folder that the holder of this key has not signed"),
]

StoragePathOption = Annotated[
    str,
    typer.Option("--storage-path", metavar="DIR|URL", help="where the studies' checkpoints are, as `study` had it"),
]
DEFAULT_STORAGE_PATH: str = StudyConfig.model_fields["storage_path"].default


def storage_url(option: str | None) -> str:
    return option or os.environ.get(STORAGE_VARIABLE) or DEFAULT_STORAGE


def given_database(storage: str | None) -> Database:
    """An existing one, for commands that write nothing into it."""
    from optlstm.study.database.connection import open_to_read

    quieten_optuna()
    return databases.enter_context(contextlib.closing(open_to_read(storage_url(storage))))
