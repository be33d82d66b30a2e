"""A process that has imported what workers need, and forks them: torch is imported once, and before it is needed.

Its messages are datagrams of a socket pair, each answered by one: `fork`, with the worker's descriptors, by its pid;
and `wait PID SECONDS` by its exit status, or that it runs. A worker that has ended stays a zombie until it is waited
for, so that its pid is no other process's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

from optlstm.backends.local.launch import launch

FORKS = sys.platform == "linux"  # elsewhere a fork of what has loaded torch is not safe
MESSAGE_BYTES = 64
RUNS = b"runs"
FOREVER_S = 1e9


class ForkServer:
    """The driver's side of `optlstm.backends.local.worker.serve`. Ended by `close`, or with the driver.

    Args:
        threads: Of a worker's training.
        modules: What it imports. A worker imports what is missing itself.
    """

    def __init__(self, threads: int, modules: Sequence[str] = ()) -> None:
        self.threads = threads
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = launch("serve", threads, [theirs.fileno()], [str(theirs.fileno()), *modules])

    def fork(self, descriptors: Sequence[int]) -> ForkedProcess | None:
        """A new worker that has these files; None where the server is dead or cannot fork."""
        with contextlib.suppress(OSError):
            socket.send_fds(self._control, [b"fork"], descriptors)
            if pid := self._control.recv(MESSAGE_BYTES):
                return ForkedProcess(self, int(pid))
        return None

    def wait(self, pid: int, seconds: float) -> int | None:
        """The exit status of a worker, as `subprocess` has it; None where it still runs.

        Raises:
            ConnectionError: The server is dead, and with it all of its workers.
        """
        self._control.send(b"wait %d %f" % (pid, seconds))
        answer = self._control.recv(MESSAGE_BYTES)
        if not answer:
            raise ConnectionError
        return None if answer == RUNS else int(answer)

    def close(self) -> None:
        """End it, and any worker that it still has. May be called again."""
        self._control.close()
        self._process.kill()
        self._process.wait()


class ForkedProcess:
    """A worker of a server, with the methods of `subprocess.Popen` that its driver uses."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # its server is dead
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            try:
                self.returncode = self._server.wait(self.pid, FOREVER_S if timeout is None else timeout)
            except OSError:  # killed with its server: not for the memory that its trial takes
                self.returncode = -signal.SIGTERM
        if self.returncode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return self.returncode
