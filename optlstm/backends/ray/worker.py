"""A trial on a Ray worker: the same objective, its reports sent through `ray.tune.report`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ray import tune

from optlstm.backends.trial import Interrupted, Verdict, run_trial
from optlstm.study.events import Assignment

if TYPE_CHECKING:
    from optlstm.backends.driver import Job

# Keys of a Ray trial's config and results.
ASSIGNMENT, EPOCH, VALUE, OUTCOME, BROKEN = "assignment", "epoch", "value", "outcome", "broken"
# A worker process is reused for many trials: it sets up its task (torch, the data on the device) once.
_OBJECTIVES: dict[str, Any] = {}


def assignment_of(config: Mapping[str, Any]) -> Assignment:
    """What the searcher put into a Ray trial's config."""
    return Assignment(**json.loads(config[ASSIGNMENT]))


def run_assignment(config: dict[str, Any], job: Job, key: str) -> None:
    """Ray Tune's trainable: one trial from its assignment to its outcome."""
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

    outcome = run_trial(_OBJECTIVES[key], assignment_of(config), report)
    if stopped is not None:
        raise stopped  # end this thread without another report, so that the worker can be reused
    tune.report({OUTCOME: json.dumps(asdict(outcome)), "done": True})
