"""The files that commands are asked to write."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from optlstm.errors import InputError, OptlstmError
from optlstm.util.files import check_name, check_writable, replacing
from optlstm.util.links import behind_link


@dataclass(frozen=True)
class OutputFile:
    """A file that a command is asked to write: checked before the work, and then written completely or not at all.

    The folders above it are made. Links, of folders too, are followed, unless another user has put them there. A pipe,
    a device or standard output is written straight into, since no other file can take its place.

    Args:
        suffix: That its name must have; empty: any.
        option: That names it, for messages.
    """

    path: Path
    suffix: str = ""
    option: str = "-o"

    @property
    def is_stdout(self) -> bool:
        return str(self.path.absolute()) in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")

    @property
    def _is_stream(self) -> bool:
        return self.is_stdout or (self.path.exists() and not self.path.is_file())

    @property
    def _target(self) -> Path:
        return behind_link(self.path)

    def check(self, inputs: Mapping[Path, str] | None = None) -> None:
        """Raises InputError where the file cannot be written.

        Args:
            inputs: Files that must not be overwritten, and their roles for the message.
        """
        check_name(self.path, self.option)
        if self.path.is_dir():
            raise InputError(f"{self.option}: {self.path} is a folder; name a file in it")
        try:
            target = self._target
        except OSError as error:
            raise InputError(f"{self.option}: cannot write {self.path}: {error.strerror}") from error
        if self._is_stream:
            return
        check_writable((target if self.path.is_symlink() else self.path).parent, self.option)
        if self.suffix and self.path.suffix.lower() != self.suffix:
            kind = self.suffix.removeprefix(".").upper()
            raise InputError(
                f"{self.option}: {self.path.name} does not end in {self.suffix}, and {kind} is what is written"
            )
        for file, name in (inputs or {}).items():
            if self.path.exists() and file.exists() and self.path.samefile(file):
                raise InputError(f"{self.option}: {self.path} is {name} itself; name another file")

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """A file of any length to write into; its content takes the path's place when the block ends.

        Raises:
            OptlstmError: It cannot be written; the file is as it was before.
        """
        try:
            if self.is_stdout:
                sys.stdout.flush()
                yield sys.stdout.buffer
            elif self._is_stream:
                behind_link(self.path)  # only looked at: a pipe's place in /proc has no name to open
                with self.path.open("wb") as file:
                    yield file
            else:
                target = self._target
                target.parent.mkdir(parents=True, exist_ok=True)
                with replacing(target) as file:
                    yield file
        except OSError as error:
            raise OptlstmError(f"cannot write {self.path}: {error.strerror or error}") from error

    def write(self, content: bytes) -> None:
        """Raises as `open`."""
        with self.open() as file:
            file.write(content)
