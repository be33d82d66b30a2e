"""What a worker is given. A module of its own: to unpickle it a Ray worker need not import the driver's ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Job:
    """What any worker needs to run trials; it is pickled from one of our processes to another.

    Args:
        make_objective: Called once per worker with `data`; gives the objective. Must pickle (no lambda, no closure).
        data: Given to every worker without a copy of its arrays where the backend can.
        threads: Threads of one worker.
        trial_timeout: Seconds without a report after which a trial has hung; None: never.
    """

    make_objective: Callable[[Any], Callable[[Any], Any]]
    data: Any
    threads: int = 1
    trial_timeout: float | None = None
