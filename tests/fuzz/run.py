"""Runs a parser on spoilt inputs, each drawn from the parser's name and a number; what escapes is written down."""

from __future__ import annotations

import faulthandler
import os
import random
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from optlstm.errors import OptlstmError
from tests.fuzz.parsers import PARSERS, environment
from tests.study.processes import CONTEXT

MAX_S = 10.0  # of one input, by the process's own clock
MAX_GROWTH = 1 << 31  # bytes that may be asked for beyond those at the beginning


@dataclass(frozen=True)
class Escape:
    """What came out of an input that is none of our errors.

    Attributes:
        where: The innermost line of ours.
    """

    parser: str
    number: int
    error: str
    where: str


class TooSlow(BaseException):
    """An input took longer than `MAX_S`; no `except Exception` swallows it."""


def escapes(parser: str, numbers: range, note: Any = None) -> Iterator[Escape]:
    """Those of the inputs with these numbers. In an empty current folder.

    Args:
        note: Whose `value` becomes the number of the input that is about to be read, for who looks after a crash.
    """
    attack = PARSERS[parser].begin()
    signal.signal(signal.SIGVTALRM, _too_slow)
    for number in numbers:
        if note is not None:
            note.value = number
        draw = random.Random(f"{parser} {number}")
        signal.setitimer(signal.ITIMER_VIRTUAL, MAX_S)
        try:
            with warnings.catch_warnings(action="ignore"):
                attack(draw)
        except OptlstmError:
            pass
        except (Exception, TooSlow, SystemExit) as error:
            yield Escape(parser, number, _one_line(error), _where(error))
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _too_slow(*_: object) -> None:
    raise TooSlow(f"more than {MAX_S:g} s")


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:200]!r}"


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/optlstm/" in f.filename] or list(frames)
    return f"{ours[-1].filename.rpartition('/optlstm/')[2]}:{ours[-1].lineno} in {ours[-1].name}"


def _child(parser: str, first: int, last: int, note: Any, told: Connection) -> None:
    with tempfile.TemporaryDirectory(prefix="optlstm-fuzz-") as folder:
        os.chdir(folder)
        environment()
        _limit_memory()
        for escape in escapes(parser, range(first, last), note):
            told.send(escape)
        os.chdir("/")


def run(parser: str, first: int, last: int) -> list[Escape]:
    """In processes of its own: one that crashes is followed by another, after the input it crashed at."""
    found: list[Escape] = []
    note = CONTEXT.Value("q", first)
    while first < last:
        ours, theirs = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(target=_child, args=(parser, first, last, note, theirs))
        process.start()
        theirs.close()
        try:
            while True:
                found.append(ours.recv())
        except EOFError:
            process.join()
        if process.exitcode == 0 or note.value < first:
            break
        found.append(Escape(parser, note.value, f"the process ended with {process.exitcode}", "C code, most likely"))
        first = note.value + 1
    return found


def _limit_memory() -> None:
    """What would be asked for in vain is refused at once: a MemoryError escapes."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MAX_GROWTH, resource.RLIM_INFINITY))
    faulthandler.enable(sys.stderr)
