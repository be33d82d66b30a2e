"""A trial between driver and worker, the same on every backend: what travels there and back, and what runs it there.

A Ray worker unpickles a `Job`, hence nothing here imports the driver's ledger, Optuna or torch.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from optlstm.errors import CheckpointWriteError, OptlstmError, StopTrial, TrialDiverged, named
from optlstm.study.events import Assignment
from optlstm.study.failures import FAILURE_KEY, HUNG, MEMORY
from optlstm.study.space import Param, chosen, conflict
from optlstm.util.format import LONGEST_NAME

TRACEBACK_LINES = 20


@dataclass(frozen=True)
class Job:
    """What any worker needs to run trials; it is pickled from one of our processes to another.

    Args:
        make_objective: Called once per worker with `data`; gives the objective. Must pickle (no lambda, no closure).
        data: Given to every worker without a copy of its arrays where the backend can.
        threads: Threads of one worker.
        trial_timeout: Seconds without a report after which a trial has hung; None: never.
    """

    make_objective: Callable[[Any], Callable[[Any], Any]]
    data: Any
    threads: int = 1
    trial_timeout: float | None = None


class Decision(Enum):
    """The driver's answer to a report."""

    CONTINUE = "continue"
    END = "end"  # pruned, failed or taken over: the study knows, the worker drops it
    PAUSE = "pause"  # the run is interrupted, or the trial must wait for others: it stays unfinished


Report = Callable[[int, float], Decision]  # of an epoch and its value


@dataclass(frozen=True)
class Suggested:
    """The driver's answer to a trial that asks for a param.

    Args:
        problem: Why it has no such param; empty: it has `value`.
        ended: Another process has the trial now.
    """

    value: Any = None
    problem: str = ""
    ended: bool = False


Suggest = Callable[[str], str]  # of a `Param` that was encoded, a `Suggested` that is


@dataclass(frozen=True)
class Completed:
    """The objective has returned: one number, or one for each objective of the study."""

    value: float | Sequence[float]
    attrs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pruned:
    """The study ended the trial at its last report, or another process has it now, or its objective gave it up."""


@dataclass(frozen=True)
class Interrupted:
    """The trial stays unfinished: it is resumed by another run, or when the others have caught up."""


@dataclass(frozen=True)
class Diverged:
    """Its loss is not finite."""

    reason: str


@dataclass(frozen=True)
class Failed:
    """`kind`: see `optlstm.study.failures`."""

    reason: str
    kind: str
    traceback: str | None = None

    @property
    def attrs(self) -> dict[str, Any]:
        return {FAILURE_KEY: self.kind, **({} if self.traceback is None else {"traceback": self.traceback})}


@dataclass(frozen=True)
class Blocked:
    """No trial can run, and none is to blame: the task cannot be set up, no checkpoint can be written."""

    reason: str


Outcome = Completed | Pruned | Interrupted | Diverged | Failed | Blocked
_MESSAGES = (Assignment, Param, Suggested, Completed, Pruned, Interrupted, Diverged, Failed, Blocked)
_KINDS: dict[str, Any] = {kind.__name__: kind for kind in _MESSAGES}


def encode(message: Assignment | Outcome | Param | Suggested) -> str:
    """As JSON text: Ray flattens, copies and prints dicts, and reads a "/" in a key as nesting."""
    return json.dumps([type(message).__name__, asdict(message)])


def decode(text: str) -> Any:
    """What was encoded."""
    kind, fields = json.loads(text)
    return _KINDS[kind](**fields)


def no_suggestion(_: str) -> str:
    """The answer where all params are sampled before the trial runs."""
    return encode(Suggested(problem="space(trial) does not ask for it"))


def hung(limit: float, stack: str) -> Failed:
    """A trial that has not reported for `limit` seconds."""
    return Failed(f"hung: no report for {limit:g} s", HUNG, stack)


def setup_failure(error: Exception) -> str:
    return f"a worker could not set up its task: {named(error)}"


