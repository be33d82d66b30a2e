from __future__ import annotations

import dataclasses
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from optlstm.study.leases import LEASE_KEY, LEASE_S, Lease, Owner

NOW = 1_000_000.0
LATER = NOW + LEASE_S


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def owner_of(process: subprocess.Popen[bytes]) -> Owner:
    """As the process itself would write it."""
    ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
    return dataclasses.replace(Owner.current(), pid=process.pid, started=float(ticks), token="token")


def test_a_living_owners_lease_holds_until_it_expires() -> None:
    lease = Lease(Owner.current(), LATER)

    assert not lease.is_void(NOW)
    assert not lease.is_void(LATER - 0.01)
    assert lease.is_void(LATER)
    assert lease.is_void(LATER + 1)


def test_another_living_process_keeps_its_lease(sleeper: subprocess.Popen[bytes]) -> None:
    lease = Lease(owner_of(sleeper), LATER)

    assert not lease.is_void(NOW)
    assert lease.is_void(LATER)


def test_a_dead_process_holds_nothing(sleeper: subprocess.Popen[bytes]) -> None:
    lease = Lease(owner_of(sleeper), LATER)
    sleeper.kill()
    sleeper.wait()

    assert lease.is_void(NOW)


def test_a_zombie_is_dead(sleeper: subprocess.Popen[bytes]) -> None:
    lease = Lease(owner_of(sleeper), LATER)
    sleeper.kill()
    while psutil.Process(sleeper.pid).status() != psutil.STATUS_ZOMBIE:  # nobody has waited for it
        time.sleep(0.01)

    assert lease.is_void(NOW)


def test_a_process_that_got_a_dead_ones_id_is_not_the_owner() -> None:
    me = Owner.current()

    assert Lease(dataclasses.replace(me, started=me.started - 100), LATER).is_void(NOW)


ELSEWHERE = {
    "another host": {"host": "another-host"},
    "a PID namespace of this host": {"machine": Owner.current().machine.partition(" ")[0] + " pid:[1]"},
    "a machine of the same name": {"machine": "1c0ffee0-0000-4000-8000-000000000000 pid:[4026531836]"},
    "a system that does not say": {"machine": ""},
}


@pytest.mark.parametrize("owner", ELSEWHERE.values(), ids=ELSEWHERE)
@pytest.mark.parametrize("other", [{"pid": 2**22 + 1}, {"started": 1.0}], ids=["no such pid", "another's pid"])
def test_only_time_ends_a_lease_where_its_pid_means_nothing_here(owner: dict[str, Any], other: dict[str, Any]) -> None:
    lease = Lease(dataclasses.replace(Owner.current(), **owner, **other), LATER)

    assert not lease.is_void(NOW)
    assert lease.is_void(LATER)


def test_a_lease_of_an_older_version_holds_until_it_expires() -> None:
    stored = {
        "owner": {"host": socket.gethostname(), "pid": 2**22 + 1, "started": 1.7e9, "token": "t"},
        "expires": LATER,
    }
    lease = Lease.of({LEASE_KEY: stored})

    assert lease is not None
    assert not lease.is_void(NOW)
    assert lease.is_void(LATER)


def test_a_step_of_the_clock_ends_no_lease(sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    lease = Lease(owner_of(sleeper), LATER)
    # What the kernel says of its boot follows the clock, and with it the times of starts that are computed from it.
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: 1_000_000.0)

    assert not lease.is_void(NOW)


@pytest.mark.parametrize("stored", [None, 7, "lease", {}, {"owner": 1, "expires": 2}, {"owner": {"pid": "x"}}])
def test_what_is_no_lease_counts_as_none(stored: Any) -> None:
    assert Lease.of({LEASE_KEY: stored}) is None


def test_a_lease_is_stored_as_plain_data() -> None:
    lease = Lease(Owner.current(), LATER)

    assert Lease.of({LEASE_KEY: lease.stored(), "other": 1}) == lease
    assert Lease.of({"other": 1}) is None


def test_two_owners_in_one_process_are_told_apart() -> None:
    one, two = Owner.current(), Owner.current()

    assert one.token != two.token
    assert (one.host, one.pid, one.started) == (two.host, two.pid, two.started)
    assert str(one) == f"process {one.pid} on {one.host}"
