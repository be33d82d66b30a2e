"""Constraints that are known before training: configurations that break one are recorded, and never trained.

Such a trial ends PRUNED, with the reason and Optuna's constraint values, from which tpe learns where not to look; what
the other samplers propose is filtered. It is not one of the study's total.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

INFEASIBLE_KEY, IMPORTED_KEY = "infeasible", "imported_from"  # user attributes of trials
MAX_INFEASIBLE_IN_A_ROW = (
    100  # configurations that break a constraint; after so many the space holds next to none that keeps it
)

# Params to what is constrained: {"parameters": 22756}.
Measure = Callable[[Mapping[str, Any]], Mapping[str, float]]


def counts_as_trial(trial: FrozenTrial) -> bool:
    """Whether a trial is one of the study's total: it was or is trained here."""
    return INFEASIBLE_KEY not in trial.user_attrs and IMPORTED_KEY not in trial.user_attrs


def infeasible(measured: Mapping[str, float], limits: Mapping[str, float]) -> str | None:
    """Which constraints are broken, or None."""
    above = [f"{name} {value:,g} above {limits[name]:,g}" for name, value in measured.items() if value > limits[name]]
    return f"infeasible: {', '.join(above)}" if above else None


def infeasible_streak(trials: Sequence[FrozenTrial]) -> int:
    """How many of the last trials, without a break, were infeasible."""
    return sum(1 for _ in takewhile(lambda t: INFEASIBLE_KEY in t.user_attrs, reversed(trials)))


def none_feasible(trials: Sequence[FrozenTrial], limits: Mapping[str, float]) -> str | None:
    """Why the study stops, where too many of the last trials were infeasible; or None."""
    if infeasible_streak(trials) < MAX_INFEASIBLE_IN_A_ROW:
        return None
    constraints = ", ".join(f"max_{name} = {limit:g}" for name, limit in limits.items())
    return f"none of the last {MAX_INFEASIBLE_IN_A_ROW} configurations kept the constraints {constraints}"
