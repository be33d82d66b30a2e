"""The leases of this process: which running trials are ours, and that they stay ours until they end."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial

from optlstm.errors import StorageError
from optlstm.study.database import optuna_tables
from optlstm.study.database.cached_storage import CachedStorage
from optlstm.study.database.connection import Database
from optlstm.study.database.lease import LEASE_KEY, LEASE_S, Lease, Owner

logger = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Another process has taken this trial over (ours was silent for too long): drop it."""


class Leases:
    """Part of the ledger. `is_free`, `check` and `write` are called inside its transactions, the others outside."""

    def __init__(self, database: Database, storage: CachedStorage) -> None:
        self._database, self._storage = database, storage
        self._owner = Owner.current()
        self._mine: dict[int, int] = {}  # trials that this process runs: number, id

    def is_free(self, trial: FrozenTrial) -> bool:
        """Whether a running trial may be taken: its lease has run out or was given back, or its owner has died."""
        lease = Lease.of(self._storage.get_trial_system_attrs(trial._trial_id))
        if lease is None or trial.number in self._mine:
            return False
        # Ours, and yet not known to be: the answer to the commit that gave it to us was lost.
        return lease.is_void(self._database.now()) or lease.owner.token == self._owner.token

    def check(self, number: int, trial_id: int) -> None:
        """Raises LeaseLost where the database, whatever memory holds, says that the trial has ended or is another's."""
        state, stored = optuna_tables.state_and_attr(self._database.connection, trial_id, LEASE_KEY)
        lease = Lease.of({LEASE_KEY: stored})
        if state.is_finished() or lease is None or lease.owner.token != self._owner.token:
            self.drop(number)
            how = "was ended" if state.is_finished() else "was taken over"
            raise LeaseLost(f"trial {number} {how} by {lease.owner if lease else 'another program'}")

    def write(self, trial_id: int, seconds: float = LEASE_S) -> None:
        """Make a trial ours for some seconds; for none, it is free."""
        lease = Lease(self._owner, self._database.now() + seconds if seconds else 0.0)
        with contextlib.suppress(UpdateFinishedTrialError):
            self._storage.set_trial_system_attr(trial_id, LEASE_KEY, lease.stored())

    def keep(self, number: int, trial_id: int) -> None:
        """The trial is ours, and its lease is renewed from now on."""
        self._mine[number] = trial_id

    def drop(self, number: int) -> None:
        """The trial has ended, or is another's."""
        self._mine.pop(number, None)

    def release(self, number: int) -> None:
        """Give a trial back unfinished."""
        with self._storage.lock:
            if number in self._mine:
                self._renew(number, seconds=0.0)
                self.drop(number)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Renew leases in another thread; what is still ours at the end is released."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(LEASE_S / 4):
                with _logged(logging.WARNING, "could not renew leases"):  # the next report will raise the same error
                    self._renew_all()

        thread = threading.Thread(target=renew, name="optlstm-leases", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            with _logged(logging.DEBUG, "could not release trials"):  # they are free when their leases run out
                for number in sorted(self._mine):
                    self.release(number)

    def _renew_all(self) -> None:
        with self._storage.lock:
            self._storage.retry(self._database.read_clock)
            for number in sorted(self._mine):
                self._renew(number)

    def _renew(self, number: int, seconds: float = LEASE_S) -> None:
        trial_id = self._mine[number]

        def renew() -> None:
            self.check(number, trial_id)
            self.write(trial_id, seconds)

        with contextlib.suppress(LeaseLost):
            self._storage.transact(renew)


@contextlib.contextmanager
def _logged(level: int, what_failed: str) -> Iterator[None]:
    try:
        yield
    except StorageError as error:
        logger.log(level, "%s: %s", what_failed, error)
