"""What the ledger hands to workers, and what its listeners hear: the display, trackers, artifacts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Assignment:
    """A trial for a worker: everything it needs to train, and nothing of the study."""

    number: int
    params: Mapping[str, Any]
    last_epoch: int  # the last epoch the study already has; 0 for a new trial
    from_epoch: int = 0  # PBT: the trial starts from another's weights, as they were after this epoch


@dataclass(frozen=True)
class TrialStarted:
    """A trial was handed to a worker; `last_epoch` > 0 means that it is resumed."""

    number: int
    params: Mapping[str, Any]
    last_epoch: int


@dataclass(frozen=True)
class EpochReported:
    number: int
    epoch: int
    value: float


@dataclass(frozen=True)
class TrialFinished:
    """`state` is COMPLETE, PRUNED or FAIL; `reason` says why for the last two."""

    number: int
    state: str
    value: float | None
    reason: str | None


Event = TrialStarted | EpochReported | TrialFinished
Listener = Callable[[Event], None]
