"""Whether a study can be kept where it is to be kept: its database, its checkpoints. Nothing is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from optlstm.config.validate import attempt
from optlstm.util.files import absolute, check_writable

if TYPE_CHECKING:
    from optlstm.config.schema import StudyConfig


def place_problems(config: StudyConfig) -> list[str]:
    """A line for each place that cannot be opened or written."""
    from optlstm.study.database.connection import parse_url

    problems: list[str] = []
    attempt(problems, lambda: check_writable(absolute(config.storage_path), "storage_path"))
    url = parse_url(config.storage)
    if url.get_backend_name() == "sqlite":
        attempt(problems, lambda: check_writable(Path(url.database or "").absolute().parent, "storage"))
    return problems
