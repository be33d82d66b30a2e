"""What travels between driver and worker, and what an objective's end means."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import optuna
import pytest

from optlstm.backends.trial import (
    Blocked,
    Completed,
    Decision,
    Diverged,
    Failed,
    Interrupted,
    Outcome,
    Pruned,
    WorkerTrial,
    decode,
    encode,
    run_trial,
)
from optlstm.errors import CheckpointWriteError, StopTrial, TrialDiverged, TrialFailed
from optlstm.study.events import Assignment

ASSIGNMENT = Assignment(3, {"x": 0.1 + 0.2, "n": 2, "a/b": "c", "wide": True, "none": None}, 2, 1)


@pytest.mark.parametrize(
    "message",
    [
        ASSIGNMENT,
        Completed(1e-309, {"note": {"a": [1, "ä\ud800"]}}),
        Completed([1.5, -2.0]),
        Completed(math.inf),
        Pruned(),
        Interrupted(),
        Diverged("nan"),
        Failed("ValueError: no", "ValueError", "line\nline"),
        Failed("hung", "hung"),
        Blocked("the disk is full"),
    ],
)
def test_a_message_arrives_as_it_was_sent(message: Any) -> None:
    assert decode(encode(message)) == message


def raising(error: BaseException) -> Callable[[WorkerTrial], float]:
    def objective(trial: WorkerTrial) -> float:
        raise error

    return objective


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (TrialDiverged("nan at epoch 1"), Diverged("nan at epoch 1")),
        (TrialFailed("no weights"), Failed("no weights", "TrialFailed")),
        (optuna.TrialPruned(), Pruned()),
        (type("Mine", (optuna.TrialPruned,), {})(), Pruned()),
    ],
)
def test_what_leaves_an_objective_is_an_outcome(error: BaseException, outcome: Outcome) -> None:
    assert run_trial(raising(error), ASSIGNMENT, lambda *_: Decision.CONTINUE) == outcome


def test_a_checkpoint_that_cannot_be_written_blocks_the_run() -> None:
    outcome = run_trial(raising(CheckpointWriteError("disk full")), ASSIGNMENT, lambda *_: Decision.CONTINUE)

    assert isinstance(outcome, Blocked)
    assert outcome.reason.startswith("disk full; nothing is lost")


def test_an_exception_of_the_objective_comes_with_its_traceback() -> None:
    outcome = run_trial(raising(ValueError("no")), ASSIGNMENT, lambda *_: Decision.CONTINUE)

    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.kind) == ("ValueError: no", "ValueError")
    assert "in objective" in (outcome.traceback or "")


@pytest.mark.parametrize(
    ("decision", "outcome"), [(Decision.END, Pruned()), (Decision.PAUSE, Interrupted()), (Decision.CONTINUE, None)]
)
@pytest.mark.parametrize("returned", [1.0, None, "whatever"])
def test_what_a_trial_that_was_stopped_returns_is_not_looked_at(
    decision: Decision, outcome: Outcome | None, returned: Any
) -> None:
    def objective(trial: WorkerTrial) -> Any:
        try:
            trial.report(1.0, 3)
        except Exception:
            pytest.fail("no `except Exception` may swallow it")
        return returned if trial.should_prune() else 2.0

    assert run_trial(objective, ASSIGNMENT, lambda *_: decision) == (outcome or Completed(2.0))


def test_epochs_that_the_study_has_are_not_reported_again() -> None:
    reports: list[tuple[int, float]] = []

    def report(epoch: int, value: float) -> Decision:
        reports.append((epoch, value))
        return Decision.CONTINUE

    def objective(trial: WorkerTrial) -> float:
        for epoch in range(1, 5):
            trial.report(epoch / 2, epoch)
        return 0.0

    run_trial(objective, ASSIGNMENT, report)

    assert reports == [(3, 1.5), (4, 2.0)]
    assert not issubclass(StopTrial, Exception)
