"""The bytes of a text file as UTF-8, whatever it is encoded in, and with one blank for each run of blanks."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

from optlstm.data.file_format import BLANKS, UTF8, FileFormat
from optlstm.errors import InputError
from optlstm.util.format import first_few, quoted

PACKED = {  # (its name, first bytes) by a file's last suffix
    ".gz": ("gzip", b"\x1f\x8b"),
    ".bz2": ("bzip2", b"BZh"),
    ".xz": ("xz", b"\xfd7zXZ"),
    ".zip": ("zip", b"PK"),
}
DAMAGED = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, OSError)
LONGEST_LINE = 8 << 20  # characters
TOO_LONG = f"a line of more than {LONGEST_LINE >> 20} million characters"
_RUN, _EDGE = re.compile(rb"[ \t]+"), re.compile(rb"(?m)^ | (?=\r?$)")


def breaks_off(error: BaseException) -> str:
    """Why a file could not be read to its end: its disk, or what is packed in it."""
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return "is truncated or damaged (its compressed stream breaks off); copy or download it again"


def open_bytes(path: Path, *, unpack: bool = True) -> IO[bytes]:
    """A file as it is, or what is packed in it. Raises InputError."""
    suffix = path.suffix.lower() if unpack else ""
    unpackers: dict[str, Callable[[Path], Any]] = {
        ".gz": gzip.open,
        ".bz2": bz2.open,
        ".xz": lzma.open,
        ".zip": _open_zip,
    }
    try:
        return cast("IO[bytes]", unpackers[suffix](path)) if suffix in unpackers else path.open("rb")
    except OSError as error:
        raise InputError(f"data: {path.name} cannot be opened: {error.strerror}") from error


def _open_zip(path: Path) -> IO[bytes]:
    """The only file in a zip."""
    try:
        with zipfile.ZipFile(path) as packed:
            names = [name for name in packed.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
            if len(names) == 1:
                return packed.open(names[0])
    except (zipfile.BadZipFile, RuntimeError) as error:  # damaged; with a password
        raise InputError(f"data: {path.name} cannot be unpacked: {error}") from error
    shown = first_few([quoted(name) for name in names])
    raise InputError(f"data: {path.name} holds {len(names)} files ({shown}); unpack it, and name one of them")


def open_utf8(path: Path, form: FileFormat) -> IO[bytes]:
    """The text of a file in UTF-8. Reading it raises InputError where it is not of its encoding."""
    file = open_bytes(path)
    if form.encoding != UTF8:
        file = cast("IO[bytes]", _Decoded(file, path.name, form.encoding))
    return cast("IO[bytes]", _SingleBlanks(file, path.name)) if form.separator == BLANKS else file


class _Converted(io.RawIOBase):
    """A file whose text is changed on the way."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._left = b""

    def _next(self, size: int) -> bytes:
        """Some more text, about `size` bytes; none at the end."""
        raise NotImplementedError

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        self._left = self._left or self._next(size)
        part, self._left = (self._left, b"") if size < 0 else (self._left[:size], self._left[size:])
        return part

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        part = self.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)


class _Decoded(_Converted):
    """A file of another encoding."""

    def __init__(self, file: IO[bytes], name: str, encoding: str) -> None:
        super().__init__(name)
        self._text, self._encoding = io.TextIOWrapper(file, encoding, newline=""), encoding

    def _next(self, size: int) -> bytes:
        try:
            return self._text.read(size).encode()
        except UnicodeError as error:
            problem = f"{self._name} is not {self._encoding} text"
            raise InputError(f"data: {problem}; name its encoding with --set data.encoding=NAME") from error

    def close(self) -> None:
        self._text.close()
        super().close()


class _SingleBlanks(_Converted):
    """Lines without blanks at their ends, and with a single one where there were several, or tabs."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        super().__init__(name)
        self._file = io.BufferedReader(cast("io.RawIOBase", file))

    def _next(self, size: int) -> bytes:
        chunk = self._file.read(size)
        if chunk and not chunk.endswith(b"\n"):
            rest = self._file.readline(LONGEST_LINE)
            if len(rest) == LONGEST_LINE:
                raise InputError(f"data: {self._name} has {TOO_LONG}, which is no row of a table")
            chunk += rest
        return _EDGE.sub(b"", _RUN.sub(b" ", chunk))

    def close(self) -> None:
        self._file.close()
        super().close()
