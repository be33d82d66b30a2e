"""Ray Tune's OptunaSearch and schedulers, asking and telling through the ledger.

As they come, OptunaSearch tells a stopped trial COMPLETE, loses its last report and leaves a NaN trial RUNNING for
ever, and Ray's schedulers remember nothing after a restart. Here the searcher hands out the ledger's assignments, and
the scheduler, which Ray shows every result first, reports it to the ledger and stops the trials that the ledger ends.

Ray pickles searcher and scheduler into its experiment folder. They hold a key, not the run: the study, its storage and
its password never leave the driver's memory.
"""

from __future__ import annotations

import contextlib
import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from optlstm.backends.driver import MAX_RESTARTS, Run
from optlstm.backends.ray.cluster import dead_nodes, has_other_nodes
from optlstm.backends.ray.worker import ASSIGNMENT, EPOCH, OUTCOME, PARAM, VALUE, Answers
from optlstm.backends.trial import Decision, Failed, Interrupted, decode, encode
from optlstm.errors import OptlstmError
from optlstm.study.events import Assignment
from optlstm.study.failures import DIED
from optlstm.study.seeds import derive_seed

_RUNS: dict[str, Run] = {}
_ANSWERS: dict[str, Any] = {}  # the actor of a run whose trials ask for params
_ERRORS: dict[str, OptlstmError] = {}
# Ray finds that a machine is gone by its health checks (five in a row, three seconds apart); until then a trial that
# ran there looks as if it killed one worker after the other.
NODE_DEATH_IS_KNOWN_AFTER = 30.0


@contextlib.contextmanager
def registered(run: Run) -> Iterator[str]:
    """A key under which searcher and scheduler find the run, in this process only.

    Raises:
        OptlstmError: The ledger raised it, called by Ray.
    """
    key = uuid.uuid4().hex
    _RUNS[key] = run
    try:
        yield key
    finally:
        del _RUNS[key]
        if answers := _ANSWERS.pop(key, None):
            ray.kill(answers)
        if key in _ERRORS:
            raise _ERRORS.pop(key)


@contextlib.contextmanager
def _writing(key: str) -> Iterator[Run]:
    """The run, to report to. Its error ends it: Ray would make a traceback of it, or continue without a word."""
    run = _RUNS[key]
    try:
        yield run
    except OptlstmError as error:
        _ERRORS.setdefault(key, error)
        run.stop("failed")
        raise


@dataclass(frozen=True)
class _LostTrial:
    """A trial whose workers died, while it is not known whether their machine did."""

    number: int
    dead_before: int  # nodes that had died when the trial began
    until: float

    @property
    def node_died(self) -> bool:
        return dead_nodes() > self.dead_before

    @property
    def timed_out(self) -> bool:
        return not has_other_nodes() or time.monotonic() > self.until


