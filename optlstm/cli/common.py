"""What several commands share: options whose defaults come from the config, and the study database they name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optlstm.cli.databases import to_read
from optlstm.config.flags import STORAGE_VARIABLE
from optlstm.config.schema import StudyConfig

if TYPE_CHECKING:
    from optlstm.study.database.connection import Database

DEFAULT_STORAGE: str = StudyConfig.model_fields["storage"].default

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
    return to_read(storage_url(storage))
