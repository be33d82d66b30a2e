"""Optuna's TPE, with what it reads of ended trials kept in columns.

At every trial it turns every param of every ended trial into a number again, and sorts them all: most of its time at
10,000 trials. A trial that has ended never changes, so here that is done once. What is sampled is Optuna's, bit for
bit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from optlstm.study.internals import are_known

_optuna_tpe: Any = sys.modules[TPESampler.__module__]

Numbers = NDArray[np.int64]
_Space = tuple[tuple[str, BaseDistribution], ...]
_MOST_SPACES = 64
_RUNNING = 3.0  # the last kind


class Table:
    """Some numbers of each trial of a study, by trial number; those of an ended trial are computed once."""

    def __init__(self, rows: int) -> None:
        self._known = np.zeros(0, bool)
        self._values = np.zeros((rows, 0))

    def update(
        self, trials: Sequence[FrozenTrial], numbers: Numbers, compute: Callable[[FrozenTrial], Sequence[float]]
    ) -> None:
        """Compute what is not known of these trials, of these numbers: those that are new or had not ended."""
        count, size = int(numbers.max(initial=-1)) + 1, len(self._known)
        if count > size:
            more = max(count, 2 * size) - size
            self._known = np.pad(self._known, (0, more))
            self._values = np.pad(self._values, ((0, 0), (0, more)))
        for position in np.flatnonzero(~self._known[numbers]):
            trial = trials[int(position)]
            self._known[trial.number] = trial.state.is_finished()
            self._values[:, trial.number] = compute(trial)

    def of(self, numbers: Numbers) -> NDArray[np.float64]:
        """[rows, trials]"""
        return self._values[:, numbers]


def _split(ranks: NDArray[np.float64], numbers: Numbers, gamma: Callable[[int], int]) -> tuple[Numbers, Numbers]:
    """The good trials and the others, each by number. gamma: of how many have ended, how many are good."""
    kind, first, second = ranks
    order = np.lexsort((numbers, second, first, kind))
    ended = int((kind < _RUNNING).sum())
    good = min(gamma(ended), ended)
    return np.sort(numbers[order[:good]]), np.sort(numbers[order[good:]])


def _rank(study: Study, trial: FrozenTrial) -> tuple[float, float, float]:
    """Its kind (complete, pruned, infeasible, running), and what orders the trials of that kind, the best first."""
    if trial.state == TrialState.RUNNING:
        return _RUNNING, 0.0, 0.0
    if (broken := _optuna_tpe._get_infeasible_trial_score(trial)) > 0:
        return 2.0, broken, 0.0
    if trial.state == TrialState.PRUNED:
        return 1.0, *_optuna_tpe._get_pruned_trial_score(trial, study)
    assert trial.value is not None
    return 0.0, trial.value if study.direction == StudyDirection.MINIMIZE else -trial.value, 0.0


class Memory:
    """The ranks of a study's trials, and their params by search space: several where params are conditional."""

    def __init__(self) -> None:
        self.ranks = Table(3)
        self._params: dict[_Space, Table] = {}

    def params(self, search_space: Mapping[str, BaseDistribution]) -> Table:
        """A row for each param, in the order of the space; NaN in all of them where a trial lacks one."""
        space = tuple(search_space.items())
        table = self._params.pop(space, None) or Table(len(space))
        if len(self._params) >= _MOST_SPACES:  # of an objective that has other ranges at every trial
            del self._params[next(iter(self._params))]
        self._params[space] = table
        return table


@cache
def tpe_class() -> type[TPESampler]:
    """`ColumnTPESampler`; Optuna's own class, where its internals are not those this was written for."""
    methods = {
        "_sample": "study trial search_space",
        "_get_internal_repr": "trials search_space study",
        "_compute_acquisition_func": "samples mpe_below mpe_above",
        "_compare": "samples acquisition_func_vals",
    }
    attributes = "_constant_liar _gamma _n_ei_candidates _parzen_estimator_cls _parzen_estimator_parameters _rng"
    functions = "_get_infeasible_trial_score _get_pruned_trial_score default_gamma"
    return ColumnTPESampler if are_known(TPESampler(), methods, attributes, functions) else TPESampler


class ColumnTPESampler(TPESampler):
    """`TPESampler` to the bit. Its memory may be given to the next sampler of the same study."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._memory = Memory()

    def _sample(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, int | float | str | None]:
        if len(study.directions) > 1:
            sampled: dict[str, int | float | str | None] = super()._sample(study, trial, search_space)
            return sampled
        states = [TrialState.COMPLETE, TrialState.PRUNED, *([TrialState.RUNNING] if self._constant_liar else [])]
        trials = study._get_trials(deepcopy=False, states=states, use_cache=not self._constant_liar)
        numbers = _numbers(trials)
        others = numbers[numbers != trial.number]
        self._memory.ranks.update(trials, numbers, partial(_rank, study))
        below, above = _split(self._memory.ranks.of(others), others, self._gamma or _optuna_tpe.default_gamma)
        params = self._params(trials, numbers, search_space, study)
        good, bad = (
            self._parzen_estimator_cls(
                _complete_values(params, group, search_space), search_space, self._parzen_estimator_parameters
            )
            for group in (below, above)
        )
        drawn = good.sample(self._rng.rng, self._n_ei_candidates)
        chosen = self._compare(drawn, self._compute_acquisition_func(drawn, good, bad))
        return {name: kind.to_external_repr(chosen[name]) for name, kind in search_space.items()}

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: dict[str, BaseDistribution], study: Study
    ) -> dict[str, NDArray[np.float64]]:
        numbers = _numbers(trials)
        return _complete_values(self._params(trials, numbers, search_space, study), numbers, search_space)

    def _params(
        self, trials: Sequence[FrozenTrial], numbers: Numbers, search_space: dict[str, BaseDistribution], study: Study
    ) -> Table:
        """With these trials in it."""
        as_numbers = super()._get_internal_repr  # of each param one number, or none where the trial lacks a param

        def numbers_of(trial: FrozenTrial) -> list[float]:
            return [float(next(iter(values), np.nan)) for values in as_numbers([trial], search_space, study).values()]

        table = self._memory.params(search_space)
        table.update(trials, numbers, numbers_of)
        return table


def _complete_values(params: Table, numbers: Numbers, names: Iterable[str]) -> dict[str, NDArray[np.float64]]:
    """By param: the numbers of those trials that have all of the params, in their order."""
    values = params.of(numbers)
    return dict(zip(names, values[:, ~np.isnan(values[0])], strict=True))


def _numbers(trials: Sequence[FrozenTrial]) -> Numbers:
    return np.fromiter((trial.number for trial in trials), np.int64, len(trials))
