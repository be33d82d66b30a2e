"""Code that this user's own commands have named, in a file of the user's: what a database names is held against it.

A line is a name (a path, `module:function`) and the hash of its code. Without a home that can be written, only what
this process itself was told to run is known.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from pathlib import Path

_MOST_BYTES = 16 << 20
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

_here: set[tuple[str, str]] = set()  # named in this process


def remember(name: str, digest: str) -> None:
    """The user has named this code."""
    if (name, digest) in _known():
        return
    _here.add((name, digest))
    with contextlib.suppress(OSError, RuntimeError):  # no home
        path = _path()
        for folder in (*reversed(path.parent.parents), path.parent):  # mkdir's `parents` would be open to others
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _NO_LINKS, 0o600)
        try:
            os.write(file, f"{json.dumps([name, digest])}\n".encode())  # in one piece: commands may run side by side
        finally:
            os.close(file)


def is_named(name: str) -> bool:
    """Whether the user has named it, in any version."""
    return any(known == name for known, _ in _known())


def is_trusted(name: str, digest: str) -> bool:
    """Whether the user has named this very code."""
    return (name, digest) in _known()


def _known() -> set[tuple[str, str]]:
    known = set(_here)
    for line in _lines():
        with contextlib.suppress(ValueError, TypeError, RecursionError):  # half a line
            name, digest = json.loads(line)
            known.add((str(name), str(digest)))
    return known


def _lines() -> list[str]:
    """None where there is no such file, or others can write it."""
    with contextlib.suppress(OSError, RuntimeError), open(os.open(_path(), os.O_RDONLY | _NO_LINKS), "rb") as file:
        status = os.fstat(file.fileno())
        owned = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
        if stat.S_ISREG(status.st_mode) and owned and not status.st_mode & 0o022:
            return file.read(_MOST_BYTES).decode(errors="replace").splitlines()
    return []


def _path() -> Path:
    """Raises RuntimeError where the user has no home."""
    given = os.environ.get("XDG_STATE_HOME", "")
    folder = Path(given) if os.path.isabs(given) else Path.home() / ".local" / "state"
    return folder / "optlstm" / "named-code.jsonl"
