"""Randomised search that narrows: every round draws within the ranges that the best draws so far lie in.

Each round covers its range evenly: one draw in each of as many equal parts as it has draws, at random within the part
(Latin hypercube sampling, McKay et al. 1979), on a log axis where the param has one.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from optlstm.study.constraints import counts_as_trial
from optlstm.study.seeds import derive_seed


class NarrowingSampler(BaseSampler):
    """Trial n belongs to round n // draws, and looks at the trials of the rounds before.

    Args:
        draws: Trials of a round.
        keep: Share of a round's draws: so many of the best trials say what the next range is.
    """

    def __init__(self, draws: int, keep: float, study_seed: int, trial_seed: int) -> None:
        self.draws, self.keep, self.study_seed, self.trial_seed = draws, keep, study_seed, trial_seed

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        number, within = divmod(trial.number, self.draws)
        trials, sign = _ended(study, param_name), _sign(study)
        draw = random.Random(derive_seed("narrowing", self.trial_seed, param_name))
        if isinstance(param_distribution, CategoricalDistribution):
            kept = best([t for t in trials if t.number < number * self.draws], self.kept, sign) if number else []
            seen = {t.params[param_name] for t in kept}
            return draw.choice([c for c in param_distribution.choices if c in seen] or list(param_distribution.choices))
        assert isinstance(param_distribution, FloatDistribution | IntDistribution)
        low, high = interval(trials, param_name, param_distribution, number, self.draws, self.keep, sign)
        parts = list(range(self.draws))
        random.Random(derive_seed("parts", self.study_seed, number, param_name)).shuffle(parts)
        position = low + (high - low) * (parts[within] + draw.random()) / self.draws
        return _value(position, param_distribution)

    @property
    def kept(self) -> int:
        return math.ceil(self.keep * self.draws)


def best(trials: Sequence[FrozenTrial], count: int, sign: float) -> list[FrozenTrial]:
    """The best few of those that have a value; a trial that diverged has none."""
    valued = [t for t in trials if t.value is not None]
    return sorted(valued, key=lambda t: (sign * (t.value or 0.0), t.number))[:count]


def interval(
    trials: Sequence[FrozenTrial],
    name: str,
    distribution: FloatDistribution | IntDistribution,
    number: int,
    draws: int,
    keep: float,
    sign: float,
) -> tuple[float, float]:
    """The range of a round, on the axis that is drawn on: logarithms where the param has a log axis.

    That of round 0 is the declared one. Later: from the least to the greatest of the best `keep * draws` trials before,
    and half the mean distance of the round before beyond them.
    """
    axis = math.log if distribution.log else float
    low, high = axis(distribution.low), axis(distribution.high)
    ends = (low, high)
    for later in range(1, number + 1):
        before = [t for t in trials if t.number < later * draws]
        positions = [axis(t.params[name]) for t in best(before, math.ceil(keep * draws), sign)]
        if positions:
            beyond = (high - low) / draws / 2
            low, high = max(ends[0], min(positions) - beyond), min(ends[1], max(positions) + beyond)
    return low, high


def _ended(study: Study, name: str) -> list[FrozenTrial]:
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    return [t for t in study.get_trials(deepcopy=False, states=states) if name in t.params and counts_as_trial(t)]


def _sign(study: Study) -> float:
    return 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0


def _value(position: float, distribution: FloatDistribution | IntDistribution) -> Any:
    value = math.exp(position) if distribution.log else position
    if distribution.step is not None and not (isinstance(distribution, FloatDistribution) and distribution.log):
        value = distribution.low + round((value - distribution.low) / distribution.step) * distribution.step
    value = min(max(value, distribution.low), distribution.high)
    return int(value) if isinstance(distribution, IntDistribution) else value
