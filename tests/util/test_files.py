"""Files that are too large to be read: a hole of any size costs who makes it nothing."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from optlstm.util import files
from optlstm.util.files import LocalFolder, RemoteFolder


@pytest.mark.parametrize(
    "read",
    [
        lambda path: LocalFolder(path).read("hole"),
        lambda path: LocalFolder(path).sha256("hole"),
        lambda path: RemoteFolder(f"file://{path}").read("hole"),
    ],
    ids=["read", "sha256", "URL"],
)
def test_no_file_takes_more_than_half_of_the_memory(
    read: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_LARGE", 1 << 20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=8 << 20))
    (tmp_path / "hole").touch()

    os.truncate(tmp_path / "hole", 4 << 20)
    read(tmp_path)
    os.truncate(tmp_path / "hole", (4 << 20) + 1)
    with pytest.raises(OSError, match="it has 4,194,305 bytes, more than half of this machine's memory"):
        read(tmp_path)


def test_a_large_file_is_hashed_in_pieces(tmp_path: Path) -> None:
    (tmp_path / "hole").touch()
    os.truncate(tmp_path / "hole", 32 << 20)

    tracemalloc.start()
    digest = LocalFolder(tmp_path).sha256("hole")
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert digest == hashlib.sha256(bytes(32 << 20)).hexdigest()
    assert taken < 4 << 20


def test_a_file_is_no_larger_than_its_reader_admits(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")

    assert LocalFolder(tmp_path).read("file", 5) == b"12345"
    with pytest.raises(OSError, match="it has 5 bytes, and 4 at most are right"):
        LocalFolder(tmp_path).read("file", 4)
