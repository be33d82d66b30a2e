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
    import optuna

    from optlstm.study.database.connection import Database
    from optlstm.util.files import Location

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
MovedOption = Annotated[
    str | None, typer.Option("--storage-path", metavar="DIR|URL", help="where its checkpoints are, if moved")
]
DEFAULT_STORAGE_PATH: str = StudyConfig.model_fields["storage_path"].default


def storage_url(option: str | None) -> str:
    return option or os.environ.get(STORAGE_VARIABLE) or DEFAULT_STORAGE


def given_database(storage: str | None) -> Database:
    """An existing one, for commands that write nothing into it."""
    return to_read(storage_url(storage))


def study_checkpoints(study: optuna.Study, given: str | None) -> Location | None:
    """Where the study's checkpoints are: as told, or where its last run has kept them."""
    from optlstm.run.retention import study_folder
    from optlstm.study.record import FOLDER_KEY, UID_KEY
    from optlstm.util.files import absolute, is_url

    attrs = study.user_attrs
    if UID_KEY in attrs and (given is not None or FOLDER_KEY not in attrs):
        return study_folder(absolute(given or DEFAULT_STORAGE_PATH), study.study_name, attrs[UID_KEY])
    # A database's word opens no connection, and no folder but one that is named after the study.
    folder: str | None = attrs.get(FOLDER_KEY)
    if folder is None or is_url(folder):
        return None
    known = study_folder(Path(folder).parent, study.study_name, str(attrs.get(UID_KEY, "")))
    return folder if known == Path(folder) else None
