"""Several objectives: the Pareto front, and which of its trials is the best when one must be named."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from optlstm.errors import InputError

KNEE = "knee"
_BOUND = re.compile(r"\s*([^<>=\s]+)\s*(<=|>=)\s*([0-9.eE+-]+)\s*")


def pareto_front(trials: Sequence[FrozenTrial], directions: Sequence[str]) -> list[FrozenTrial]:
    """The feasible trials that no other is at least as good as in every objective, and better than in one; in order.

    Args:
        trials: Complete ones.
        directions: `minimize` or `maximize`, one for each objective.
    """
    feasible = [trial for trial in trials if all(value <= 0 for value in trial.constraints.values())]
    if not feasible:
        return []
    losses = _losses(feasible, directions)
    rows, positions = np.unique(losses, axis=0, return_inverse=True)  # sorted: no row is beaten by a later one
    beaten = np.zeros(len(rows), dtype=bool)
    for k in range(len(rows)):
        if not beaten[k]:
            beaten[k + 1 :] |= (rows[k] <= rows[k + 1 :]).all(axis=1)
    return [trial for trial, row in zip(feasible, positions.ravel(), strict=True) if not beaten[row]]


def by_knee(trials: Sequence[FrozenTrial], directions: Sequence[str]) -> list[FrozenTrial]:
    """Trials by their distance to the ideal point; the first is the knee, and of equal ones the earlier.

    The ideal point has the best value of each objective; every objective is scaled to the range it has in `trials`.
    """
    if not trials:
        return []
    losses = _losses(trials, directions)
    ideal = losses.min(axis=0)
    spread = losses.max(axis=0) - ideal
    spread[spread == 0] = 1.0
    distances = [math.hypot(*row) for row in (losses - ideal) / spread]
    order = sorted(range(len(trials)), key=lambda k: (distances[k], trials[k].number))
    return [trials[k] for k in order]


def _losses(trials: Sequence[FrozenTrial], directions: Sequence[str]) -> NDArray[np.float64]:
    """[trials, objectives], smaller is better."""
    signs = [1.0 if direction == "minimize" else -1.0 for direction in directions]
    return np.array([trial.values for trial in trials], dtype=np.float64) * signs


def picked(ranking: Sequence[FrozenTrial], names: Sequence[str], rule: str) -> FrozenTrial:
    """The trial of a front that a rule chooses.

    Args:
        ranking: The front, its knee first.
        names: Of the objectives.
        rule: `knee`; or a bound on one objective, such as `parameters<=20000`: of the trials within it the one that is
            nearest to the best of each.

    Raises:
        InputError: The rule cannot be read, or no trial keeps it.
    """
    if rule == KNEE:
        return ranking[0]
    bound = _BOUND.fullmatch(rule)
    if bound is None or bound[1] not in names:
        known = ", ".join(names)
        raise InputError(
            f"--pick: use knee, or a bound such as '{names[-1]}<=1000' (objectives: {known}), got {rule!r}"
        )
    column, limit, below = names.index(bound[1]), float(bound[3]), bound[2] == "<="
    within = [t for t in ranking if (t.values[column] <= limit if below else t.values[column] >= limit)]
    if not within:
        values = [t.values[column] for t in ranking]
        raise InputError(f"--pick: no trial of the front has {rule}; it goes from {min(values):g} to {max(values):g}")
    return within[0]
