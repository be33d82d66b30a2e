"""Optuna's TPE, with what it reads of ended trials kept in columns.

At every trial it turns every param of every ended trial into a number again, and sorts them all: most of its time at
10,000 trials. A trial that has ended never changes, so here it is looked at once. What is sampled is Optuna's, bit for
bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.sampler import _get_infeasible_trial_score, _get_pruned_trial_score, default_gamma
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

Numbers = NDArray[np.int64]
_Space = tuple[tuple[str, BaseDistribution], ...]
_MOST_SPACES = 64
_RUNNING = 3.0  # the last kind


class _ByNumber:
    """What is known of trials, in arrays by trial number. Of those that have not ended, nothing is known for long."""

    def __init__(self) -> None:
        self._known = np.zeros(0, bool)

    def see(self, trials: Sequence[FrozenTrial], numbers: Numbers) -> Iterator[FrozenTrial]:
        """Those that are new or had not ended, each to be looked at now."""
        count, have = int(numbers.max(initial=-1)) + 1, len(self._known)
        if count > have:
            more = max(count, 2 * have) - have
            self._known = np.pad(self._known, (0, more))
            self._grow(more)
        for at in np.flatnonzero(~self._known[numbers]):
            trial = trials[int(at)]
            self._known[trial.number] = trial.state.is_finished()
            yield trial

    def _grow(self, more: int) -> None:
        raise NotImplementedError


class Columns(_ByNumber):
    """The params of a study's trials as TPE's numbers, for one search space."""

    def __init__(self) -> None:
        super().__init__()
        self._whole = np.zeros(0, bool)  # has all the params
        self._values: dict[str, NDArray[np.generic]] = {}

    def fill(self, trial: FrozenTrial, values: Mapping[str, NDArray[np.generic]]) -> None:
        """values: by param, of length one; of length nought where the trial lacks one."""
        number, whole = trial.number, all(map(len, values.values()))
        self._whole[number] = whole
        for name, value in values.items() if whole else ():
            column = self._values.setdefault(name, np.zeros(len(self._known), value.dtype))
            column[number] = value[0]

    def of(self, numbers: Numbers) -> dict[str, NDArray[np.generic]]:
        """By param: the numbers of the trials that have all of the params, in their order."""
        rows = numbers[self._whole[numbers]]
        return {name: column[rows] for name, column in self._values.items()}

    def _grow(self, more: int) -> None:
        self._whole = np.pad(self._whole, (0, more))
        self._values = {name: np.pad(column, (0, more)) for name, column in self._values.items()}


class Ranks(_ByNumber):
    """How TPE ranks a study's trials: complete ones, pruned, infeasible, running, each kind by a score of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._keys = np.zeros((3, 0))  # kind, and two scores

    def fill(self, trial: FrozenTrial, study: Study) -> None:
        self._keys[:, trial.number] = _rank(trial, study)

    def split(self, numbers: Numbers, gamma: Callable[[int], int]) -> tuple[Numbers, Numbers]:
        """The good ones, and the others, each by number. gamma: of how many have ended, how many are good."""
        kind, first, second = self._keys[:, numbers]
        order = np.lexsort((numbers, second, first, kind))
        good = min(gamma(int((kind < _RUNNING).sum())), len(numbers))
        return np.sort(numbers[order[:good]]), np.sort(numbers[order[good:]])

    def _grow(self, more: int) -> None:
        self._keys = np.pad(self._keys, ((0, 0), (0, more)))


def _rank(trial: FrozenTrial, study: Study) -> tuple[float, float, float]:
    if trial.state == TrialState.RUNNING:
        return _RUNNING, 0.0, 0.0
    if (broken := _get_infeasible_trial_score(trial)) > 0:
        return 2.0, broken, 0.0
    if trial.state == TrialState.PRUNED:
        return 1.0, *_get_pruned_trial_score(trial, study)
    assert trial.value is not None
    return 0.0, trial.value if study.direction == StudyDirection.MINIMIZE else -trial.value, 0.0


class Memory:
    """Of one study: its trials' ranks, and their columns by search space: several where params are conditional."""

    def __init__(self) -> None:
        self.ranks = Ranks()
        self._columns: dict[_Space, Columns] = {}

    def columns(self, search_space: Mapping[str, BaseDistribution]) -> Columns:
        space = tuple(search_space.items())
        found = self._columns.pop(space, None) or Columns()
        if len(self._columns) >= _MOST_SPACES:  # of an objective that has other ranges at every trial
            del self._columns[next(iter(self._columns))]
        self._columns[space] = found
        return found


class ColumnTPESampler(TPESampler):
    """`TPESampler` to the bit. Its memory may be given to the next sampler of the same study."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._memory = Memory()

    def _sample(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, int | float | str | None]:
        if len(study.directions) > 1:
            found: dict[str, int | float | str | None] = super()._sample(study, trial, search_space)
            return found
        states = [TrialState.COMPLETE, TrialState.PRUNED, *([TrialState.RUNNING] if self._constant_liar else [])]
        trials = study._get_trials(deepcopy=False, states=states, use_cache=not self._constant_liar)
        numbers = _numbers(trials)
        for new in self._memory.ranks.see(trials, numbers):
            self._memory.ranks.fill(new, study)
        others = numbers[numbers != trial.number]
        below, above = self._memory.ranks.split(others, self._gamma or default_gamma)
        self._remember(trials, numbers, search_space, study)
        columns = self._memory.columns(search_space)
        good, bad = (
            self._parzen_estimator_cls(
                _complete(columns.of(each), search_space), search_space, self._parzen_estimator_parameters
            )
            for each in (below, above)
        )
        drawn = good.sample(self._rng.rng, self._n_ei_candidates)
        chosen = self._compare(drawn, self._compute_acquisition_func(drawn, good, bad))
        return {name: kind.to_external_repr(chosen[name]) for name, kind in search_space.items()}

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: dict[str, BaseDistribution], study: Study
    ) -> dict[str, NDArray[np.generic]]:
        numbers = _numbers(trials)
        self._remember(trials, numbers, search_space, study)
        return _complete(self._memory.columns(search_space).of(numbers), search_space)

    def _remember(
        self, trials: Sequence[FrozenTrial], numbers: Numbers, search_space: dict[str, BaseDistribution], study: Study
    ) -> None:
        columns = self._memory.columns(search_space)
        for new in columns.see(trials, numbers):
            columns.fill(new, super()._get_internal_repr([new], search_space, study))


def _complete(
    found: Mapping[str, NDArray[np.generic]], search_space: Mapping[str, BaseDistribution]
) -> dict[str, NDArray[np.generic]]:
    """In the order of the space; empty columns where no trial has all of the params."""
    return {name: found.get(name, np.zeros(0)) for name in search_space}


def _numbers(trials: Sequence[FrozenTrial]) -> Numbers:
    return np.fromiter((trial.number for trial in trials), np.int64, len(trials))
