"""A process beside a driver on Ray, for when that ends without a word.

Ray ends a process whose raylet has died from its C++ code, where nothing can be caught or printed; and a driver that
is killed leaves some of its own Ray's processes for seconds, and their folder until the next one starts.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import psutil

from optlstm.util.interrupts import blocked
from optlstm.util.temporary import remove_abandoned

MARK = "OPTLSTM_RAY_FOLDER"  # in the environment of all processes of a Ray of our own
DONE, SILENT = b"d", b"s"
WAIT_S = 10.0
LINE = (
    "--backend ray: the command was ended from outside: it was killed, or its Ray has died; "
    "every epoch that was reported is saved: resume with the same command\n"
)


class Guardian:
    """The driver's side.

    Args:
        folder: Of a Ray of its own, whose processes end with the driver.
    """

    def __init__(self, folder: Path | None) -> None:
        code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import guard; guard()"
        # Ctrl-C, of which a terminal tells all its processes, is for the driver alone.
        with blocked():
            self._process = subprocess.Popen(
                [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
            )
        self._tell(f"{folder or ''}\n".encode())  # not an argument: all of that Ray are known by it

    def silence(self) -> None:
        """The driver is about to end itself, and has said why."""
        self._tell(SILENT)

    def dismiss(self) -> None:
        """The driver has left its Ray in order."""
        self._tell(DONE)
        stdin = self._process.stdin
        with contextlib.suppress(OSError):
            assert stdin is not None
            stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(WAIT_S)

    def _tell(self, word: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it was killed
            os.write(self._process.stdin.fileno(), word)


def guard() -> None:
    """Wait for the driver's end, and clear up after it unless it has done so."""
    folder = sys.stdin.buffer.readline().decode().strip()
    told = sys.stdin.buffer.read()
    if DONE in told:
        return
    if SILENT not in told:
        os.write(2, LINE.encode())
    if folder:
        _end_marked(folder)
        remove_abandoned(Path(folder).parent)
    remove_abandoned()


def _end_marked(folder: str) -> None:
    ended = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == folder:
                process.kill()
                ended.append(process)
    psutil.wait_procs(ended, timeout=WAIT_S)
