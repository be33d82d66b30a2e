"""Symbolic links on the way to a file: one that another user has made leads where that user wants."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from optlstm.errors import OptlstmError

_MOST_LINKS = 40  # Linux's own limit


class ForeignLink(OSError, OptlstmError):
    """A path leads through a link of another user."""

    exit_code = 2

    def __str__(self) -> str:
        return str(self.strerror)


def behind_link(path: Path) -> Path:
    """The same place by a path without links, whether or not there is anything.

    Each folder on the way counts, and so do the links that links lead to. Root's are followed.

    Raises:
        ForeignLink: One of them was made by another user.
        OSError: They lead in a circle, or a folder cannot be looked into.
    """
    absolute = path.absolute()
    real, left, followed = absolute.anchor, [*reversed(absolute.parts[1:])], 0
    while left:
        name = left.pop()
        if name == os.pardir:
            real = os.path.dirname(real)
            continue
        place = os.path.join(real, name)
        try:
            status = os.lstat(place)
        except (FileNotFoundError, NotADirectoryError):
            status = None
        if status is None or not stat.S_ISLNK(status.st_mode):
            real = place
            continue
        followed += 1
        if followed > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if hasattr(os, "geteuid") and status.st_uid not in (os.geteuid(), 0):
            raise ForeignLink(errno.ELOOP, f"{place} is a link that another user has made; name what it leads to")
        target = Path(os.readlink(place))
        real = target.anchor or real
        left += reversed(target.parts[1:] if target.anchor else target.parts)
    return Path(real)
