"""Leases: whose a running trial is.

Optuna's heartbeats beat only inside `study.optimize`, and a RUNNING trial that never beat is never noticed. A lease is
written with the trial itself: its owner, and until when it holds by the database's clock. The owner renews it; a trial
whose lease ran out, or whose owner was a process of this machine that is gone, may be continued by anyone.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import psutil

LEASE_S = 60.0
LEASE_KEY = "optlstm:lease"


@dataclass(frozen=True)
class Owner:
    """A process: host and pid are reused by the system, its start time and token are not."""

    host: str
    pid: int
    started: float
    token: str

    @classmethod
    def current(cls) -> Owner:
        process = psutil.Process()
        return cls(socket.gethostname(), os.getpid(), process.create_time(), uuid.uuid4().hex)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@dataclass(frozen=True)
class Lease:
    owner: Owner
    expires: float  # seconds since the epoch, database's clock

    @classmethod
    def of(cls, system_attrs: Mapping[str, Any]) -> Lease | None:
        stored = system_attrs.get(LEASE_KEY)
        return None if stored is None else cls(Owner(**stored["owner"]), stored["expires"])

    def stored(self) -> dict[str, Any]:
        return {"owner": asdict(self.owner), "expires": self.expires}

    def is_void(self, now: float) -> bool:
        return self.expires <= now or _is_gone(self.owner)


def _is_gone(owner: Owner) -> bool:
    if owner.host != socket.gethostname():
        return False  # only its lease can tell
    try:
        process = psutil.Process(owner.pid)
        # A zombie has died; only its parent has not looked yet.
        return abs(process.create_time() - owner.started) > 1.0 or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False
