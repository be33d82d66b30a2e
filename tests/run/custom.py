"""Studies with a custom objective and their trials, for tests that need no command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optlstm.backends.driver import Run
from optlstm.backends.trial import Decision, WorkerTrial
from optlstm.run.custom_trial import Trial
from optlstm.run.plan import Plan, make_plan
from optlstm.study.database.connection import open_database
from optlstm.study.events import Assignment, EpochReported, Event
from optlstm.study.ledger import Ledger
from tests.backends.contract import Backend, Studies


def plan_of(file: Path, **raw: Any) -> Plan:
    sampler = {"name": "tpe", "n_startup_trials": 3}
    return make_plan({"name": "loop", "objective": str(file), "sampler": sampler, "training": {"epochs": 4}, **raw})


def run(studies: Studies, name: str, plan: Plan, folder: Path, total: int, backend: Backend, after: int = 0) -> Ledger:
    """Run the study, or so many reports of it; 0: all."""
    folder.mkdir(exist_ok=True)
    ledger = Ledger(open_database(studies.url), name, plan.record)
    run, reports = Run(ledger, total), list[Event]()

    def stop(event: Event) -> None:
        reports.append(event) if isinstance(event, EpochReported) else None
        if after and len(reports) == after:
            run.stop("test")

    ledger.listen(stop)
    backend.work(run, plan.job(folder), 1)
    return ledger


class Killed(BaseException):
    """Ends the process, as the objective sees it."""


def custom_trial(folder: Path, reports: list[tuple[int, float]], answer: Decision | None, last_epoch: int) -> Trial:
    """A trial whose driver stores reports and gives an answer; None: the process is killed before it has one."""

    def report(epoch: int, value: float) -> Decision:
        if answer is None:
            raise Killed
        reports.append((epoch, value))
        return answer

    return Trial(WorkerTrial(Assignment(0, {}, last_epoch, 0), report), seed=0, epochs=9, checkpoints=folder)
