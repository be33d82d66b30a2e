"""The family tree of a PBT study: who was copied from whom, and which schedule of hyperparameters led to a trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optlstm.errors import InputError

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Segment:
    """Epochs of a schedule that were trained with the same params, under the seed of one trial."""

    trial: int
    first: int
    last: int
    params: Mapping[str, Any]


def reached_epoch(trial: FrozenTrial) -> int:
    """The epoch that a trial's weights have reached."""
    return trial.last_step or int(trial.user_attrs.get("from_epoch", 0))


def schedule(trials: Sequence[FrozenTrial], number: int) -> list[Segment]:
    """The segments that led to a trial's weights, from the first epoch on.

    Raises:
        InputError: There is no such trial, or it has trained no epoch.
    """
    if not 0 <= number < len(trials):
        raise InputError(f"trial {number} is not in this study (trials: 0 to {len(trials) - 1})")
    last, segments = trials[number].last_step, []
    if last is None:
        raise InputError(f"trial {number} has trained no epoch")
    while True:
        trial = trials[number]
        first = trial.user_attrs.get("from_epoch", 0) + 1
        if last >= first:  # a donor may have been copied at the very epoch it began with
            segments.append(Segment(number, first, last, dict(trial.params)))
        if "parent" not in trial.user_attrs:
            return segments[::-1]
        number, last = trial.user_attrs["parent"], trial.user_attrs["from_epoch"]


def members(trials: Sequence[FrozenTrial]) -> dict[int, list[FrozenTrial]]:
    """Each member's trials, in the order they took each other's place."""
    by_member: dict[int, list[FrozenTrial]] = {}
    for trial in trials:
        if "member" in trial.user_attrs:
            by_member.setdefault(trial.user_attrs["member"], []).append(trial)
    return dict(sorted(by_member.items()))


def children(trials: Sequence[FrozenTrial]) -> dict[int | None, list[FrozenTrial]]:
    """Each trial's copies; under None the first generation."""
    copies: dict[int | None, list[FrozenTrial]] = {}
    for trial in trials:
        if "member" in trial.user_attrs:
            copies.setdefault(trial.user_attrs.get("parent"), []).append(trial)
    return copies
