"""What the contract suite is made of: backends, studies in a database, jobs, and the table that must be the same."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import optuna
import pytest

from optlstm.backends.driver import Run
from optlstm.backends.local.fork_server import ForkServer
from optlstm.backends.local.runner import run_local
from optlstm.backends.trial import Job
from optlstm.study.database.connection import Database, open_database
from optlstm.study.declaration import parse_space
from optlstm.study.ledger import Ledger
from optlstm.study.record import StudyRecord
from tests.backends import objectives
from tests.study.processes import after_reports, die_within

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
    with contextlib.closing(ForkServer(job.threads)) as server:
        run_local(run, job, at_once, inline=False, server=server)


def _launched(run: Run, job: Job, at_once: int) -> None:
    run_local(run, job, at_once, inline=False)


def _ray(run: Run, job: Job, at_once: int) -> None:
    from optlstm.backends.ray.runner import run_ray

    run_ray(run, job, workers=at_once)


INLINE = Backend("inline", _inline, isolated=False)
PROCESSES = Backend("processes", _processes, isolated=True)
LAUNCHED = Backend("launched", _launched, isolated=True)  # where there is no fork: another way to start a process
RAY = Backend("ray", _ray, isolated=True)
# Every other backend stands here once; the whole contract runs against each.
BACKENDS = [INLINE, PROCESSES, RAY]


def backend_param(backend: Backend, *values: Any) -> Any:
    """A test's parameters on a backend; the tests on Ray are marked."""
    marks = [pytest.mark.ray] if backend == RAY else []
    return pytest.param(backend, *values, id="-".join([backend.name, *map(str, values)]), marks=marks)


def isolated_backends() -> Any:
    """For tests that kill a trial's process."""
    params = [backend_param(backend) for backend in [*BACKENDS, LAUNCHED] if backend.isolated]
    return pytest.mark.parametrize("backend", params, indirect=True)


def compared(name: str, values: Iterable[str], on_ray: Iterable[str]) -> Any:
    """For tests that compare a backend with a run in this process. Ray's share in what is compared does not depend on
    the value, and its runs take seconds: some values are enough there.
    """
    params = [backend_param(PROCESSES, value) for value in values] + [backend_param(RAY, value) for value in on_ray]
    return pytest.mark.parametrize(("backend", name), params, indirect=["backend"])


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

    def reports(self) -> int:
        """How many epochs all studies have. Read past Optuna, because it is asked many times a second."""
        with contextlib.closing(sqlite3.connect(self.url.removeprefix("sqlite:///"))) as connection:
            return int(connection.execute("SELECT COUNT(*) FROM trial_intermediate_values").fetchone()[0])

    def close(self) -> None:
        for database in self._open:
            database.close()


def work(
    backend: str,
    folder: Path,
    options: dict[str, Any],
    total: int,
    at_once: int,
    seconds: float = 0.01,
    begin: Event | None = None,
    death: tuple[int, float] | None = None,
) -> None:
    """A driver in a process of its own. `death`: after how many reports it dies, and how many seconds after."""
    ledger = Studies(folder).ledger(**options)
    if begin is not None:
        begin.wait()
    if death is not None:
        after_reports(death[0], lambda: die_within(death[1]))
    next(b for b in [*BACKENDS, LAUNCHED] if b.name == backend).work(Run(ledger, total), job(seconds=seconds), at_once)


def job(trial_timeout: float | None = None, **curve: Any) -> Job:
    return Job(objectives.Make(), {"trouble": {}, **curve}, trial_timeout=trial_timeout)


def table(ledger: Ledger) -> list[Row]:
    """Everything of the trials that must not depend on the backend: all but times."""
    return [
        (t.number, t.state.name, t.values, t.params, t.intermediate_values, t.user_attrs.get("reason"))
        for t in ledger.trials
    ]


def reference(studies: Studies, total: int, **options: object) -> list[tuple[object, ...]]:
    """The table of an undisturbed run in this process."""
    curve = options.pop("curve", {})
    ledger = studies.ledger("reference", **options)  # type: ignore[arg-type]
    INLINE.work(Run(ledger, total), job(**curve), 1)  # type: ignore[arg-type]
    return table(ledger)
