"""What may happen to a file on a disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def make_link(path: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that another user has made."""
    Path(path).symlink_to(target)
    if os.geteuid() == 0:
        os.lchown(path, 4711, 4711)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
