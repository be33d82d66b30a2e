"""Which checkpoints stay on disk: those of unfinished trials, and of the best few complete ones."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from optlstm.config.schema import StudyConfig
from optlstm.errors import InputError
from optlstm.study.ledger import Ledger
from optlstm.study.results import StudyResults
from optlstm.util.files import Location, identity, is_url, join, open_folder, trial_folder, trial_name

_LONGEST_NAME = 255 - len("-01234567")  # characters that file systems take in a name, less those of the id


def file_name(name: str) -> str:
    """A study's name as that of a file, or of its folder, which is longer by an id."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:_LONGEST_NAME] or "study"


def study_folder(root: Location, name: str, study_uid: str) -> Location:
    """The study's folder; with its id, since two databases may each have a study of this name.

    Raises InputError where a link is in its place: we make none there, so anybody may have.
    """
    folder = join(root, f"{file_name(name)}-{study_uid[:8]}")
    if isinstance(folder, Path) and folder.is_symlink():
        raise InputError(f"storage_path: {folder} is a link, which no study's folder is; name the folder it leads into")
    return folder


@contextlib.contextmanager
def watched(checkpoints: Location) -> Iterator[Callable[[], str | None]]:
    """Make a study's folder; what is given tells why checkpoints are lost, once it is not at its path any more.

    A URL is not watched: object stores know no folders.
    """
    if is_url(checkpoints):
        yield lambda: None
        return
    path = Path(checkpoints)
    path.mkdir(parents=True, exist_ok=True)
    held = os.open(path, os.O_RDONLY)  # some file systems number a folder anew when nobody has it open

    def why_lost() -> str | None:
        now = identity(path)
        if now is not None and now == identity(held):
            return None
        return (
            f"storage_path: {path} was removed or replaced while the study ran; "
            "put it back, then resume with the same command"
        )

    try:
        yield why_lost
    finally:
        os.close(held)


def copy_weights(checkpoints: Location, child: int, parent: int, epoch: int) -> None:
    """Give a trial the checkpoint that another has of an epoch. Raises ArtifactError where it is gone or damaged."""
    from optlstm.training.checkpoints import copy_checkpoint

    copy_checkpoint(trial_folder(checkpoints, parent), epoch, trial_folder(checkpoints, child))


def has_checkpoint(checkpoints: Location, number: int) -> bool:
    """Whether a trial has saved anything: without, it begins again where it was interrupted."""
    return any(name.endswith(".json") for name in open_folder(trial_folder(checkpoints, number)).names())


def kept_best(config: Mapping[str, Any]) -> int:
    """How many of the best trials keep their weights, by the config a study was stored with."""
    return int(config.get("keep", StudyConfig.model_fields["keep"].default))


def outdated(results: StudyResults, keep: int) -> set[int]:
    """The ended trials whose checkpoints are of no more use: not of the best `keep`, and no copy is made of them."""
    trials = results.trials
    used = {t.number for t in results.ranking[:keep]}
    # A copy that has not reported may have to be made again.
    used |= {t.user_attrs.get("parent", -1) for t in trials if not t.state.is_finished() and t.last_step is None}
    return {t.number for t in trials if t.state.is_finished()} - used


def sweep(checkpoints: Location, ledger: Ledger, keep: int) -> None:
    """Remove outdated checkpoints. Safe to repeat, also after a kill, and beside other drivers of the study.

    The database decides: what this process remembers may be older than another's best trial.
    """
    folder = open_folder(checkpoints)
    if names := {name for name in folder.names() if name.startswith("trial-")}:
        for number in ledger.as_stored(lambda: outdated(ledger, keep)):
            if trial_name(number) in names:
                folder.remove(trial_name(number))
