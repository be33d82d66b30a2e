"""What the tests of kills run in processes of their own, and the ways to die in them at a named moment."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from optlstm.backends.driver import Run
from optlstm.backends.local.runner import run_local
from optlstm.backends.trial import Job
from optlstm.study.database.connection import open_database
from optlstm.study.declaration import parse_space
from optlstm.study.ledger import Ledger
from optlstm.study.record import StudyRecord
from optlstm.training import checkpoints
from optlstm.util.files import LocalFolder

NAME = "kills"
RATES = {"learning_rate": {"low": 1e-3, "high": 1e-1, "log": True}}
TRAININGS, EPOCHS = 3, 4


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def url_in(folder: Path) -> str:
    return f"sqlite:///{folder}/study.db"


def training(url: str) -> Ledger:
    space = parse_space(RATES, {"learning_rate": 0.01})
    record = StudyRecord(space, 7, EPOCHS, "tpe", "median", {"n_startup_trials": 1}, {"n_startup_trials": 1})
    return Ledger(open_database(url), NAME, record)


@dataclass(frozen=True)
class MakeTraining:
    """LSTMs that learn a sine in milliseconds."""

    def __call__(self, folder: Path) -> Any:
        from optlstm.run.objective import Objective
        from tests.training.problems import Sine

        small = {"window": 12, "patch": 3, "hidden_size": 6, "batch_size": 32}
        space = parse_space(RATES, {"learning_rate": 0.01, **small})
        return Objective(Sine(), space, 7, EPOCHS, checkpoints=folder)


def train(url: str, folder: Path) -> None:
    run_local(Run(training(url), TRAININGS), Job(MakeTraining(), folder), 1)


def train_until(url: str, folder: Path, moment: str) -> None:
    """Train, and die at a moment."""
    MOMENTS[moment]()
    train(url, folder)


def _before(owner: Any, name: str, here: Callable[..., bool]) -> Callable[[], None]:
    """Die before the first call for whose arguments `here` holds."""

    def arm() -> None:
        original = getattr(owner, name)

        def wrapped(*args: Any, **options: Any) -> Any:
            if here(*args, **options):
                die()
            return original(*args, **options)

        setattr(owner, name, wrapped)

    return arm


def _after(owner: Any, name: str, here: Callable[..., bool]) -> Callable[[], None]:
    """Die after the first call for whose arguments and result `here` holds."""

    def arm() -> None:
        original = getattr(owner, name)

        def wrapped(*args: Any, **options: Any) -> Any:
            result = original(*args, **options)
            if here(result, *args, **options):
                die()
            return result

        setattr(owner, name, wrapped)

    return arm


_THIRD = "epoch-00003.safetensors"


def _half_written() -> None:
    """Die with half of a file of the third checkpoint written, under the name of a file that is not whole yet."""
    original = os.replace

    def wrapped(source: Path, target: Path) -> None:
        if Path(target).name == _THIRD:
            os.truncate(source, os.stat(source).st_size // 2)
            die()
        original(source, target)

    os.replace = wrapped


def _lost_by_the_disk() -> None:
    """Die before the disk has the third checkpoint, and lose half of it, as in a power failure."""
    checkpoints.SETTLE_S = 0.0  # for each of them, not once a second
    original = os.fsync

    def wrapped(file: int) -> None:
        path = os.readlink(f"/proc/self/fd/{file}")
        if path.endswith(_THIRD):
            os.truncate(path, os.stat(path).st_size // 2)
            die()
        original(file)

    os.fsync = wrapped


def _at_statement(beginning: str) -> Callable[[], None]:
    def listen(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.strip().startswith(beginning):
            die()

    return lambda: event.listen(Engine, "before_cursor_execute", listen)


def _is_trial(number: int, epoch: int | None = None) -> Callable[..., bool]:
    return lambda _ledger, n, e=None, *_: n == number and (epoch is None or e == epoch)


MOMENTS: dict[str, Callable[[], None]] = {
    "in schema creation, before a table": _at_statement("CREATE TABLE trial_values"),
    "in schema creation, before an index": _at_statement("CREATE UNIQUE INDEX ix_studies_study_name"),
    "in schema creation, before its version": _at_statement("INSERT INTO version_info"),
    "in schema creation, before alembic's": _at_statement("CREATE TABLE alembic_version"),
    "after ask": _after(Ledger, "assign", lambda found, *_: found is not None and found.number == 1),
    "in the middle of writing a checkpoint": _half_written,
    "before the disk has a checkpoint": _lost_by_the_disk,
    "between a checkpoint's files": _before(
        LocalFolder, "write", lambda _, name, *__, **___: name == "epoch-00003.json"
    ),
    "between checkpoint and report": _before(Ledger, "report", _is_trial(0, 2)),
    "after report": _after(Ledger, "report", lambda _, *args: _is_trial(0, 3)(*args)),
    "before tell": _before(Ledger, "complete", _is_trial(0)),
    "before a pruned trial is left": _after(Ledger, "report", lambda over, *_: over),
    "while old checkpoints are removed": _before(
        LocalFolder, "remove", lambda _, name: name == "epoch-00001.safetensors"
    ),
}
