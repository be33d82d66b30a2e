"""Ray Tune's schedulers, which report to the ledger what Ray has received, and stop the trials that the ledger ends.

As they come, they remember nothing after a restart. They hold a key, not the run: see `search.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import ray
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from optlstm.backends.ray.search import entry_of, writing
from optlstm.backends.ray.worker import ASSIGNMENT, EPOCH, NODE, OUTCOME, PARAM, VALUE
from optlstm.backends.trial import Decision, decode
from optlstm.study.events import Assignment
from optlstm.study.seeds import derive_seed


class _EveryPlace:
    """Part of both schedulers: a trial whose worker is being started waits for that one, but not where the run stops.

    Ray's own choice is the trial that has waited longest. It would get the next worker that is free, and its own, which
    takes a second or two to start, would be dropped: of trials shorter than that, all later ones ran one at a time
    once a node or a worker had died. Without a choice Ray starts a worker for each trial that waits, or gives it an
    idle one.
    """

    _key: str

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        if entry_of(self._key).run.stopping:
            for trial in list(tune_controller.get_live_trials()):
                if trial.status == Trial.PENDING:  # its node may have gone with the last that there was
                    tune_controller.stop_trial(trial)
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
        self._names: dict[int, str] = {}  # of a trial's entries in the rungs, by its number
        for trial in entry_of(key).run.ledger.trials:
            if trial.state.is_finished():
                self._remember(f"trial-{trial.number}", trial.number, trial.intermediate_values)

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        number = _assignment(trial).number
        # Ray draws the bracket from numpy's global state; ours depends on the trial's number alone.
        self._trial_info[trial.trial_id] = self._bracket(number)
        self._remember(trial.trial_id, number, entry_of(self._key).run.ledger.trials[number].intermediate_values)

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
        seed = derive_seed("bracket", entry_of(self._key).run.ledger.record.seed, number)
        return self._brackets[np.random.default_rng(seed).choice(len(sizes), p=weights / weights.sum())]

    def _remember(self, trial_id: str, number: int, values: Mapping[int, float]) -> None:
        """Put a trial into the rungs it has passed, as the value it had when it first reached each.

        One that was handed out before, and has lost its worker, was there by another of Ray's ids.
        """
        before, self._names[number] = self._names.get(number), trial_id
        for milestone, recorded in self._bracket(number)._rungs:
            recorded.pop(before, None)
            reached = [epoch for epoch in sorted(values) if epoch >= milestone]
            if reached:
                recorded[trial_id] = (self._metric_op or -1.0) * values[reached[0]]


def _answer(key: str, number: int, param: str) -> None:
    """Have the answer lie where the trial, which goes on now, takes it."""
    with writing(key) as run:
        ray.get(entry_of(key).answers.put.remote(number, run.suggest(number, param)))


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
    cluster, node = entry_of(key).cluster, result[NODE]
    with writing(key) as run:
        name = cluster.name_of(node)
        decision = run.report(_assignment(trial).number, result[EPOCH], result[VALUE], decide, name)
    if decision is not Decision.CONTINUE:
        return str(TrialScheduler.STOP)
    if node in cluster.draining:
        # The epoch is saved: the trial goes on elsewhere. Were it only stopped, Ray would give its worker another one.
        entry_of(key).moved.add(trial.trial_id)
        if trial.temporary_state.ray_actor is not None:
            ray.kill(trial.temporary_state.ray_actor)
    return str(TrialScheduler.CONTINUE)
