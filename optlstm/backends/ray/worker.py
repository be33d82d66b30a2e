"""A trial on a Ray worker: the same objective, its reports sent through `ray.tune.report`."""

from __future__ import annotations

import faulthandler
import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ray import tune

from optlstm.backends.trial import TRACEBACK_LINES, Interrupted, Outcome, Verdict, run_trial
from optlstm.study.events import Assignment
from optlstm.study.failures import FAILURE_KEY, HUNG

if TYPE_CHECKING:
    from optlstm.backends.job import Job

# Keys of a Ray trial's config and results.
ASSIGNMENT, EPOCH, VALUE, OUTCOME, BROKEN = "assignment", "epoch", "value", "outcome", "broken"
# A worker process is reused for many trials: it sets up its task (torch, the data on the device) once.
_OBJECTIVES: dict[str, Any] = {}
_hung: list[int] = []  # trials that hang in threads of this process still


def assignment_of(config: Mapping[str, Any]) -> Assignment:
    """What the searcher put into a Ray trial's config."""
    return Assignment(**json.loads(config[ASSIGNMENT]))


def run_assignment(config: dict[str, Any], job: Job, key: str) -> None:
    """Ray Tune's trainable: one trial from its assignment to its outcome."""
    if _hung:
        os._exit(1)  # Ray gives this trial another worker, and what hangs here ends
    if key not in _OBJECTIVES:
        _OBJECTIVES.clear()
        try:
            _OBJECTIVES[key] = job.make_objective(job.data)
        except Exception as error:
            reason = f"a worker could not set up its task: {type(error).__name__}: {error}"
            tune.report({BROKEN: reason, "done": True})
            return
    stopped: SystemExit | None = None

    def report(epoch: int, value: float) -> Verdict:
        nonlocal stopped
        try:
            tune.report({EPOCH: epoch, VALUE: value})
        except SystemExit as end:  # Ray's way of ending a trial that its scheduler stopped
            stopped = end
            raise Interrupted from None
        return Verdict.GO_ON

    objective, assignment = _OBJECTIVES[key], assignment_of(config)
    if job.trial_timeout is None:
        outcome = run_trial(objective, assignment, report)
    else:
        outcome = _run_watched(objective, assignment, report, job.trial_timeout)
    if stopped is not None:
        raise stopped  # end this thread without another report, so that the worker can be reused
    tune.report({OUTCOME: json.dumps(asdict(outcome)), "done": True})


def _run_watched(
    objective: Callable[[Any], Any], assignment: Assignment, report: Callable[[int, float], Verdict], limit: float
) -> Outcome:
    """As `run_trial`, in a thread that is left to itself when it has not reported for `limit` seconds.

    What hangs with Python's lock in its hand cannot be left: after twice that time the process ends, and Ray's word for
    the trial is that its worker died.
    """
    said: queue.SimpleQueue[Outcome | tuple[int, float]] = queue.SimpleQueue()
    answers: queue.SimpleQueue[Verdict] = queue.SimpleQueue()

    def ask(epoch: int, value: float) -> Verdict:
        said.put((epoch, value))
        return answers.get()

    thread = threading.Thread(target=lambda: said.put(run_trial(objective, assignment, ask)), daemon=True)
    thread.start()
    try:
        while True:
            faulthandler.dump_traceback_later(2 * limit, exit=True)
            message = said.get(timeout=limit)
            faulthandler.cancel_dump_traceback_later()  # whoever answers now may take his time
            if isinstance(message, Outcome):
                return message
            try:
                answers.put(report(*message))
            except Interrupted:
                answers.put(Verdict.STOP)
    except queue.Empty:
        _hung.append(assignment.number)
        lines = "".join(traceback.format_stack(sys._current_frames().get(thread.ident or 0))).splitlines()
        attrs = {FAILURE_KEY: HUNG, "traceback": "\n".join(lines[-TRACEBACK_LINES:])}
        return Outcome(failure=f"hung: no report for {limit:g} s", attrs=attrs)
    finally:
        faulthandler.cancel_dump_traceback_later()
