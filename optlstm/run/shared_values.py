"""Values that the workers of a machine share: one of them makes each, and all map its arrays into their memory.

A value lies in a folder of the temporary one. Every process that has it holds a lock on a file in there, which the
system gives up with the process: the last to end removes the folder, or where it was killed, the next that makes one.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import mmap
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optlstm.training.nested import decode, encode
from optlstm.util.files import replacing
from optlstm.util.temporary import FOLDER_PREFIX, LOCK_FILE, remove_abandoned

ALIGNMENT = 64  # bytes; what vectorised loads like
_log = logging.getLogger(__name__)


class SharedValues:
    """Those that this process has, by study and key."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._locks: dict[Path, int] = {}

    def get(self, study: str, key: str, make: Callable[[], Any]) -> Any:
        """The value of a key, made by the first process of this machine that asks for it.

        Args:
            study: What tells studies apart.

        Raises:
            TypeError: It holds what is not kept: see `nested.encode`.
        """
        name = hashlib.sha256(json.dumps([os.getuid(), study, key]).encode()).hexdigest()[:24]
        if name not in self._values:
            self._values[name] = self._shared(Path(tempfile.gettempdir()) / f"{FOLDER_PREFIX}shared-{name}", make)
        return self._values[name]

    def _shared(self, folder: Path, make: Callable[[], Any]) -> Any:
        remove_abandoned()
        made: list[Any] = []
        try:
            if folder not in self._locks:
                self._locks[folder] = _enter(folder)
            with _alone(folder):
                if not (folder / "value.json").exists():
                    made.append(make())
                    _write(folder, *encode(made[0]))
            return _read(folder)
        except OSError as error:  # no room, no locks, or another user's folder: a value of our own
            _log.warning("%s: a shared value is not shared: %s", folder, error.strerror or error)
            return made[0] if made else make()

    def close(self) -> None:
        """This process needs them no more; what nobody needs is removed."""
        self._values.clear()
        for lock in self._locks.values():
            os.close(lock)
        self._locks.clear()
        remove_abandoned()


def _enter(folder: Path) -> int:
    """Make a folder that is this user's alone, and keep it from being removed; the lock's file. Raises OSError."""
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise OSError(errno.EPERM, "it is not this user's alone")
        with contextlib.suppress(FileNotFoundError):  # removed, before we had the lock
            lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            fcntl.flock(lock, fcntl.LOCK_SH)
            with contextlib.suppress(FileNotFoundError):
                if os.stat(folder / LOCK_FILE).st_ino == os.fstat(lock).st_ino:
                    return lock
            os.close(lock)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time."""
    lock = os.open(folder / ".making", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _write(folder: Path, tree: Any, tensors: Mapping[str, Tensor]) -> None:
    spans = {}
    with replacing(folder / "arrays", sync=False) as file:
        for name, tensor in tensors.items():
            file.write(b"\0" * (-file.tell() % ALIGNMENT))
            spans[name] = (file.tell(), str(tensor.dtype).removeprefix("torch."), list(tensor.shape))
            if tensor.numel():
                file.write(tensor.reshape(-1).view(torch.uint8).numpy().data)
    with replacing(folder / "value.json", sync=False) as file:  # last: with it the value is there
        file.write(json.dumps({"tree": tree, "spans": spans}).encode())


def _read(folder: Path) -> Any:
    """The value, its arrays mapped: pages are shared until somebody writes to them."""
    kept = json.loads((folder / "value.json").read_bytes())
    with (folder / "arrays").open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) if size else b""
    tensors = {}
    for name, (at, dtype, shape) in kept["spans"].items():
        kind, count = getattr(torch, dtype), int(torch.Size(shape).numel())
        flat = torch.frombuffer(mapped, dtype=kind, count=count, offset=at) if count else torch.empty(0, dtype=kind)
        tensors[name] = flat.reshape(shape)
    return _read_only(decode(kept["tree"], tensors))


def _read_only(value: Any) -> Any:
    """The value, whose arrays refuse to be written to; tensors have no such mark."""
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            _read_only(part)
    return value


SHARED = SharedValues()  # of this process
atexit.register(SHARED.close)
