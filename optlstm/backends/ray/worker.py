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
from typing import Any, TypeVar

import ray
from ray import tune

from optlstm.backends.local.worker import end_with
from optlstm.backends.ray.node_check import Expected
from optlstm.backends.trial import (
    TRACEBACK_LINES,
    Blocked,
    Decision,
    Job,
    Outcome,
    Report,
    Suggest,
    Suggested,
    decode,
    encode,
    hung,
    no_suggestion,
    run_trial,
    setup_failure,
)
from optlstm.study.events import Assignment

T = TypeVar("T")

# Keys of a Ray trial's config and results.
ASSIGNMENT, EPOCH, VALUE, NODE, OUTCOME, PARAM = "assignment", "epoch", "value", "node", "outcome", "param"
# A worker process is reused for many trials: it sets up its task (torch, the data on the device) once.
_OBJECTIVES: dict[str, Any] = {}
_hung: list[int] = []  # trials that hang in threads of this process still


class Answers:
    """An actor: the driver's answers to trials that ask for params. Ray Tune itself answers a report with yes or no."""

    def __init__(self) -> None:
        self._answers: dict[int, str] = {}

    def put(self, number: int, answer: str) -> None:
        """Of a trial's number."""
        self._answers[number] = answer

    def take(self, number: int) -> str:
        return self._answers.pop(number)


def run_assignment(
    config: dict[str, Any], job: Job, key: str, answers: Any = None, expected: Expected | None = None
) -> None:
    """Ray Tune's trainable: one trial from its assignment to its outcome.

    Args:
        answers: The actor, where trials ask for their params.
        expected: Of the nodes of a cluster; each worker looks before its first trial.
    """
    if _hung:
        os._exit(1)  # Ray gives this trial another worker, and what hangs here ends
    _end_with_raylet()
    if key not in _OBJECTIVES:
        _OBJECTIVES.clear()
        if expected is not None and (problem := expected.problem()):
            _report_outcome(Blocked(problem))
            return
        try:
            _OBJECTIVES[key] = job.make_objective(job.data)
        except Exception as error:
            _report_outcome(Blocked(setup_failure(error)))
            return
    stopped: SystemExit | None = None
    node = ray.get_runtime_context().get_node_id()

    def goes_on(result: dict[str, Any]) -> bool:
        """Has the driver look at it; it has, when this returns."""
        nonlocal stopped
        try:
            tune.report(result)
        except SystemExit as end:  # Ray's way of ending a trial that its scheduler stopped
            stopped = end
        return stopped is None

    def report(epoch: int, value: float) -> Decision:
        return Decision.CONTINUE if goes_on({EPOCH: epoch, VALUE: value, NODE: node}) else Decision.PAUSE

    def suggest(param: str) -> str:
        if answers is None:
            return no_suggestion(param)
        if not goes_on({PARAM: param}):
            return encode(Suggested(ended=True))
        return str(ray.get(answers.take.remote(assignment.number)))

    objective, assignment = _OBJECTIVES[key], decode(config[ASSIGNMENT])
    if job.trial_timeout is None:
        outcome = run_trial(objective, assignment, report, suggest)
    else:
        outcome = _run_watched(objective, assignment, report, suggest, job.trial_timeout)
    if stopped is not None:
        raise stopped  # end this thread without another report, so that the worker can be reused
    _report_outcome(outcome)


@functools.cache
def _end_with_raylet() -> None:
    """Once in each process. A worker in the middle of an epoch does not notice by itself that its node has gone."""
    end_with(os.getppid())


def _report_outcome(outcome: Outcome) -> None:
    tune.report({OUTCOME: encode(outcome), "done": True})


def _run_watched(
    objective: Callable[[Any], Any], assignment: Assignment, report: Report, suggest: Suggest, limit: float
) -> Outcome:
    """As `run_trial`, in a thread that is left to itself when it has not reported for `limit` seconds.

    What hangs while it holds Python's lock cannot be left: after twice that time the process ends, and to Ray the
    trial's worker has died.
    """
    messages: queue.SimpleQueue[Outcome | Callable[[], Any]] = queue.SimpleQueue()
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask(call: Callable[..., T]) -> Callable[..., T]:
        """What calls it in this thread, of which Ray knows."""

        def asked(*args: Any) -> T:
            messages.put(functools.partial(call, *args))
            answer: T = answers.get()
            return answer

        return asked

    def train() -> None:
        messages.put(run_trial(objective, assignment, ask(report), ask(suggest)))

    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    try:
        while True:
            faulthandler.dump_traceback_later(2 * limit, exit=True)
            message = messages.get(timeout=limit)
            faulthandler.cancel_dump_traceback_later()  # the driver may take its time to answer
            if not callable(message):
                return message
            answers.put(message())
    except queue.Empty:
        _hung.append(assignment.number)
        lines = "".join(traceback.format_stack(sys._current_frames().get(thread.ident or 0))).splitlines()
        return hung(limit, "\n".join(lines[-TRACEBACK_LINES:]))
    finally:
        faulthandler.cancel_dump_traceback_later()
