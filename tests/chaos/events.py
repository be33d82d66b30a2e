"""What happens to the drivers of a round: a table of events, each a small function of the round."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from tests.chaos.driver import LEASE_S, Driver, step_clock
from tests.nodes import Nodes, kill_node
from tests.study.helpers import start_again

if TYPE_CHECKING:
    from tests.chaos.round import Round

MAX_KILLED_WORKERS = 3  # under one driver: one more, and a trial may fail
FULL_S = 2.0
STEPS_S = (-3600.0, -2 * LEASE_S, 2 * LEASE_S, 3600.0)
OUTAGES_S = (0.0, 3.0, 15.0)  # of a server; the last is longer than `storage_timeout`
STORAGE_TIMEOUT_S = 8.0


def _kill_driver(round_: Round, driver: Driver) -> None:
    driver.expected.add(-signal.SIGKILL)
    driver.send(signal.SIGKILL)


def _kill_worker(round_: Round, driver: Driver) -> None:
    if driver.killed_workers < MAX_KILLED_WORKERS and (workers := driver.workers):
        driver.killed_workers += 1
        with suppress(psutil.NoSuchProcess):
            round_.draw.choice(workers).kill()


def _interrupt(round_: Round, driver: Driver) -> None:
    """Ctrl-C reaches all processes of a terminal."""
    driver.expected.add(130)
    driver.send(signal.SIGINT, to_all=round_.draw.random() < 0.5)


def _interrupt_twice(round_: Round, driver: Driver) -> None:
    driver.expected.add(130)
    driver.send(signal.SIGINT)
    round_.later(round_.draw.random(), lambda: driver.send(signal.SIGINT))


def _terminate(round_: Round, driver: Driver) -> None:
    driver.expected |= {143, -signal.SIGTERM}  # the latter before it has handlers
    driver.send(signal.SIGTERM)


def _stop(round_: Round, driver: Driver) -> None:
    """Stopped for longer than its lease, with its workers or without, and continued."""
    stopped = driver.family if round_.draw.random() < 0.5 else driver.family[:1]
    _signal_all(stopped, signal.SIGSTOP)
    round_.later(LEASE_S * round_.draw.uniform(1.2, 2.5), lambda: _signal_all(stopped, signal.SIGCONT))


def _stop_worker(round_: Round, driver: Driver) -> None:
    stopped = driver.workers[:1]
    _signal_all(stopped, signal.SIGSTOP)
    round_.later(LEASE_S * round_.draw.uniform(0.5, 1.5), lambda: _signal_all(stopped, signal.SIGCONT))


def _signal_all(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _step_clock(round_: Round, driver: Driver) -> None:
    """For all drivers of the machine."""
    round_.clock += round_.draw.choice(STEPS_S)
    step_clock(round_.folder, round_.clock)


def _fill_disk(round_: Round, driver: Driver) -> None:
    """Of the checkpoints, and of the database where that is a file."""
    processes = [process.pid for other in round_.alive for process in other.family]
    round_.disk.fill(*processes)
    round_.outage(FULL_S, lambda: round_.disk.empty(*processes))


def _stop_server(round_: Round, driver: Driver) -> None:
    server = round_.server
    assert server is not None
    server.stop()
    round_.outage(round_.draw.choice(OUTAGES_S), lambda: start_again(server))


def _kill_ray(round_: Round, driver: Driver) -> None:
    if processes := driver.ray:
        driver.expected.add(1)
        _signal_all([round_.draw.choice(processes)], signal.SIGKILL)


def _remove_node(round_: Round, driver: Driver) -> None:
    """A machine that is switched off; later another takes its place."""
    cluster = round_.cluster
    assert cluster is not None
    nodes = [node for node in cluster.started[1:] if node.poll() is None]
    if nodes:
        kill_node(round_.draw.choice(nodes))

    def join() -> None:
        try:
            add_node(cluster)
        except AssertionError:  # it did not come up
            round_.later(5.0, join)

    round_.outage(round_.draw.uniform(1.0, 10.0), join)


def add_node(cluster: Nodes) -> None:
    cluster.add(f"node-{len(cluster.started)}")


@dataclass(frozen=True)
class Event:
    """act: Called with a driver that is alive and has begun.

    Args:
        weight: How often it happens, beside the others.
        needs: What the round must have: an attribute that is not None.
    """

    act: Callable[[Round, Driver], None]
    weight: int
    needs: str = ""


EVENTS = {
    "kill a driver": Event(_kill_driver, 6),
    "kill a worker": Event(_kill_worker, 4),
    "Ctrl-C": Event(_interrupt, 2),
    "Ctrl-C twice": Event(_interrupt_twice, 1),
    "SIGTERM": Event(_terminate, 2),
    "stop a driver": Event(_stop, 3),
    "stop a worker": Event(_stop_worker, 1),
    "step the clock": Event(_step_clock, 2),
    "fill the disk": Event(_fill_disk, 2, needs="disk"),
    "stop the server": Event(_stop_server, 2, needs="server"),
    "kill Ray": Event(_kill_ray, 2, needs="own_ray"),
    "remove a node": Event(_remove_node, 3, needs="cluster"),
}
