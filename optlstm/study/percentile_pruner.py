"""Optuna's percentile pruner on columns: where it reads every value again at every report, this reads new ones."""

from __future__ import annotations

import functools
import math
import sys
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.pruners import PercentilePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from optlstm.study.internals import are_known

_optuna_percentile: Any = sys.modules[PercentilePruner.__module__]


@functools.cache
def pruner_class() -> type[PercentilePruner]:
    """`ColumnPruner`; Optuna's own class, where its internals are not those this was written for."""
    methods = {
        "__init__": "percentile n_startup_trials n_warmup_steps interval_steps n_min_trials",
        "prune": "study trial",
    }
    attributes = "_percentile _n_startup_trials _n_warmup_steps _interval_steps _n_min_trials"
    functions = "_get_best_intermediate_result_over_steps _is_first_in_interval_step"
    return ColumnPruner if are_known(PercentilePruner(50.0), methods, attributes, functions) else PercentilePruner


class ColumnPruner(PercentilePruner):
    """Decides as PercentilePruner does, for the trials of one study."""

    def __init__(
        self, percentile: float, n_startup_trials: int, n_warmup_steps: int, interval_steps: int, *, n_min_trials: int
    ) -> None:
        super().__init__(percentile, n_startup_trials, n_warmup_steps, interval_steps, n_min_trials=n_min_trials)
        self._seen: set[int] = set()  # complete trials whose values are in the columns
        self._columns: dict[int, array[float]] = {}  # step: the complete trials' values, in no order

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        if step is None or step < self._n_warmup_steps:
            return False
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if not complete or len(complete) < self._n_startup_trials:
            return False
        steps = trial.intermediate_values.keys()
        if not _optuna_percentile._is_first_in_interval_step(step, steps, self._n_warmup_steps, self._interval_steps):
            return False
        best = _optuna_percentile._get_best_intermediate_result_over_steps(trial, study.direction)
        if math.isnan(best):
            return True
        self._read(complete)
        column = self._columns.get(step, array("d"))
        if len(column) < max(1, self._n_min_trials):
            return False
        maximize = study.direction == StudyDirection.MAXIMIZE
        values, share = np.frombuffer(column), 100 - self._percentile if maximize else self._percentile
        limit = np.percentile(values, share)  # the same, in half the time, where no value is NaN
        if math.isnan(limit):
            limit = np.nanpercentile(values, share)
        return bool(best < limit if maximize else best > limit)

    def _read(self, complete: Sequence[FrozenTrial]) -> None:
        if len(complete) < len(self._seen):  # an event that failed had ended one
            self._seen, self._columns = set(), {}
        for trial in reversed(complete):  # the new ones are among the last
            if len(self._seen) == len(complete):
                break
            if trial.number not in self._seen:
                self._seen.add(trial.number)
                for step, value in trial.intermediate_values.items():
                    self._columns.setdefault(step, array("d")).append(value)
