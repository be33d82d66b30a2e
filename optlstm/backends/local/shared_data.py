"""One copy of the data for all worker processes of a machine: a file that each maps into its memory.

The data is pickled with its arrays left out of the pickle (protocol 5, PEP 574); their bytes go into one temporary
file. Workers map it copy-on-write: the pages are shared until somebody writes to them.
"""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ALIGNMENT = 64  # bytes; what vectorised loads like


@dataclass(frozen=True)
class SharedData:
    """A pickle without its arrays, and where their bytes are."""

    head: bytes
    path: Path
    spans: tuple[tuple[int, int], ...]  # offset and length of each array, bytes

    @classmethod
    def write(cls, data: Any, folder: Path | None = None) -> SharedData:
        """Raises OSError where the arrays do not fit on the disk of `folder` (default: the temporary folder)."""
        buffers: list[pickle.PickleBuffer] = []
        head = pickle.dumps(data, protocol=5, buffer_callback=buffers.append)
        handle, name = tempfile.mkstemp(prefix="optlstm-data-", dir=folder)
        spans = []
        with os.fdopen(handle, "wb") as file:
            for buffer in buffers:
                file.write(b"\0" * (-file.tell() % _ALIGNMENT))
                raw = buffer.raw()
                spans.append((file.tell(), raw.nbytes))
                file.write(raw)
        return cls(head, Path(name), tuple(spans))

    def read(self) -> Any:
        """The data, its arrays mapped from the file; they stay valid after `remove`."""
        if not any(length for _, length in self.spans):
            return pickle.loads(self.head, buffers=[bytearray() for _ in self.spans])
        with self.path.open("rb") as file:
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        return pickle.loads(self.head, buffers=[view[at : at + length] for at, length in self.spans])

    def remove(self) -> None:
        """Take the file out of the folder; who has it mapped keeps it, and a killed driver leaves nothing behind."""
        self.path.unlink(missing_ok=True)
