"""A worker process as its driver sees it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

from optlstm.backends.local.fork_server import ForkServer
from optlstm.backends.local.launch import launch
from optlstm.backends.trial import TRACEBACK_LINES, encode
from optlstm.study.events import Assignment

STACK_S = 1.0  # for a hung worker to write its stack
_KERNEL_COUNTERS = Path("/proc/vmstat")  # Linux 4.13 and later; kills within a container's limit are counted too


class WorkerProcess:
    """Runs `optlstm.backends.local.worker.work`, in a process that a server forks, or in a new one.

    Args:
        threads: Of its training.
        stack: Where it writes its stack on SIGUSR1; closed with it.
        data: The descriptor of its data.
        server: None: there is none.

    Attributes:
        ready: It has set up its task.
        assignment: The trial it runs.
        gpus: Those that it sees, as CUDA_VISIBLE_DEVICES names them; None: those that this process sees.
    """

    def __init__(self, threads: int, stack: IO[bytes], data: int, server: ForkServer | None = None) -> None:
        self.ready = False
        self.assignment: Assignment | None = None
        self.gpus: str | None = None
        self._told = time.monotonic()  # when it was last given something to do
        self._kernel_kills = kernel_kills()  # of any process, before its trial
        self._stack = stack
        ours, theirs = socket.socketpair()
        self.connection = Connection(ours.detach())
        with theirs:
            descriptors = [theirs.fileno(), stack.fileno(), data]
            arguments = [str(os.getpid()), *map(str, descriptors)]
            forked = server.fork(descriptors) if server else None
            self._process = forked or launch("work", threads, descriptors, arguments)

    def send(self, message: Any) -> None:
        self._told = time.monotonic()
        with contextlib.suppress(ConnectionError):  # it died: its end of the pipe will say so
            self.connection.send(message)

    def run(self, assignment: Assignment) -> None:
        self.assignment, self._kernel_kills = assignment, kernel_kills()
        self.send(("trial", encode(assignment)))

    @property
    def silent_s(self) -> float:
        """Seconds since it was given something to do, 0 where it has answered."""
        return 0.0 if self.connection.poll() else time.monotonic() - self._told

    def stack(self) -> str:
        """Where it stands, written by its faulthandler, which needs neither its cooperation nor its interpreter."""
        self._process.send_signal(signal.SIGUSR1)
        deadline, written = time.monotonic() + STACK_S, b""
        while not written.endswith(b"\n") and time.monotonic() < deadline:
            time.sleep(0.02)
            self._stack.seek(0)
            written = self._stack.read()
        return "\n".join(written.decode(errors="replace").strip().splitlines()[:TRACEBACK_LINES])

    def kill(self) -> None:
        self._process.kill()

    def died(self) -> int:
        """Its exit status, waited for; below 0 the signal that killed it."""
        status = self._process.wait()
        self.connection.close()
        self._stack.close()
        return status

    def out_of_memory(self, status: int) -> bool:
        """Whether it was the kernel that killed it."""
        return status == -signal.SIGKILL and kernel_kills() > self._kernel_kills

    def end(self) -> None:
        """Have it end: an idle worker does when its connection closes, a busy one is told to."""
        self.connection.close()
        if self.assignment is not None:
            self._process.terminate()

    def wait(self, seconds: float) -> None:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stack.close()


def kernel_kills() -> int:
    """Processes of this machine that the kernel has killed for want of memory, 0 where it does not say."""
    try:
        lines = _KERNEL_COUNTERS.read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def how_it_died(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
