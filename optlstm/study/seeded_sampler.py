"""One sampler for each trial, seeded by its number: a search that was killed continues as if it had not been."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.search_space import IntersectionSearchSpace, group_decomposed
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from optlstm.study.tpe import Memory

# What a sampler learns of ended trials. A version of Optuna without the last one hands over less.
_LEARNT = (IntersectionSearchSpace, Memory, getattr(group_decomposed, "_GroupDecomposedSearchSpace", Memory))


class SeededSampler(BaseSampler):
    """Delegates each trial to a sampler made for it.

    Args:
        fresh: Makes the sampler of a trial's number; it may look at the study, where one is given.
    """

    _current: tuple[int, BaseSampler] | None = None

    def __init__(self, fresh: Callable[[int, Study | None], BaseSampler]) -> None:
        self._fresh = fresh
        self._known: dict[str, Any] = {}

    def _for(self, study: Study, trial: FrozenTrial) -> BaseSampler:
        if self._current is None or self._current[0] != trial.number:
            self._current = (trial.number, self._fresh(trial.number, study))
            hand_over(self._known, self._current[1])
        return self._current[1]

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._current = None
        self._for(study, trial).before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._for(study, trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._for(study, trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._for(study, trial).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        # A fresh one again: what happened between this trial's start and its end must not matter.
        self._fresh(trial.number, None).after_trial(study, trial, state, values)


def hand_over(known: dict[str, Any], sampler: BaseSampler) -> None:
    """Give a new sampler what the last one knows of ended trials: their params as numbers, and which all share.

    It would learn the same, and look at every param of every trial to do so: most of tpe's time at 10,000 trials.

    Args:
        known: By attribute; what is not there yet is taken from the sampler.
    """
    for name, value in list(vars(sampler).items()):
        if isinstance(value, _LEARNT):
            setattr(sampler, name, known.setdefault(name, value))
