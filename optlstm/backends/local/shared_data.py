"""One copy of the data for all worker processes of a machine: a file that each maps into its memory.

The data is pickled with its arrays left out of the pickle (protocol 5, PEP 574); their bytes go into one temporary
file. It has no name, and is handed to workers as they start: a driver killed at any moment leaves nothing behind.
Workers map it copy-on-write: the pages are shared until somebody writes to them.
"""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
from dataclasses import dataclass
from typing import Any

_ALIGNMENT = 64  # bytes; what vectorised loads like


@dataclass(frozen=True)
class SharedData:
    """A pickle without its arrays, and where their bytes are.

    Attributes:
        fd: The file's descriptor in the process that wrote it.
    """

    head: bytes
    fd: int
    spans: tuple[tuple[int, int], ...]  # offset and length of each array, bytes

    @classmethod
    def write(cls, data: Any) -> SharedData:
        """Raises OSError where the arrays do not fit on the disk of the temporary folder."""
        buffers: list[pickle.PickleBuffer] = []
        head = pickle.dumps(data, protocol=5, buffer_callback=buffers.append)
        spans = []
        with tempfile.TemporaryFile() as file:
            for buffer in buffers:
                file.write(b"\0" * (-file.tell() % _ALIGNMENT))
                raw = buffer.raw()
                spans.append((file.tell(), raw.nbytes))
                file.write(raw)
            file.flush()
            return cls(head, os.dup(file.fileno()), tuple(spans))

    def read(self, fd: int | None = None) -> Any:
        """The data, its arrays mapped from the file; they stay valid after `close`.

        Args:
            fd: The file's descriptor in this process; None: it has written it.
        """
        if not any(length for _, length in self.spans):
            return pickle.loads(self.head, buffers=[bytearray() for _ in self.spans])
        view = memoryview(mmap.mmap(self.fd if fd is None else fd, 0, access=mmap.ACCESS_COPY))
        return pickle.loads(self.head, buffers=[view[at : at + length] for at, length in self.spans])

    def close(self) -> None:
        """Its bytes are freed once no worker has them."""
        os.close(self.fd)
