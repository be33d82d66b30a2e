"""Temporary folders that a killed process leaves behind for no longer than until the next one makes its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

FOLDER_PREFIX = "optlstm-"
LOCK_FILE = ".optlstm-lock"
_RANDOM = 8  # characters that mkdtemp adds


@contextlib.contextmanager
def temporary_folder(longest: int | None = None) -> Iterator[Path]:
    """A folder for this user alone, removed at the end. Folders whose process is gone are removed first.

    A process holds a lock on a file in its folder, and the system gives the lock up with the process: no process
    number, clock or host name has to be believed.

    Args:
        longest: Characters of its path; where the usual temporary folder is too deep, it is made in /tmp.

    Raises:
        OSError: It cannot be made.
    """
    parent = tempfile.gettempdir()
    if longest is not None and len(parent) + len("/" + FOLDER_PREFIX) + _RANDOM > longest:
        parent = "/tmp"
    remove_abandoned(parent)
    folder, lock = _make(parent)
    try:
        yield folder
    finally:
        if (folder / LOCK_FILE).exists():
            _remove(folder)
        os.close(lock)


def keep(folder: Path) -> None:
    """Have nobody remove a temporary folder, neither at its end nor later."""
    (folder / LOCK_FILE).unlink(missing_ok=True)


def remove_abandoned(parent: str | Path | None = None) -> None:
    """Remove the folders whose processes are gone. parent: None: the usual temporary folder."""
    for path in Path(parent or tempfile.gettempdir()).glob(FOLDER_PREFIX + "*"):
        _remove_abandoned(path)


def _make(parent: str) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=parent))
        with contextlib.suppress(FileNotFoundError):  # removed by another process, before we had the lock
            lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            with contextlib.suppress(OSError):  # a file system without locks, where nobody else gets one either
                fcntl.flock(lock, fcntl.LOCK_EX)
            if (folder / LOCK_FILE).exists():
                return folder, lock
            os.close(lock)


def _remove_abandoned(path: Path) -> None:
    """Remove a folder that one of this user's processes made and did not live to remove."""
    with contextlib.suppress(OSError):  # its process lives, or it is none of ours, or another has just removed it
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            return
        lock = os.open(path / LOCK_FILE, os.O_RDWR | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(path)
        finally:
            os.close(lock)


def _remove(folder: Path) -> None:
    """The lock goes last: what cannot be removed now, somebody's next try will."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK_FILE:
            path.unlink(missing_ok=True)
    if [path.name for path in folder.iterdir()] == [LOCK_FILE]:
        shutil.rmtree(folder, ignore_errors=True)