class WorkerTrial:
    """What the objective sees of a trial; `suggest_*` answer what the driver sampled, or samples now."""

    def __init__(self, assignment: Assignment, report: Report, suggest: Suggest = no_suggestion) -> None:
        self.number, self.params, self.from_epoch = assignment.number, dict(assignment.params), assignment.from_epoch
        self.user_attrs: dict[str, Any] = {}
        self._last_epoch, self._report, self._suggest, self._ended = assignment.last_epoch, report, suggest, False
        self._asked: dict[str, Param] = {}

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return int(self._value(Param(name, "int", low, high, step, log)))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._value(Param(name, "float", low, high, step, log)))

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return chosen(name, choices, lambda kept: self._value(Param(name, "categorical", choices=kept)))

    def _value(self, param: Param) -> Any:
        """Raises ValueError where Optuna does: of a range that cannot be, and of a param that was another before."""
        name = param.name
        if problem := conflict(self._asked.setdefault(name, param), param):
            raise ValueError(f"suggest {name!r}: {problem}")
        if name not in self.params:
            answer: Suggested = decode(self._suggest(encode(param)))
            if answer.ended:
                self._ended = True
                raise StopTrial
            if answer.problem:
                raise ValueError(f"suggest {name!r}: {answer.problem}")
            self.params[name] = answer.value
        return self.params[name]

    def report(self, value: float, step: int) -> None:
        if step <= self._last_epoch:
            return  # the study has it; the pruner has let it pass
        decision = self._report(step, value)
        if decision is Decision.PAUSE:
            raise StopTrial
        self._ended = decision is Decision.END

    def should_prune(self) -> bool:
        return self._ended

    def set_user_attr(self, key: str, value: Any) -> None:
        """Keep a JSON value. Raises TypeError where it is none: here, and not where the study writes it down."""
        if not isinstance(key, str) or not 0 < len(key) <= LONGEST_NAME or not key.isprintable():
            raise TypeError(f"set_user_attr({key!r:.80}): a key is 1 to {LONGEST_NAME} printable characters")
        from optlstm.study.database.attributes import problem_of_trial_attr

        try:
            text = json.dumps(value)
            problem = problem_of_trial_attr(key, text)
            self.user_attrs[key] = json.loads(text)  # as the study will have it
        except (TypeError, ValueError, RecursionError) as error:
            raise TypeError(f"set_user_attr({key!r:.80}): the value must be one that JSON holds: {error}") from error
        if problem:
            raise TypeError(f"set_user_attr({key!r:.80}): {problem}")


def run_trial(
    objective: Callable[[Any], Any], assignment: Assignment, report: Report, suggest: Suggest = no_suggestion
) -> Outcome:
    """Run the objective on one trial; nothing that goes wrong in it leaves this function."""
    trial = WorkerTrial(assignment, report, suggest)
    try:
        value = objective(trial)
        return Pruned() if trial.should_prune() else Completed(_numbers(value), trial.user_attrs)
    except StopTrial:
        return Pruned() if trial.should_prune() else Interrupted()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, GeneratorExit: the trial's, and not ours
        return _outcome_of(error)


def _numbers(value: Any) -> float | tuple[float, ...]:
    several = isinstance(value, Sequence) and not isinstance(value, str)
    return tuple(float(v) for v in value) if several else float(value)


def _outcome_of(error: BaseException) -> Outcome:
    """What an error that left the objective means; called while it is handled."""
    match error:
        case TrialDiverged():
            return Diverged(str(error))
        case CheckpointWriteError():
            return Blocked(f"{error}; nothing is lost: put that right, then resume with the same command")
        case OptlstmError():
            return Failed(str(error), type(error).__name__)
    if is_pruned(error):
        return Pruned()
    lines = traceback_of(error).strip().splitlines()
    return Failed(named(error), _kind(error), "\n".join(lines[-TRACEBACK_LINES:]))


def traceback_of(error: BaseException) -> str:
    """As Python prints it, from the first line that is not of this package on."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("optlstm."):
        trace = trace.tb_next
    if trace is None:  # it is all ours
        trace = error.__traceback__
    return "".join(traceback.format_exception(type(error), error, trace))


def _kind(error: BaseException) -> str:
    """An error's class, or that it is one of the ways to have too little memory: Python's, CUDA's, the CPU's."""
    is_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return MEMORY if is_memory or "DefaultCPUAllocator" in named(error) else type(error).__name__


def is_pruned(error: BaseException) -> bool:
    """Whether it is `optuna.TrialPruned`, by name: a worker does not import Optuna for it."""
    return any((c.__module__, c.__name__) == ("optuna.exceptions", "TrialPruned") for c in type(error).__mro__)
