"""Folders on this machine or anywhere pyarrow opens by URL (s3://, gs://, hdfs://), written to whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

from optlstm.errors import InputError
from optlstm.util.links import behind_link

_PARTIAL = ".partial"
_ABANDONED_S = 600.0  # writing one file never takes longer
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
_LARGE = 1 << 30  # bytes of a file; only of a larger one is it asked whether the memory holds it
# Without waiting: a pipe in a file's place would be read for ever.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)

Location = Path | str
Content = bytes | Sequence[bytes | memoryview]  # of a file; parts stand one after the other


class Folder(Protocol):
    """Files by name. A write is complete or has no effect; removing a missing file is no error."""

    def names(self) -> set[str]:
        """Files and folders in it; none where it does not exist."""

    def read(self, name: str, most: int | None = None) -> bytes:
        """Raises OSError, and reads nothing, where it has more than `most` bytes or than half of the memory holds."""

    def write(self, name: str, content: Content, *, wait: bool = True, parents: bool = True) -> None:
        """Raises OSError, after which the file is as it was before.

        parents: Make the folders above this one, where they are missing.
        wait: For the disk. Without, a kill of this process does no harm; a power failure before `settle` may.
        """

    def settle(self, names: Iterable[str]) -> None:
        """Wait until these files, written without waiting, are on the disk. Raises OSError."""

    def remove(self, name: str) -> None:
        """A file, or a folder with all that is in it."""

    def size(self) -> int:
        """Bytes of all files in it, and in the folders in it."""

    def tidy(self) -> None:
        """Remove partial files that killed writers left, and the folder itself where it is empty."""


@contextlib.contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` at the end, or is not there. sync: not before it is on the disk."""
    partial = path.with_name(_partial_name(path.name))
    try:
        with os.fdopen(os.open(partial, _NEW, 0o666), "wb") as file:  # where nothing is yet, not even a link
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())  # else a power failure can leave the new name on an empty file
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def _partial_name(name: str) -> str:
    """Random: nobody can put a link there first, and a worker that was given up for dead may be at the same file."""
    return f".{name}.{secrets.token_hex(8)}{_PARTIAL}"


def check_name(path: Path, option: str = "-o") -> None:
    """See that the system takes this name for a file or folder to be written. Raises InputError."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise InputError(f"{option}: {path}: {error.strerror or error}") from error


def check_folder(path: Path, option: str = "-o") -> None:
    """See that `path` is a folder in which files can be made, or can become one. Raises InputError."""
    check_name(path, option)
    if os.path.lexists(path) and not path.is_dir():
        raise InputError(f"{option}: {path} is a file; name a folder")
    check_writable(path, option)


def check_url(location: Location) -> None:
    """See that the folder of a URL can be opened. Raises InputError, as of storage_path."""
    if not is_url(location):
        return
    url = str(location)
    if ":" in urlsplit(url).netloc.rpartition("@")[0]:
        remedy = "give it in the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for example)"
        raise InputError(f"storage_path: {shown_location(url)} came with a password, which would be kept; {remedy}")
    try:
        RemoteFolder(url).names()
    except Exception as error:  # pyarrow's, of any kind
        lines = str(error).replace(url, shown_location(url)).strip().splitlines() or [type(error).__name__]
        raise InputError(f"storage_path: cannot open {shown_location(url)}: {lines[0][:200]}") from error


def shown_location(location: Location) -> str:
    """A location for display: a URL without its user, password and options."""
    if not is_url(location):
        return str(location)
    scheme, _, rest = str(location).partition("://")
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"


def check_writable(location: Location, key: str) -> None:
    """See that files can be made in or below a folder. Raises InputError, as of this config key or option."""
    if is_url(location):
        return check_url(location)
    path = Path(location)
    try:
        real = behind_link(path)
        nearest = next(place for place in (real, *real.parents) if os.path.lexists(place))
        os.rmdir(tempfile.mkdtemp(prefix=".optlstm-", dir=nearest))
    except OSError as error:
        raise InputError(f"{key}: cannot write below {path}: {error.strerror or error}") from error


def is_url(location: Location) -> bool:
    return isinstance(location, str) and "://" in location


def absolute(location: Location) -> Location:
    """The same place for processes that work in other folders, as Ray's workers do."""
    return location if is_url(location) else Path(location).expanduser().absolute()


def identity(place: Path | int) -> tuple[int, int] | None:
    """The device and inode of a path or an open file, whatever its name is now; None where nothing is there."""
    try:
        status = os.stat(place)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def join(location: Location, name: str) -> Location:
    return f"{str(location).rstrip('/')}/{name}" if is_url(location) else Path(location) / name


def trial_name(number: int) -> str:
    """The folder of a trial's checkpoints, below those of its study."""
    return f"trial-{number:05d}"


def trial_folder(checkpoints: Location, number: int) -> Location:
    return join(checkpoints, trial_name(number))


