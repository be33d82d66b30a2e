"""Leases: which process runs a trial, and until when.

Optuna's heartbeats beat only inside `study.optimize`, and a RUNNING trial that never beat is never noticed. A lease is
written with the trial itself: its owner, and until when it holds by the database's clock. The owner renews it; a trial
whose lease ran out, or whose owner was a process of this machine that is gone, may be continued by any process.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import threading
import uuid
from collections.abc import Iterator, Mapping, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from optlstm.errors import StorageError
from optlstm.study.database import statements
from optlstm.study.database.cached_storage import CachedStorage
from optlstm.study.database.connection import Database

logger = logging.getLogger(__name__)

LEASE_S = 60.0
LEASE_KEY = "optlstm:lease"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Owner:
    """A process. Host and pid are reused, by the system and by containers; its machine, start and token are not.

    Args:
        started: In ticks since the machine's boot, which no step of its clock changes.
        machine: The boot of a kernel and the PID namespace in it: only there the pid means anything. Empty where the
            system does not say, and in leases of older versions: only their time decides.
    """

    host: str
    pid: int
    started: float
    token: str
    machine: str = ""

    @classmethod
    def current(cls) -> Owner:
        pid = os.getpid()
        return cls(socket.gethostname(), pid, _start_of(pid) or 0.0, uuid.uuid4().hex, _this_machine())

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def is_gone(self) -> bool:
        """Whether it has surely ended; False where this process cannot know."""
        if not self.machine or (self.host, self.machine) != (socket.gethostname(), _this_machine()):
            return False
        try:
            os.kill(self.pid, 0)  # no signal: it only asks
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            pass  # there, and not ours to ask
        # A zombie has died; only its parent has not looked yet.
        return _start_of(self.pid) not in (self.started, None)


def _this_machine() -> str:
    """Empty where there is no Linux /proc, or it is that of another PID namespace."""
    try:
        if os.readlink("/proc/self") != str(os.getpid()):
            return ""
        boot = _BOOT_ID.read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _start_of(pid: int) -> float | None:
    """When a process was started, in ticks since boot; infinity for a zombie, None where it cannot be read."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    state, *fields = stat.rpartition(b")")[2].split()  # proc(5): the name before may hold anything
    return math.inf if state in (b"Z", b"X") else float(fields[18])


@dataclass(frozen=True)
class Lease:
    """Times are seconds since the epoch, by the database's clock.

    Args:
        expires: 0: it was given back.
        released: When; 0: it was not, or by an older version.
    """

    owner: Owner
    expires: float
    released: float = 0.0

    @classmethod
    def of(cls, system_attrs: Mapping[str, Any]) -> Lease | None:
        """None where there is none, or what stands there is no lease."""
        try:
            stored = system_attrs[LEASE_KEY]
            owner, machine = stored["owner"], stored["owner"].get("machine", "")
            return cls(
                Owner(
                    str(owner["host"]), int(owner["pid"]), float(owner["started"]), str(owner["token"]), str(machine)
                ),
                float(stored["expires"]),
                float(stored.get("released", 0.0)),
            )
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
            return None

    def stored(self) -> dict[str, Any]:
        released = {"released": self.released} if self.released else {}
        return {"owner": asdict(self.owner), "expires": self.expires, **released}

    @property
    def last_held(self) -> float | None:
        """When its owner was last known to be at work; None: nothing says."""
        return self.released or (self.expires - LEASE_S if self.expires else None)

    def is_void(self, now: float) -> bool:
        return not self.expires > now or self.owner.is_gone


class LeaseLost(Exception):
    """Another process has taken this trial over (ours was silent for too long): drop it."""


class Leases:
    """Part of the ledger. `is_free`, `ours`, `check`, `write` are called in its transactions, the others outside."""

    def __init__(self, database: Database, storage: CachedStorage) -> None:
        self._database, self._storage = database, storage
        self._owner = Owner.current()
        self._mine: dict[int, int] = {}  # trials that this process runs: number, id

    def is_free(self, trial: FrozenTrial) -> bool:
        """Whether a running trial may be taken: its lease has run out or was given back, or its owner has died."""
        if trial.number in self._mine:
            return False
        lease = Lease.of(self._storage.get_trial_system_attrs(trial._trial_id))
        if lease is None:
            return False
        # Ours, and yet not known to be: the answer to the commit that gave it to us was lost.
        return lease.is_void(self._database.now()) or self._is_ours(lease)

    def ours(self) -> Set[int]:
        """The ids of the trials that this process runs, by the database too: nobody else writes to them."""
        mine, connection = set(self._mine.values()), self._database.connection
        return mine and mine & statements.running_with(connection, min(mine), LEASE_KEY, self._owner.token)

    def check(self, number: int, trial_id: int) -> None:
        """Raises LeaseLost where the database, whatever memory holds, says that the trial has ended or is another's."""
        state, stored = statements.state_and_attr(self._database.connection, trial_id, LEASE_KEY)
        lease = Lease.of({LEASE_KEY: stored})
        if state.is_finished() or not self._is_ours(lease):
            self._lose(number, lease, "was ended" if state.is_finished() else "was taken over")

    def check_ended(self, trial: FrozenTrial, state: TrialState) -> None:
        """Raises LeaseLost where a trial, which has ended in memory too, has another state or was another's."""
        lease = Lease.of(trial.system_attrs)
        if trial.state != state or not self._is_ours(lease):
            self._lose(trial.number, lease, "was ended")

    def _is_ours(self, lease: Lease | None) -> bool:
        return lease is not None and lease.owner.token == self._owner.token

    def _lose(self, number: int, lease: Lease | None, how: str) -> NoReturn:
        self.drop(number)
        raise LeaseLost(f"trial {number} {how} by {lease.owner if lease else 'another program'}")

    def write(self, trial_id: int, seconds: float = LEASE_S) -> None:
        """Make a trial ours for some seconds; for none, it is free."""
        now = self._database.now()
        lease = Lease(self._owner, now + seconds) if seconds else Lease(self._owner, 0.0, released=now)
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
