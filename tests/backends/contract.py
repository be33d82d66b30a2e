"""What the contract suite is made of: backends, studies in a database, jobs, and the table that must be the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from optlstm.backends.driver import Run
from optlstm.backends.job import Job
from optlstm.backends.local.runner import run_local
from optlstm.study.database.connection import Database, open_database
from optlstm.study.declaration import parse_space
from optlstm.study.ledger import Ledger
from optlstm.study.record import StudyRecord
from tests.backends import objectives

optuna.logging.set_verbosity(optuna.logging.WARNING)
Row = tuple[Any, ...]


@dataclass(frozen=True)
class Backend:
    """A way to run trials, `at_once` at a time. `isolated`: a trial may kill its own process."""

    name: str
    work: Callable[[Run, Job, int], None]
    isolated: bool


def _inline(run: Run, job: Job, at_once: int) -> None:
    run_local(run, job, at_once, inline=True)


def _processes(run: Run, job: Job, at_once: int) -> None:
    run_local(run, job, at_once, inline=False)


def _ray(run: Run, job: Job, at_once: int) -> None:
    from optlstm.backends.ray.runner import RayOptions, run_ray

    run_ray(run, job, RayOptions(workers=at_once))


# Every backend stands here once; the whole contract runs against each.
BACKENDS = [
    Backend("inline", _inline, isolated=False),
    Backend("processes", _processes, isolated=True),
    Backend("ray", _ray, isolated=True),
]


class Studies:
    """Studies in one SQLite file; each call opens the database anew, as a new process would."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}/studies.db"
        self._open: list[Database] = []

    def ledger(
        self,
        name: str = "contract",
        sampler: str = "tpe",
        pruner: str = "median",
        space: dict[str, Any] | None = None,
        seed: int = 7,
        **options: Any,
    ) -> Ledger:
        parsed = parse_space(space or objectives.CONDITIONAL, objectives.KNOWN)
        record = StudyRecord(parsed, seed, objectives.EPOCHS, sampler, pruner, **options)
        database = open_database(self.url)
        self._open.append(database)
        return Ledger(database, name, record)

    def close(self) -> None:
        for database in self._open:
            database.close()


def job(trial_timeout: float | None = None, **curve: Any) -> Job:
    return Job(objectives.Make(), {"trouble": {}, **curve}, trial_timeout=trial_timeout)


def table(ledger: Ledger) -> list[Row]:
    """Everything of the trials that must not depend on the backend: all but times."""
    return [
        (t.number, t.state.name, t.values, t.params, t.intermediate_values, t.user_attrs.get("reason"))
        for t in ledger.trials
    ]
