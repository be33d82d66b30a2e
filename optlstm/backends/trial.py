"""The worker's side of a trial, the same on every backend: run the objective, say how it ended."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from optlstm.errors import OptlstmError, PlaceUnwritable, TrialDiverged, named
from optlstm.study.events import Assignment
from optlstm.study.failures import FAILURE_KEY, MEMORY
from optlstm.util.format import LONGEST_NAME

TRACEBACK_LINES = 20


class Verdict(Enum):
    """The driver's answer to a report."""

    GO_ON = "go on"
    OVER = "over"  # pruned, failed or taken over: the study knows, the worker drops it
    STOP = "stop"  # the run is interrupted, or the trial must wait for others: it stays unfinished


class Interrupted(BaseException):
    """Leaves the objective when the run is interrupted; no `except Exception` may swallow it."""


@dataclass(frozen=True)
class Outcome:
    """How a trial left its worker. Exactly one of: a value, a failure, a halt, or nothing (over or interrupted).

    `value` is one number for each objective where the study has several; `diverged`: the failure is a loss that is not
    finite; `halt`: why no trial can go on, this one being as little to blame as any.
    """

    value: float | Sequence[float] | None = None
    failure: str | None = None
    diverged: bool = False
    halt: str | None = None
    attrs: dict[str, Any] = field(default_factory=dict)


class WorkerTrial:
    """What the objective sees of a trial; `suggest_*` answer what the driver sampled."""

    def __init__(self, assignment: Assignment, report: Callable[[int, float], Verdict]) -> None:
        self._assignment = assignment
        self._report = report
        self._over = False
        self.user_attrs: dict[str, Any] = {}

    @property
    def number(self) -> int:
        return self._assignment.number

    @property
    def from_epoch(self) -> int:
        return self._assignment.from_epoch

    @property
    def params(self) -> Mapping[str, Any]:
        return self._assignment.params

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return int(self.params[name])

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self.params[name])

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return self.params[name]

    def report(self, value: float, step: int) -> None:
        if step <= self._assignment.last_epoch:
            return  # the study has it; the pruner has let it pass
        verdict = self._report(step, value)
        if verdict is Verdict.STOP:
            raise Interrupted
        self._over = verdict is Verdict.OVER

    def should_prune(self) -> bool:
        return self._over

    def set_user_attr(self, key: str, value: Any) -> None:
        """Keep a JSON value. Raises TypeError where it is none: here, and not where the study writes it down."""
        if not isinstance(key, str) or not 0 < len(key) <= LONGEST_NAME or not key.isprintable():
            raise TypeError(f"set_user_attr({key!r:.80}): a key is 1 to {LONGEST_NAME} printable characters")
        try:
            self.user_attrs[key] = json.loads(json.dumps(value))  # as the study will have it
        except (TypeError, ValueError, RecursionError) as error:
            raise TypeError(f"set_user_attr({key!r:.80}): the value must be one that JSON holds: {error}") from error


def run_trial(
    objective: Callable[[Any], Any], assignment: Assignment, report: Callable[[int, float], Verdict]
) -> Outcome:
    """Run the objective on one trial; nothing that goes wrong in it leaves this function."""
    trial = WorkerTrial(assignment, report)
    try:
        value = _numbers(objective(trial))
        return Outcome() if trial.should_prune() else Outcome(value=value, attrs=trial.user_attrs)
    except Interrupted:
        return Outcome()
    except TrialDiverged as error:
        return Outcome(failure=str(error), diverged=True)
    except PlaceUnwritable as error:
        return Outcome(halt=f"{error}; nothing is lost: put that right, then go on with the same command")
    except OptlstmError as error:
        return Outcome(failure=str(error), attrs={FAILURE_KEY: type(error).__name__})
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, GeneratorExit: the trial's, and not ours
        if _is_pruned(error):
            return Outcome()
        lines = traceback.format_exc().strip().splitlines()
        return Outcome(
            failure=named(error),
            attrs={"traceback": "\n".join(lines[-TRACEBACK_LINES:]), FAILURE_KEY: _kind(error)},
        )


def _kind(error: BaseException) -> str:
    """What an error is called, or that it is one of the ways to have too little memory: Python's, CUDA's, the CPU's."""
    is_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return MEMORY if is_memory or "DefaultCPUAllocator" in named(error) else type(error).__name__


def _numbers(value: Any) -> float | tuple[float, ...]:
    return (
        tuple(float(v) for v in value) if isinstance(value, Sequence) and not isinstance(value, str) else float(value)
    )


def _is_pruned(error: BaseException) -> bool:
    # Whoever raised it has imported optuna; a worker whose trials all complete never pays for that.
    optuna = sys.modules.get("optuna")
    return optuna is not None and isinstance(error, optuna.TrialPruned)
