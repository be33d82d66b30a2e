"""A worker process, and the server that forks it. It trains; the study is the driver's."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import faulthandler
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from optlstm.backends.local import gpus
from optlstm.backends.local.fork_server import MESSAGE_BYTES, RUNS
from optlstm.backends.trial import Decision, decode, encode, run_trial, setup_failure
from optlstm.errors import OptlstmError, named

PR_SET_PDEATHSIG = 1  # prctl's, from Linux's sys/prctl.h
WORKER_DESCRIPTORS = 3  # its connection, and the files of its stack and of its data
POLL_S = 0.01


def end_with(parent: int) -> None:
    """End this process when its driver does: a trial that is continued elsewhere must not have two writers."""

    def watch() -> None:
        _killed_with_parent()  # of this thread, which is never gone before its process
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _killed_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main(parent: int, fd: int, stack: int, data: int) -> None:
    """Train for a driver.

    Args:
        parent: The process that this one ends with.
        fd: The connection to the driver.
        stack: The file that takes the stack.
        data: The file of the shared data.
    """
    faulthandler.register(signal.SIGUSR1, file=stack, all_threads=False)  # should a trial hang, the driver asks where
    end_with(parent)
    driver = Connection(fd)
    gc.disable()  # a seventh of torch's import is looking for garbage among what it makes, which is none
    try:
        make_objective, shared, visible = driver.recv()
        if visible is not None:
            os.environ[gpus.VARIABLE] = visible  # CUDA reads it when it is first used
        objective = make_objective(shared.read(data))
    except Exception as error:
        driver.send(("setup failed", setup_failure(error)))
        return
    gc.freeze()
    gc.enable()
    driver.send(("ready",))

    def report(epoch: int, value: float) -> Decision:
        driver.send(("report", epoch, value))
        decision: Decision = driver.recv()
        return decision

    def suggest(param: str) -> str:
        driver.send(("suggest", param))
        answer: str = driver.recv()
        return answer

    def say(*numbers: Any) -> None:
        driver.send(("report", *numbers))

    while True:
        match driver.recv():
            case ("trial", text):
                outcome = encode(run_trial(objective, decode(text), report, suggest))
                driver.send(("outcome", outcome, gpus.memory_share()))
            case ("plot_data", number):
                driver.send(answer(lambda: objective.plot_data(number)))
            case ("call", function, arguments):
                driver.send(answer(lambda: function(*arguments)))
            case ("call with objective", function, arguments):
                driver.send(("returned", *answer(lambda: function(objective, *arguments, say))))


def answer(call: Callable[[], Any]) -> tuple[Any, str]:
    """What it returns, or why it does not."""
    try:
        return call(), ""
    except OptlstmError as error:
        return None, str(error)
    except Exception as error:
        return None, named(error)


def work(arguments: Sequence[int] | None = None) -> None:
    """Train for the driver that the command line names."""
    with contextlib.suppress(EOFError, ConnectionError):  # the driver is gone: nobody to train for
        main(*(map(int, sys.argv[1:]) if arguments is None else arguments))


def serve() -> None:
    """Fork workers for the driver that the command line names: see `optlstm.backends.local.fork_server`.

    This process has one thread: a fork copies no other.
    """
    _killed_with_parent()
    control = socket.socket(fileno=int(sys.argv[1]))
    gc.disable()  # for workers too, whose pages stay the same as this process's while nobody looks for garbage
    for module in sys.argv[2:]:
        with contextlib.suppress(Exception):  # a worker that imports it says why it cannot
            import_module(module)
    gc.freeze()
    while True:
        message, descriptors, *_ = socket.recv_fds(control, MESSAGE_BYTES, WORKER_DESCRIPTORS)
        match message.split():
            case [b"fork"]:
                server = os.getpid()
                pid = _forked()
                if pid == 0:
                    control.close()
                    work([server, *descriptors])
                    _leave()
                control.send(b"" if pid is None else b"%d" % pid)
                for descriptor in descriptors:
                    os.close(descriptor)
            case [b"wait", pid, seconds]:
                control.send(_exit_status(int(pid), float(seconds)))
            case _:  # the driver is gone
                return


def _leave() -> NoReturn:
    """End a fork as Python ends, but free nothing: that would first copy the pages it shares."""
    threading._shutdown()  # type: ignore[attr-defined] # as `multiprocessing` does: of threads that are not daemons
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _forked() -> int | None:
    """0 in the new process, its pid in this one; None where the system has no room for it."""
    try:
        return os.fork()
    except OSError:
        return None


def _exit_status(pid: int, seconds: float) -> bytes:
    deadline = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return b"%d" % os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            return RUNS
        time.sleep(POLL_S)
