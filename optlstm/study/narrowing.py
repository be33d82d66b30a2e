"""Randomised search that narrows: every round draws within the ranges that the best draws so far lie in.

Each round covers its range evenly: one draw in each of as many equal parts as it has draws, at random within the part
(Latin hypercube sampling, McKay et al. 1979), on a log axis where the param has one. A search of the learning rate
alone ends with a recommendation: the range of the round to come.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from optlstm.study.constraints import counts_as_trial
from optlstm.study.seeds import derive_seed

RATE = "learning_rate"  # the param of a learning-rate search
LEAST_WIDTH = math.log(10) / 2  # of a recommended range, on the log axis


class NarrowingSampler(BaseSampler):
    """Trial n belongs to round n // draws, and looks at the trials of the rounds before.

    Args:
        draws: Trials of a round.
        keep: Share of a round's draws; that number of the best trials decides the next range.
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
        round_number, within = divmod(trial.number, self.draws)
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        ended = study.get_trials(deepcopy=False, states=states)
        trials = [t for t in ended if param_name in t.params and counts_as_trial(t)]
        sign = 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0
        draw = random.Random(derive_seed("narrowing", self.trial_seed, param_name))
        if isinstance(param_distribution, CategoricalDistribution):
            before = [t for t in trials if t.number < round_number * self.draws]
            seen = {t.params[param_name] for t in _best(before, self.draws, self.keep, sign)}
            return draw.choice([c for c in param_distribution.choices if c in seen] or list(param_distribution.choices))
        assert isinstance(param_distribution, FloatDistribution | IntDistribution)
        low, high = _interval(trials, param_name, param_distribution, round_number, self.draws, self.keep, sign)
        parts = list(range(self.draws))
        random.Random(derive_seed("parts", self.study_seed, round_number, param_name)).shuffle(parts)
        position = low + (high - low) * (parts[within] + draw.random()) / self.draws
        return _value(position, param_distribution)


def _best(trials: Sequence[FrozenTrial], draws: int, keep: float, sign: float) -> list[FrozenTrial]:
    """The best `keep * draws` of the trials that have a value; a trial that diverged has none."""
    valued = [t for t in trials if t.value is not None]
    return sorted(valued, key=lambda t: (sign * (t.value or 0.0), t.number))[: math.ceil(keep * draws)]


def _interval(
    trials: Sequence[FrozenTrial],
    name: str,
    distribution: FloatDistribution | IntDistribution,
    round_number: int,
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
    for later in range(1, round_number + 1):
        before = [t for t in trials if t.number < later * draws]
        positions = [axis(t.params[name]) for t in _best(before, draws, keep, sign)]
        if positions:
            beyond = (high - low) / draws / 2
            low, high = max(ends[0], min(positions) - beyond), min(ends[1], max(positions) + beyond)
    return low, high


def _value(position: float, distribution: FloatDistribution | IntDistribution) -> Any:
    value = math.exp(position) if distribution.log else position
    if distribution.step is not None:
        value = distribution.low + round((value - distribution.low) / distribution.step) * distribution.step
    value = min(max(value, distribution.low), distribution.high)
    return int(value) if isinstance(distribution, IntDistribution) else value


@dataclass(frozen=True)
class Recommendation:
    """The range for a search to come, and one value to use without one."""

    low: float
    high: float
    value: float

    def space_line(self) -> str:
        """What to paste into `[space]`."""
        return f"{RATE} = {{low = {self.low:.2g}, high = {self.high:.2g}, log = true, default = {self.value:.2g}}}"


def recommend(trials: Sequence[FrozenTrial], draws: int, keep: float, rounds: int) -> Recommendation | None:
    """The range that the next round would have, half a decade at least, and the geometric mean of the best draws.

    None where every draw diverged.

    Args:
        draws: Of a round; `keep` is the share of them that narrows the range.
        rounds: That were drawn.
    """
    drawn = drawn_trials(trials)
    kept = _best(drawn, draws, keep, 1.0)
    if not kept:
        return None
    distribution = kept[0].distributions[RATE]
    assert isinstance(distribution, FloatDistribution)
    low, high = _interval(drawn, RATE, distribution, rounds, draws, keep, 1.0)
    beyond = max(0.0, (LEAST_WIDTH - (high - low)) / 2)
    return Recommendation(
        low=max(distribution.low, math.exp(low - beyond)),
        high=min(distribution.high, math.exp(high + beyond)),
        value=math.exp(sum(math.log(t.params[RATE]) for t in kept) / len(kept)),
    )


def drawn_trials(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Those that ended with a learning rate."""
    return [t for t in trials if t.state.is_finished() and RATE in t.params]
