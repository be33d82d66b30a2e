"""A small disk that can be filled."""

from __future__ import annotations

import os
import resource
import subprocess
from contextlib import suppress
from pathlib import Path


class Disk:
    """A file system of some MB; where we may not mount one, its files alone cannot grow."""

    def __init__(self, folder: Path, megabytes: int = 8) -> None:
        self.filler = folder / "filler"
        folder.mkdir()
        self.mounted = os.geteuid() == 0
        if self.mounted:
            size = f"size={megabytes}m"
            subprocess.run(["mount", "-t", "tmpfs", "-o", size, "optlstm-test", folder], check=True)

    def fill(self, *processes: int) -> None:
        """Processes: those that shall feel it where nothing is mounted."""
        if not self.mounted:
            return _limit(processes, 0)
        with self.filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"\0" * 4096)

    def empty(self, *processes: int) -> None:
        self.filler.unlink(missing_ok=True)
        if not self.mounted:
            _limit(processes, resource.RLIM_INFINITY)

    def remove(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "--lazy", self.filler.parent], check=True)


def _limit(processes: tuple[int, ...], size: int) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            resource.prlimit(process, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
