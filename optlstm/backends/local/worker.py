"""A worker process: `python -c "...; work()" FD PARENT STACK`. It trains; the study is the driver's.

Started as a command rather than through `multiprocessing`, so that a script or notebook that calls optlstm
is not imported again in every worker, and so that the allocator's environment is set before Python starts.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

from optlstm.backends.trial import Decision, decode, encode, run_trial, setup_failure
from optlstm.errors import named

PR_SET_PDEATHSIG = 1  # prctl's, from Linux's sys/prctl.h


def end_with(parent: int) -> None:
    """End this process when its driver does: a trial that is continued elsewhere must not have two writers."""

    def watch() -> None:
        if sys.platform == "linux":  # of this thread, which is never gone before its process
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(fd: int, parent: int, stack: int) -> None:
    faulthandler.register(signal.SIGUSR1, file=stack, all_threads=False)  # should a trial hang, the driver asks where
    end_with(parent)
    driver = Connection(fd)
    gc.disable()  # a seventh of torch's import is looking for garbage among what it makes, which is none
    try:
        make_objective, shared = driver.recv()
        objective = make_objective(shared.read())
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

    while True:
        match driver.recv():
            case ("trial", text):
                driver.send(("outcome", encode(run_trial(objective, decode(text), report, suggest))))
            case ("plot_data", number):
                driver.send(plot_data(objective, number))


def plot_data(objective: Any, number: int) -> tuple[Any, str]:
    """What the objective shows of a trial, or why it cannot."""
    try:
        return objective.plot_data(number), ""
    except Exception as error:
        return None, named(error)


def work() -> None:
    """Train for the driver that the command line names."""
    with contextlib.suppress(EOFError, ConnectionError):  # the driver is gone: nobody to train for
        main(*map(int, sys.argv[1:4]))