class LedgerSearch(OptunaSearch):
    """OptunaSearch that asks and tells the ledger, and no study of Ray's.

    Ray takes any Searcher; it is an OptunaSearch for code that checks with `isinstance`.

    Args:
        key: From `registered`.
        at_once: Trials at a time. A trial is asked for when it can start, never earlier: the sampler then knows all
            that ended before.
    """

    def __init__(self, key: str, at_once: int) -> None:
        super().__init__(metric=VALUE, mode="min")
        self._key = key
        self._at_once = at_once
        self._live: dict[str, int] = {}  # Ray's trial id: our number
        self._dead_before: dict[str, int] = {}
        self._lost: list[_LostTrial] = []

    def set_search_properties(self, metric: Any, mode: Any, config: dict[str, Any], **spec: Any) -> bool:
        return True  # nothing to set: the space is the ledger's

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        self._resolve_lost()
        if len(self._live) >= self._at_once:
            return None
        assignment = _RUNS[self._key].next()
        if assignment is None:
            # With trials alive the study may still free one (a lost lease); with none there is nothing to wait for.
            return None if self._live or self._lost else Searcher.FINISHED
        self._live[trial_id] = assignment.number
        self._dead_before[trial_id] = dead_nodes()
        return {ASSIGNMENT: encode(assignment)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        pass  # the scheduler has reported it already

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        number = self._live.pop(trial_id, None)
        if number is None:
            return
        dead_before = self._dead_before.pop(trial_id)
        if error:
            self._lost.append(_LostTrial(number, dead_before, time.monotonic() + NODE_DEATH_IS_KNOWN_AFTER))
            self._resolve_lost()
        else:
            # Without an outcome it was stopped at a report: it is to be resumed, or the study has ended it.
            outcome = decode(result[OUTCOME]) if result and OUTCOME in result else Interrupted()
            with _writing(self._key) as run:
                run.record_outcome(number, outcome)

    def _resolve_lost(self) -> None:
        """Record the trials whose workers died: a machine's death is not their fault, and they are assigned again."""
        unresolved = []
        with _writing(self._key) as run:
            for trial in self._lost:
                if trial.node_died or run.stopping:
                    run.record_outcome(trial.number, Interrupted())
                elif trial.timed_out:
                    reason = f"its worker died {MAX_RESTARTS + 1} times; see Ray's logs"
                    run.record_outcome(trial.number, Failed(reason, DIED))
                else:
                    unresolved.append(trial)
        self._lost = unresolved

    def save(self, checkpoint_path: str) -> None:
        with open(checkpoint_path, "wb"):
            pass  # the study database holds everything; Ray only wants a file

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a study is continued by its name, not from Ray's experiment folder")


class _EveryPlace:
    """Part of both schedulers: a trial whose worker is being started waits for that one.

    Ray's own choice is the trial that has waited longest. It would get the next worker that is free, and its own, which
    takes a second or two to start, would be dropped: of trials shorter than that, all later ones ran one at a time
    once a node or a worker had died. Without a choice Ray starts a worker for each trial that waits, or gives it an
    idle one.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        return None


class StudyScheduler(_EveryPlace, FIFOScheduler):
    """Lets the study's own pruner decide: the same decisions as on any backend."""

    _supports_buffered_results = False

    def __init__(self, key: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._key = key

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        return _report(self._key, trial, result)


class StudyASHA(_EveryPlace, ASHAScheduler):
    """Ray's ASHA, its stops recorded as PRUNED and its rungs rebuilt from the study's intermediate values.

    Args:
        options: `grace_period`, `reduction_factor` and `brackets` of the config's pruner.
    """

    _supports_buffered_results = False

    def __init__(self, key: str, epochs: int, direction: str, options: Mapping[str, Any]) -> None:
        super().__init__(
            time_attr=EPOCH,
            metric=VALUE,
            mode=direction[:3],
            max_t=epochs,
            grace_period=options["grace_period"],
            reduction_factor=options["reduction_factor"],
            brackets=options["brackets"],
            stop_last_trials=False,  # the last epoch is the objective's end, not a stop
        )
        self._key = key
        for trial in _RUNS[key].ledger.trials:
            if trial.state.is_finished():
                self._remember(f"trial-{trial.number}", trial.number, trial.intermediate_values)

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        number = _assignment(trial).number
        # Ray draws the bracket from numpy's global state; ours depends on the trial's number alone.
        self._trial_info[trial.trial_id] = self._bracket(number)
        self._remember(trial.trial_id, number, _RUNS[self._key].ledger.trials[number].intermediate_values)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        # A value that is not finite fails its trial: it must not stand in a rung.
        finite = _is_epoch(result) and math.isfinite(result[VALUE])
        stops = finite and super().on_trial_result(tune_controller, trial, result) == TrialScheduler.STOP
        return _report(self._key, trial, result, decide=lambda: stops)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        self._trial_info.pop(trial.trial_id, None)  # its last epoch was seen in on_trial_result

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        self._trial_info.pop(trial.trial_id, None)

    def _bracket(self, number: int) -> Any:
        sizes = np.array([len(bracket._rungs) for bracket in self._brackets])
        weights = np.exp(sizes - sizes.max())  # as Ray weighs them
        seed = derive_seed("bracket", _RUNS[self._key].ledger.record.seed, number)
        return self._brackets[np.random.default_rng(seed).choice(len(sizes), p=weights / weights.sum())]

    def _remember(self, trial_id: str, number: int, values: Mapping[int, float]) -> None:
        """Put a trial into the rungs it has passed, as the value it had when it first reached each."""
        for milestone, recorded in self._bracket(number)._rungs:
            reached = [epoch for epoch in sorted(values) if epoch >= milestone]
            if reached:
                recorded[trial_id] = (self._metric_op or -1.0) * values[reached[0]]


def answers(key: str) -> Any:
    """The actor that has the answers of a run, on the driver's own node; None where trials know their params."""
    if not _RUNS[key].ledger.record.space.is_open:
        return None
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ray.remote(Answers)
    _ANSWERS[key] = actor.options(num_cpus=0, scheduling_strategy=here).remote()
    return _ANSWERS[key]


def _answer(key: str, number: int, param: str) -> None:
    """Have the answer lie where the trial, which goes on now, takes it."""
    with _writing(key) as run:
        ray.get(_ANSWERS[key].put.remote(number, run.suggest(number, param)))


def _assignment(trial: Trial) -> Assignment:
    assignment: Assignment = decode(trial.config[ASSIGNMENT])
    return assignment


def _is_epoch(result: Mapping[str, Any]) -> bool:
    return EPOCH in result and OUTCOME not in result


def _report(key: str, trial: Trial, result: dict[str, Any], decide: Callable[[], bool] | None = None) -> str:
    """Report what Ray has received to the ledger; what Ray is to do with the trial."""
    if PARAM in result:
        _answer(key, _assignment(trial).number, result[PARAM])
    if not _is_epoch(result):
        return str(TrialScheduler.CONTINUE)
    with _writing(key) as run:
        decision = run.report(_assignment(trial).number, result[EPOCH], result[VALUE], decide)
    return str(TrialScheduler.CONTINUE if decision is Decision.CONTINUE else TrialScheduler.STOP)
