"""SIGINT and SIGTERM outside the trials: an exception wherever Python happens to be, which some places swallow."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from optlstm.errors import OptlstmError

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_received: list[int] = []


@contextmanager
def interruptible() -> Iterator[list[int]]:
    """Either signal raises KeyboardInterrupt, and is remembered: a callback of Python's own may swallow that.

    Only the main thread gets signals, and what this process was started to ignore it ignores. Gives what has come.
    """

    def interrupt(number: int, _frame: object) -> None:
        _received.append(number)
        raise KeyboardInterrupt

    heeded = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in heeded} if _in_main_thread() else {}
    try:
        yield _received
    finally:
        _received.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


def check() -> None:
    """Raises KeyboardInterrupt where one was swallowed."""
    if _received:
        raise KeyboardInterrupt


class Interrupted(OptlstmError):
    """By a signal, where there was nothing to stop gently."""

    def __init__(self) -> None:
        number = _received[0] if _received else signal.SIGINT
        super().__init__("interrupted" if number == signal.SIGINT else "terminated")
        self.exit_code = 128 + number


@contextmanager
def held() -> Iterator[None]:
    """The first signal waits for the end of the block; a second ends the process."""
    if not _in_main_thread():
        yield
        return
    waiting: list[int] = []

    def hold(number: int, _frame: object) -> None:
        if waiting:
            os._exit(128 + number)
        waiting.append(number)

    before = {number: signal.signal(number, hold) for number in SIGNALS}
    try:
        yield
    except SystemExit:  # of a handler of SIGTERM that was set inside
        waiting.append(signal.SIGTERM)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if waiting:
            signal.raise_signal(waiting[0])


@contextmanager
def blocked() -> Iterator[None]:
    """Signals wait for the end of the block, which may start threads, and set handlers, of C's too: they are undone."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS} if _in_main_thread() else {}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