def open_folder(location: Location) -> Folder:
    """Raises OSError or ValueError where pyarrow does not know the URL."""
    return RemoteFolder(str(location)) if is_url(location) else LocalFolder(Path(location))


def check_size(size: int, most: int | None = None) -> None:
    """Raises OSError where a file is too large to be read: one that is a single hole costs who made it nothing."""
    if most is not None and size > most:
        raise OSError(errno.EFBIG, f"it has {size:,} bytes, and {most:,} at most are right")
    if size > _LARGE:
        import psutil

        if size > psutil.virtual_memory().total // 2:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, more than half of this machine's memory")


class LocalFolder:
    """A folder of a file system this machine mounts, shared or not.

    Links on the way to it are followed where they are this user's or root's; every call raises OSError for others.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def _real(self) -> Path:
        """The folder itself, looked for anew: what is on the way may have changed."""
        return behind_link(self.path)

    def names(self) -> set[str]:
        try:
            return {entry for entry in os.listdir(self._real) if not entry.endswith(_PARTIAL)}
        except FileNotFoundError:
            return set()

    def read(self, name: str, most: int | None = None) -> bytes:
        with self._open(name, most) as (file, size):
            return file.read(size)

    def sha256(self, name: str) -> str:
        """Of a file's content, in hexadecimal. Raises OSError."""
        with self._open(name) as (file, _):
            return hashlib.file_digest(file, "sha256").hexdigest()

    @contextlib.contextmanager
    def _open(self, name: str, most: int | None = None) -> Iterator[tuple[BufferedReader, int]]:
        """A file and its size."""
        with open(os.open(self._real / name, _READ), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError(f"{name} is no regular file")
            check_size(status.st_size, most)
            yield file, status.st_size

    def write(self, name: str, content: Content, *, wait: bool = True, parents: bool = True) -> None:
        folder = self._real
        folder.mkdir(parents=parents, exist_ok=True)
        path = folder / name
        if _is_real_folder(path):  # not written by us, and in the file's way
            shutil.rmtree(path)
        with replacing(path, sync=wait) as file:
            file.writelines(_parts(content))

    def settle(self, names: Iterable[str]) -> None:
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # removed: the trial is not among the best
                file = os.open(self._real / name, _READ)
                try:
                    os.fsync(file)
                finally:
                    os.close(file)

    def remove(self, name: str) -> None:
        path = self._real / name
        if _is_real_folder(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def size(self) -> int:
        total = 0
        for folder, _, names in os.walk(self._real):
            for name in names:
                with contextlib.suppress(OSError):  # removed meanwhile
                    total += os.lstat(os.path.join(folder, name)).st_size
        return total

    def tidy(self) -> None:
        folder = self._real
        for partial in folder.glob(f".*{_PARTIAL}"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - partial.stat().st_mtime > _ABANDONED_S:
                    partial.unlink()
        with contextlib.suppress(OSError):
            folder.rmdir()


def _parts(content: Content) -> Sequence[bytes | memoryview]:
    return [content] if isinstance(content, bytes) else content


def _is_real_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


class RemoteFolder:
    """A folder by URL. Object stores put a file in one piece; on others a rename makes the write whole."""

    def __init__(self, url: str) -> None:
        from pyarrow import fs

        self._fs: Any
        self._fs, self._path = fs.FileSystem.from_uri(url)
        self._selector = fs.FileSelector

    def names(self) -> set[str]:
        entries = self._fs.get_file_info(self._selector(self._path, allow_not_found=True))
        return {info.base_name for info in entries if not info.base_name.endswith(_PARTIAL)}

    def read(self, name: str, most: int | None = None) -> bytes:
        with self._fs.open_input_file(f"{self._path}/{name}") as file:
            check_size(file.size(), most)
            return bytes(file.read())

    def write(self, name: str, content: Content, *, wait: bool = True, parents: bool = True) -> None:
        self._fs.create_dir(self._path, recursive=True)
        partial = f"{self._path}/{_partial_name(name)}"
        with self._fs.open_output_stream(partial) as file:
            for part in _parts(content):
                file.write(part)
        self._fs.move(partial, f"{self._path}/{name}")

    def settle(self, names: Iterable[str]) -> None:
        """Nothing to wait for: a store confirms a write when it is durable."""

    def remove(self, name: str) -> None:
        path = f"{self._path}/{name}"
        info = self._fs.get_file_info(path)
        if info.is_file:
            self._fs.delete_file(path)
        elif info.type.name != "NotFound":
            self._fs.delete_dir(path)

    def size(self) -> int:
        below = self._selector(self._path, recursive=True, allow_not_found=True)
        return sum(info.size or 0 for info in self._fs.get_file_info(below))

    def tidy(self) -> None:
        if not self.names():
            with contextlib.suppress(OSError):
                self._fs.delete_dir(self._path)
