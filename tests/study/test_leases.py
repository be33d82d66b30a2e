from __future__ import annotations

import dataclasses
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

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
    return Owner(socket.gethostname(), process.pid, psutil.Process(process.pid).create_time(), "token")


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


def test_another_hosts_lease_holds_until_it_expires() -> None:
    lease = Lease(Owner("another-host", 2**22 + 1, 0.0, "token"), LATER)

    assert not lease.is_void(NOW)
    assert lease.is_void(LATER)


def test_a_lease_is_stored_as_plain_data() -> None:
    lease = Lease(Owner.current(), LATER)

    assert Lease.of({LEASE_KEY: lease.stored(), "other": 1}) == lease
    assert Lease.of({"other": 1}) is None


def test_two_owners_in_one_process_are_told_apart() -> None:
    one, two = Owner.current(), Owner.current()

    assert one.token != two.token
    assert (one.host, one.pid, one.started) == (two.host, two.pid, two.started)
    assert str(one) == f"process {one.pid} on {one.host}"
