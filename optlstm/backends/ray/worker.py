"""A trial on a Ray worker: the same objective, its reports sent through `ray.tune.report`."""

from __future__ import annotations

import faulthandler
import functools
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

from ray import tune

from optlstm.backends.local.worker import end_with
from optlstm.backends.trial import (
    TRACEBACK_LINES,
    Blocked,
    Decision,
    Job,
    Outcome,
    Report,
    decode,
    encode,
    hung,
    run_trial,
    setup_failure,
)
from optlstm.study.events import Assignment

# Keys of a Ray trial's config and results.
ASSIGNMENT, EPOCH, VALUE, OUTCOME = "assignment", "epoch", "value", "outcome"
# A worker process is reused for many trials: it sets up its task (torch, the data on the device) once.
_OBJECTIVES: dict[str, Any] = {}
_hung: list[int] = []  # trials that hang in threads of this process still


def run_assignment(config: dict[str, Any], job: Job, key: str) -> None:
    """Ray Tune's trainable: one trial from its assignment to its outcome."""
    if _hung:
        os._exit(1)  # Ray gives this trial another worker, and what hangs here ends
    _end_with_raylet()
    if key not in _OBJECTIVES:
        _OBJECTIVES.clear()
        try:
            _OBJECTIVES[key] = job.make_objective(job.data)
        except Exception as error:
            _report_outcome(Blocked(setup_failure(error)))
            return
    stopped: SystemExit | None = None

    def report(epoch: int, value: float) -> Decision:
        nonlocal stopped
        try:
            tune.report({EPOCH: epoch, VALUE: value})
        except SystemExit as end:  # Ray's way of ending a trial that its scheduler stopped
            stopped = end
            return Decision.PAUSE
        return Decision.CONTINUE

    objective, assignment = _OBJECTIVES[key], decode(config[ASSIGNMENT])
    if job.trial_timeout is None:
        outcome = run_trial(objective, assignment, report)
    else:
        outcome = _run_watched(objective, assignment, report, job.trial_timeout)
    if stopped is not None:
        raise stopped  # end this thread without another report, so that the worker can be reused
    _report_outcome(outcome)


@functools.cache
def _end_with_raylet() -> None:
    """Once in each process. A worker in the middle of an epoch does not notice by itself that its node has gone."""
    end_with(os.getppid())


def _report_outcome(outcome: Outcome) -> None:
    tune.report({OUTCOME: encode(outcome), "done": True})


def _run_watched(objective: Callable[[Any], Any], assignment: Assignment, report: Report, limit: float) -> Outcome:
    """As `run_trial`, in a thread that is left to itself when it has not reported for `limit` seconds.

    What hangs while it holds Python's lock cannot be left: after twice that time the process ends, and to Ray the
    trial's worker has died.
    """
    messages: queue.SimpleQueue[Outcome | tuple[int, float]] = queue.SimpleQueue()
    decisions: queue.SimpleQueue[Decision] = queue.SimpleQueue()

    def ask(epoch: int, value: float) -> Decision:
        messages.put((epoch, value))
        return decisions.get()

    thread = threading.Thread(target=lambda: messages.put(run_trial(objective, assignment, ask)), daemon=True)
    thread.start()
    try:
        while True:
            faulthandler.dump_traceback_later(2 * limit, exit=True)
            message = messages.get(timeout=limit)
            faulthandler.cancel_dump_traceback_later()  # the driver may take its time to answer
            if not isinstance(message, tuple):
                return message
            decisions.put(report(*message))
    except queue.Empty:
        _hung.append(assignment.number)
        lines = "".join(traceback.format_stack(sys._current_frames().get(thread.ident or 0))).splitlines()
        return hung(limit, "\n".join(lines[-TRACEBACK_LINES:]))
    finally:
        faulthandler.cancel_dump_traceback_later()
