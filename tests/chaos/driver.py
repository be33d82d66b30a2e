"""A `study` command in a process of its own, in a world with short leases and a clock that can be stepped."""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from optlstm.study import leases
from optlstm.study.database.connection import Database
from tests.study.processes import CONTEXT, command

LEASE_S = 3.0
MARK = "OPTLSTM_CHAOS"  # in the environment of all that a driver starts
CLOCK = "clock"  # a file with the seconds by which the clock was stepped
WORKERS = ("optlstm.backends.local.worker", "ray::")  # in the command line of a worker, by backend
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")  # which a node dies with
RAY = ("raylet", "gcs_server", *AGENTS)  # names of processes


def run_command(folder: Path, environment: dict[str, str], arguments: tuple[str, ...], log: str) -> None:
    """`python -m optlstm ...`; what it prints goes into the file `log`."""
    os.setsid()
    os.environ.update(environment)
    tempfile.tempdir = None
    _shorten_leases()
    _follow_clock(folder / CLOCK)
    command(folder, arguments, log)


def _shorten_leases() -> None:
    for function in vars(leases.Leases).values():
        defaults = getattr(function, "__defaults__", None) or ()
        if leases.LEASE_S in defaults:
            function.__defaults__ = tuple(LEASE_S if value == leases.LEASE_S else value for value in defaults)
    leases.LEASE_S = LEASE_S


def _follow_clock(path: Path) -> None:
    """The database's clock and Python's; start times of processes move where this one began after a step."""
    with path.open("r+b") as file:
        shared = mmap.mmap(file.fileno(), 8)
    now, read_clock, create_time = time.time, Database.read_clock, psutil.Process.create_time

    def shift() -> float:
        return float(struct.unpack("d", shared[:])[0])

    def stepped_clock(database: Database) -> None:
        read_clock(database)
        database._clock_offset += shift()

    since_start = shift()
    time.time = lambda: now() + shift()
    Database.read_clock = stepped_clock  # type: ignore[method-assign]
    psutil.Process.create_time = lambda process: create_time(process) + since_start  # type: ignore[method-assign]


def step_clock(folder: Path, seconds: float) -> None:
    path = folder / CLOCK
    path.touch()
    with path.open("r+b") as file:  # not truncated: drivers have it in their memory
        file.write(struct.pack("d", seconds))


class Driver:
    """A driver's process as those see it who attack it.

    Attributes:
        expected: Exit codes that what was done to it may lead to.
        killed_workers: A trial fails whose workers died four times under one driver.
    """

    def __init__(self, folder: Path, environment: dict[str, str], arguments: tuple[str, ...], log: str) -> None:
        self.log = folder / log
        self.expected = {0}
        self.killed_workers = 0
        self.process = CONTEXT.Process(target=run_command, args=(folder, environment, arguments, log), daemon=True)
        self.process.start()

    @property
    def has_begun(self) -> bool:
        """Signals reach the command, not the machinery that starts it."""
        return self.log.exists()

    @property
    def is_alive(self) -> bool:
        return self.process.is_alive()

    @property
    def exit_code(self) -> int | None:
        return self.process.exitcode

    @property
    def family(self) -> list[psutil.Process]:
        """It, and all that it has started."""
        try:
            process = psutil.Process(self.process.pid)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    @property
    def workers(self) -> list[psutil.Process]:
        family = [process for process in self.family[1:] if _is_worker(process)]
        servers = {_parent(process) for process in family}  # of local workers, whose command lines are that of theirs
        return [process for process in family if process.pid not in servers]

    @property
    def ray(self) -> list[psutil.Process]:
        """Of a Ray of its own: all without which that is dead."""
        return [process for process in self.family[1:] if _name(process) in RAY]

    def send(self, number: int, *, to_all: bool = False) -> None:
        for process in self.family if to_all else self.family[:1]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)


def _is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        command = " ".join(process.cmdline())
        return any(part in command for part in WORKERS) and not command.startswith(AGENTS)
    return False


def _parent(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess):
        return process.ppid()
    return 0


def _name(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return process.name()
    return ""


def marked(mark: str) -> Iterator[psutil.Process]:
    """All processes that drivers of this mark have started, and what those have."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
                yield process
