"""How processes that train are started: as commands, and not through `multiprocessing`.

So a script or notebook that calls optlstm is not imported again in every one of them, and the allocator's environment
is set before Python starts.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

# What glibc's allocator would give back to the system and fault in again at every training step (see docs).
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}


def launch(
    function: str, threads: int, descriptors: Sequence[int], arguments: Sequence[str]
) -> subprocess.Popen[bytes]:
    """A process that calls a function of `optlstm.backends.local.worker`.

    Args:
        threads: Of its training.
        descriptors: Files that it gets, by the same numbers.
        arguments: Its command line.
    """
    # What the driver can import it can, and nothing else: `-m` would look in the working folder first.
    code = f"import sys; sys.path[:] = {sys.path!r}; from optlstm.backends.local.worker import {function}; {function}()"
    with _interrupts_blocked():
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code, *arguments],
            pass_fds=descriptors,
            env={**os.environ, **ALLOCATOR, "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.DEVNULL,
            stdout=2,  # standard output is for results
        )


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """For what is started inside, as long as it lives: Ctrl-C reaches all processes of a terminal, and the driver alone
    decides, and tells a worker with its next answer.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
