"""What a learning-rate search recommends: a range to search on, and a value to use without one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optlstm.study.narrowing import best, interval

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

PARAM = "learning_rate"
LEAST_WIDTH = math.log(10) / 2  # of the range, on the log axis


@dataclass(frozen=True)
class Recommendation:
    """The range for a search to come, and one value to use without one."""

    low: float
    high: float
    value: float

    def space_line(self) -> str:
        """What to paste into `[space]`."""
        return f"{PARAM} = {{low = {self.low:.2g}, high = {self.high:.2g}, log = true, default = {self.value:.2g}}}"


def recommend(trials: Sequence[FrozenTrial], draws: int, keep: float, rounds: int) -> Recommendation | None:
    """The range that the next round would have, half a decade at least, and the geometric mean of the best draws.

    None where every draw diverged.

    Args:
        draws: Of a round; `keep` is the share of them that narrows the range.
        rounds: That were drawn.
    """
    from optuna.distributions import FloatDistribution

    drawn = drawn_trials(trials)
    kept = best(drawn, math.ceil(keep * draws), 1.0)
    if not kept:
        return None
    distribution = kept[0].distributions[PARAM]
    assert isinstance(distribution, FloatDistribution)
    low, high = interval(drawn, PARAM, distribution, rounds, draws, keep, 1.0)
    beyond = max(0.0, (LEAST_WIDTH - (high - low)) / 2)
    return Recommendation(
        low=max(distribution.low, math.exp(low - beyond)),
        high=min(distribution.high, math.exp(high + beyond)),
        value=math.exp(sum(math.log(t.params[PARAM]) for t in kept) / len(kept)),
    )


def drawn_trials(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Those that ended with a learning rate."""
    return [t for t in trials if t.state.is_finished() and PARAM in t.params]
