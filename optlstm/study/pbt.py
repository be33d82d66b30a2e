"""Population based training (Jaderberg et al. 2017): who copies whom, and how a copy's hyperparameters change.

Pure functions of scores, params, the declared space and a seed made of (study seed, generation, member); the rules are
the same on every backend.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

from optlstm.study.seeds import derive_seed
from optlstm.study.space import Param, Space, Value
from optlstm.util.user_code import Stored, UserFunction

Params = Mapping[str, Value]


@dataclass(frozen=True)
class Population:
    """The options of `[pbt]`, resolved.

    Args:
        population: Members trained at the same time.
        epochs: Of each member's life.
        interval: Epochs between two exploits.
        quantile: Share of the population that is replaced, and share that it is replaced from.
        factors: A number is multiplied by one of these.
        resample_probability: Chance that a param is drawn from its range instead.
        params: Which params change.
        growing: Which params can only grow, the weights being kept.
        burn_in: No exploit before this epoch.
        explore: A function in place of the rule here; called with (params, space, random generator).
        synchronous: Members wait for each other at every interval.
    """

    population: int
    epochs: int
    interval: int
    quantile: float
    factors: tuple[float, ...]
    resample_probability: float
    params: tuple[str, ...]
    growing: tuple[str, ...] = ()
    burn_in: int = 0
    explore: UserFunction | None = None
    synchronous: bool = True

    @property
    def boundaries(self) -> list[int]:
        """Epochs after which members are compared. Never the last one: a copy made there would not train."""
        return [e for e in range(self.interval, self.epochs, self.interval) if e >= self.burn_in]


def exploits(
    scores: Mapping[int, float], direction: str, quantile: float, seed: int, generation: int
) -> dict[int, int]:
    """Which members are replaced, and by a copy of which: member of the worst quantile to member of the best.

    Args:
        scores: Member to its validation value; not finite (a member that failed) is worst of all. Ties go by member.
    """
    sign = 1.0 if direction == "minimize" else -1.0
    order = sorted(scores, key=lambda m: (sign * scores[m] if math.isfinite(scores[m]) else math.inf, m))
    count = min(math.ceil(len(order) * quantile), len(order) // 2)
    alive = [m for m in order if math.isfinite(scores[m])]
    best, failed = alive[:count], [m for m in order if m not in alive]
    if not best:
        return {}
    worst = set(order[len(order) - count :]) | set(failed)  # one that failed cannot continue otherwise
    return {
        member: random.Random(derive_seed("exploit", seed, generation, member)).choice(best)
        for member in sorted(worst - set(best))
    }


def explored(params: Params, space: Space, options: Population, seed: int, generation: int, member: int) -> Params:
    """A copy's params: the donor's, changed; each inside its declared range, and active as its conditions say."""
    draw = random.Random(derive_seed("explore", seed, generation, member))
    if options.explore is not None:
        changed = dict(options.explore.load()(dict(params), space, draw))
    else:
        changed = dict(params)
        for param in space.params:
            if param.name in options.params and param.name in params:
                changed[param.name] = _perturbed(param, params[param.name], options, draw)
    # A param that became active takes its default, one that ceased to be is dropped.
    return space.searched(space.choose(lambda p: p.clip(changed[p.name]) if p.name in changed else p.default))


def read_explore(reference: str, stored: Stored | None = None) -> UserFunction:
    """Raises InputError where there is no such function, or it must not be run."""
    return UserFunction.read("pbt.explore", reference, "function(params, space, random) -> params", stored)


def _perturbed(param: Param, value: Value, options: Population, draw: random.Random) -> Value:
    resample, factor = draw.random() < options.resample_probability, draw.choice(options.factors)
    values = param.values()
    if param.name in options.growing:
        return _grown(param, value, resample, factor, draw)
    if values is not None:  # finitely many: a new one, or the neighbour
        if resample:
            return draw.choice(values)
        if isinstance(value, bool | str):
            return value  # such choices have no order, so no neighbour
        ordered = sorted(values, key=float)
        at = min(range(len(ordered)), key=lambda i: abs(float(ordered[i]) - float(value)))
        target = float(value) * factor
        nearest = min(range(len(ordered)), key=lambda i: abs(float(ordered[i]) - target))
        step = 1 if factor > 1 else -1
        return ordered[max(0, min(len(ordered) - 1, nearest if nearest != at else at + step))]
    if resample or value == 0:  # nothing times a factor stays nothing
        return param.clip(_drawn(param, draw))
    return param.clip(float(value) * factor)


def _grown(param: Param, value: Value, resample: bool, factor: float, draw: random.Random) -> Value:
    """A larger network or the same: weights can be widened and deepened, not narrowed."""
    larger = sorted(v for v in param.values() or [] if float(v) > float(value))
    if not larger or not (resample or factor > 1):
        return value
    return draw.choice(larger) if resample else larger[0]


def _drawn(param: Param, draw: random.Random) -> float:
    if param.log:
        return math.exp(draw.uniform(math.log(param.low), math.log(param.high)))
    return draw.uniform(param.low, param.high)
