"""The driver's side of a run, the same on every backend: what a report or an ended trial means for the study."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from optlstm.backends.trial import Outcome, Verdict
from optlstm.study.events import Assignment
from optlstm.study.ledger import LeaseLost, Ledger

MOST_RESTARTS = 3  # of one trial whose worker died under it


class Run:
    """One `study` command: the ledger, how many trials in all, and when to stop.

    Args:
        total: The study's trials, those that exist included.
        timeout: Seconds after which running trials stop after their epoch, to be continued another time.
        finish: Called after the last trial with what gives the objective, or what asks the workers for its `plot_data`:
            they have the data and torch, and this process may have neither.
    """

    def __init__(
        self,
        ledger: Ledger,
        total: int,
        timeout: float | None = None,
        finish: Callable[[Callable[[], Any]], None] = lambda _: None,
    ) -> None:
        self.ledger = ledger
        self.total = total
        self.finish = finish
        self.stop_reason: str | None = None
        self.broken: str | None = None
        self._deadline = time.monotonic() + timeout if timeout is not None else None

    def stop(self, reason: str) -> None:
        """Start nothing new, and let running trials stop after their epoch. May be called from a signal handler."""
        self.stop_reason = self.stop_reason or reason

    def give_up(self, reason: str) -> None:
        """The task cannot be set up, or nothing can be written: no trial is to blame, and none can run."""
        self.broken = self.broken or reason
        self.stop("broken")

    @property
    def stopping(self) -> bool:
        if self._deadline is not None and time.monotonic() > self._deadline:
            self.stop("timeout")
        return self.stop_reason is not None

    def next(self) -> Assignment | None:
        return None if self.stopping else self.ledger.assign(self.total)

    def report(self, number: int, epoch: int, value: float, decide: Callable[[], bool] | None = None) -> Verdict:
        """Write down an epoch. `decide` replaces the study's pruner where a scheduler of Ray's does its work."""
        try:
            over = self.ledger.report(number, epoch, value, decide)
        except LeaseLost:
            return Verdict.OVER
        if over:
            return Verdict.OVER
        return Verdict.STOP if self.stopping or self.ledger.pauses(number, epoch) else Verdict.GO_ON

    def settle(self, number: int, outcome: Outcome) -> None:
        """Write down how a trial ended; a trial that was pruned is already written, an interrupted one is released."""
        with contextlib.suppress(LeaseLost):
            if outcome.value is not None:
                self.ledger.complete(number, outcome.value, outcome.attrs)
            elif outcome.diverged:
                self.ledger.diverge(number, outcome.failure or "its loss is not finite")
            elif outcome.halt is not None:
                self.ledger.release(number)
                self.give_up(outcome.halt)
            elif outcome.failure is not None:
                self.ledger.fail(number, outcome.failure, outcome.attrs)
            else:
                self.ledger.release(number)
