"""Several objectives: the Pareto front, and which of its trials is the best when one must be named."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from optlstm.errors import InputError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

KNEE = "knee"
_BOUND = re.compile(r"\s*([^<>=\s]+)\s*(<=|>=)\s*([0-9.eE+-]+)\s*")


def front(study: Study) -> list[FrozenTrial]:
    """The complete, feasible trials that no other is better than in everything; the knee first."""
    directions = [direction.name.lower() for direction in study.directions]
    return by_knee(study.best_trials, directions)


def by_knee(trials: Sequence[FrozenTrial], directions: Sequence[str]) -> list[FrozenTrial]:
    """Trials by their distance to the ideal point; the first is the knee, and of equal ones the earlier.

    The ideal point has the best value of each objective; every objective is scaled to the range it has in `trials`.
    """
    columns = list(zip(*(t.values for t in trials), strict=True))
    signs = [1.0 if direction == "minimize" else -1.0 for direction in directions]
    ideal = [min(sign * v for v in column) for sign, column in zip(signs, columns, strict=False)]
    spread = [(max(column) - min(column)) or 1.0 for column in columns]

    def distance(trial: FrozenTrial) -> float:
        return math.hypot(*((s * v - i) / w for s, v, i, w in zip(signs, trial.values, ideal, spread, strict=True)))

    return sorted(trials, key=lambda trial: (distance(trial), trial.number))


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
    found = _BOUND.fullmatch(rule)
    if found is None or found[1] not in names:
        known = ", ".join(names)
        raise InputError(
            f"--pick: use knee, or a bound such as '{names[-1]}<=1000' (objectives: {known}), got {rule!r}"
        )
    column, limit, below = names.index(found[1]), float(found[3]), found[2] == "<="
    within = [t for t in ranking if (t.values[column] <= limit if below else t.values[column] >= limit)]
    if not within:
        values = [t.values[column] for t in ranking]
        raise InputError(f"--pick: no trial of the front has {rule}; it goes from {min(values):g} to {max(values):g}")
    return within[0]
