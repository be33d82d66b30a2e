"""The driver's side of a run, the same on every backend: what a report or an ended trial means for the study."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from optlstm.backends.trial import (
    Blocked,
    Completed,
    Decision,
    Diverged,
    Failed,
    Interrupted,
    Outcome,
    Pruned,
    Suggested,
    decode,
    encode,
)
from optlstm.errors import OptlstmError
from optlstm.study.events import Assignment
from optlstm.study.leases import LeaseLost
from optlstm.study.ledger import Ledger

MAX_RESTARTS = 3  # of one trial whose worker died under it


class Deadline:
    """When running trials stop after their epoch, and no other begins."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._ends - time.monotonic())

    @property
    def passed(self) -> bool:
        return time.monotonic() > self._ends

    @property
    def allows_trial(self) -> bool:
        """Whether another trial may begin."""
        return not self.passed


class Run:
    """One `study` command: the ledger, how many trials in all, and when to stop.

    Args:
        total: The study's trials, those that exist included.
        timeout: Seconds after which running trials stop after their epoch, to be resumed another time; those that have
            all their epochs are complete.
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
        self._blocked: str | None = None
        self.cluster = ""  # the nodes of a cluster and its places, in words, for a display
        self.announce: Callable[[str], None] = lambda _: None  # what a user should know while trials run
        self.deadline = Deadline(timeout) if timeout is not None else None

    @contextlib.contextmanager
    def under_way(self) -> Iterator[None]:
        """While trials run. Raises OptlstmError at the end where none can run."""
        with self.ledger.held():
            yield
        if self._blocked:
            raise OptlstmError(self._blocked)

    def stop(self, reason: str) -> None:
        """Start nothing new, and let running trials stop after their epoch. May be called from a signal handler."""
        self.stop_reason = self.stop_reason or reason

    def block(self, reason: str) -> None:
        """As `stop`, where no trial can go on, and none is to blame."""
        self._blocked = self._blocked or reason
        self.stop("blocked")

    @property
    def stopping(self) -> bool:
        if self.deadline is not None and self.deadline.passed:
            self.stop("timeout")
        return self.stop_reason is not None

    def next(self) -> Assignment | None:
        if self.stopping or not (self.deadline is None or self.deadline.allows_trial):
            return None
        return self.ledger.assign(self.total)

    def report(
        self, number: int, epoch: int, value: float, decide: Callable[[], bool] | None = None, node: str | None = None
    ) -> Decision:
        """Write down an epoch.

        Args:
            decide: Replaces the study's pruner where Ray's scheduler decides.
            node: Of a cluster, on which it was trained.
        """
        try:
            ended = self.ledger.report(number, epoch, value, decide, node)
        except LeaseLost:
            return Decision.END
        if ended:
            return Decision.END
        if self.ledger.pauses(number, epoch):
            return Decision.PAUSE
        return Decision.PAUSE if self.stopping and not self.ledger.is_last(number, epoch) else Decision.CONTINUE

    def suggest(self, number: int, param: str) -> str:
        """The value of a param that a running trial asks for: an encoded `Suggested` of an encoded `Param`."""
        try:
            answer = Suggested(self.ledger.suggest(number, decode(param)))
        except LeaseLost:
            answer = Suggested(ended=True)
        except (TypeError, ValueError) as error:  # Optuna's, of a range or choices that cannot be
            answer = Suggested(problem=str(error))
        return encode(answer)

    def record_outcome(self, number: int, outcome: Outcome) -> None:
        """Write down how a trial left its worker; nothing where another process has it now."""
        with contextlib.suppress(LeaseLost):
            match outcome:
                case Completed(value, attrs):
                    self.ledger.complete(number, value, attrs)
                case Pruned():
                    self.ledger.prune(number)
                case Diverged(reason):
                    self.ledger.diverge(number, reason)
                case Failed(reason):
                    self.ledger.fail(number, reason, outcome.attrs)
                case Interrupted():
                    self.ledger.release(number)
                case Blocked(reason):
                    self.ledger.release(number)
                    self.block(reason)
