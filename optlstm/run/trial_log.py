"""What a custom objective prints: a file per trial beside the study's checkpoints, the same on every backend."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from optlstm.backends.trial import is_pruned, traceback_of
from optlstm.util.files import Folder, Location, is_url, join, open_folder

LOGS = "logs"  # a folder in the study's
MOST_CHARACTERS = 10 << 20  # of a trial; what it prints itself beyond is dropped, but for its traceback
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)


def log_name(number: int) -> str:
    return f"trial-{number:05d}.txt"


def logs_folder(checkpoints: Location) -> Folder:
    """Where the logs of a study lie."""
    return open_folder(join(checkpoints, LOGS))


def log_since(checkpoints: Location, number: int, position: int) -> bytes:
    """What a trial has printed behind this many bytes; nothing where it has printed nothing. Raises OSError."""
    folder, name = logs_folder(checkpoints), log_name(number)
    try:
        return folder.read(name)[position:]
    except FileNotFoundError:
        return b""


def last_lines(checkpoints: Location, number: int, most: int) -> list[str]:
    """The end of what a trial has printed."""
    with contextlib.suppress(OSError):
        return log_since(checkpoints, number, 0).decode(errors="replace").splitlines()[-most:]
    return []


def _is_ours(logger: str) -> bool:
    return logger.partition(".")[0] == __name__.partition(".")[0]


def _is_standard(stream: TextIO) -> bool:
    with contextlib.suppress(AttributeError, OSError, ValueError):  # a stream of no file, or a closed one
        return stream.fileno() in (1, 2)
    return False


class Output(io.TextIOBase):
    """Standard output and error of an objective: the log of the trial that runs; standard error where none does.

    Code that keeps the stream it has met when it was imported, as logging's handlers do, writes to the right file too.

    Args:
        descriptors: Of this process, which its child processes inherit: while a trial runs, what is written to them
            goes to its log too. Where the driver trains, it shows its progress on standard error.
    """

    errors = "replace"

    def __init__(self, descriptors: Sequence[int] = (1,)) -> None:
        self._outside: TextIO = sys.stderr  # never standard output, which is for results
        self._log: _Log | None = None
        self._descriptors = descriptors

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def buffer(self) -> BinaryIO:
        return cast("BinaryIO", _Bytes(self))

    def fileno(self) -> int:
        return self._outside.fileno() if self._log is None else self._log.fileno()

    def write(self, text: str) -> int:
        if self._log is not None:
            self._log.write(text)
        else:
            self._outside.write(text)
        return len(text)

    def flush(self) -> None:
        if self._log is None:
            self._outside.flush()

    def writable(self) -> bool:
        return True

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """What is printed or logged inside is written here."""
        with self._handlers_taken(), contextlib.redirect_stdout(self), contextlib.redirect_stderr(self):
            yield

    @contextlib.contextmanager
    def _handlers_taken(self) -> Iterator[None]:
        """So do handlers that were made before, also in a process that this one is a fork of; this program's do not."""
        known = logging.root.manager.loggerDict.items()
        theirs = [logger for name, logger in known if isinstance(logger, logging.Logger) and not _is_ours(name)]
        handlers = [handler for logger in (logging.root, *theirs) for handler in logger.handlers]
        streams = [h for h in handlers if isinstance(h, logging.StreamHandler) and _is_standard(h.stream)]
        before = [(handler, handler.stream) for handler in streams]
        for handler in streams:
            handler.setStream(self)
        try:
            yield
        finally:
            for handler, stream in before:
                handler.setStream(stream)

    @contextlib.contextmanager
    def of_trial(self, checkpoints: Location | None, number: int) -> Iterator[None]:
        """What is printed inside goes to the trial's log; so does the traceback of an error that leaves it."""
        if not checkpoints:
            with self.taken():
                yield
            return
        self._log = _RemoteLog(checkpoints, number) if is_url(checkpoints) else _LocalLog(checkpoints, number)
        try:
            with self.taken(), _descriptors_taken(self._descriptors, self._log):
                yield
        except Exception as error:
            if not is_pruned(error):
                self._log.write(traceback_of(error), always=True)
            raise
        finally:
            log, self._log = self._log, None
            log.close()


class _Bytes(io.RawIOBase):
    """What is written as bytes, as text."""

    def __init__(self, text: io.TextIOBase) -> None:
        self._text = text

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._text.write(bytes(content).decode(errors="replace"))
        return len(content)


@contextlib.contextmanager
def _descriptors_taken(descriptors: Sequence[int], log: _Log) -> Iterator[None]:
    """What is written to these is written to the log inside."""
    kept = dict[int, int]()
    try:
        for descriptor in descriptors:
            with contextlib.suppress(OSError):  # it is closed, or there is no log
                target = log.fileno()
                kept[descriptor] = os.dup(descriptor)
                os.dup2(target, descriptor)
        yield
    finally:
        for descriptor, before in kept.items():
            os.dup2(before, descriptor)
            os.close(before)


class _Log:
    """A trial's log. It is there once something is printed; that it cannot be written is no error of the trial."""

    def __init__(self) -> None:
        self._room = MOST_CHARACTERS

    def write(self, text: str, always: bool = False) -> None:
        kept = text if always else text[: self._room]
        if kept:
            with contextlib.suppress(OSError):
                self._append(kept)
        if 0 < self._room <= len(text):
            with contextlib.suppress(OSError):
                self._append("\n... and more, which is not kept\n")
        self._room -= min(len(text), self._room)

    def _append(self, text: str) -> None:
        os.write(self.fileno(), text.encode(errors="replace"))

    def fileno(self) -> int:
        """Of the file that is appended to. Raises OSError."""
        raise NotImplementedError

    def close(self) -> None:
        pass


class _LocalLog(_Log):
    """Appended to at once: it can be followed while the trial runs."""

    def __init__(self, checkpoints: Location, number: int) -> None:
        super().__init__()
        self._folder, self._name = Path(checkpoints) / LOGS, log_name(number)
        self._file: int | None = None

    def fileno(self) -> int:
        if self._file is None:
            self._folder.mkdir(exist_ok=True)  # not where the study's own folder is gone
            self._file = os.open(self._folder / self._name, _APPEND, 0o666)
        return self._file

    def close(self) -> None:
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            if not os.fstat(self._file).st_size:
                (self._folder / self._name).unlink()
                self._folder.rmdir()
        os.close(self._file)


class _RemoteLog(_Log):
    """Object stores take whole files only: it is written when the trial leaves its worker."""

    def __init__(self, checkpoints: Location, number: int) -> None:
        super().__init__()
        self._folder, self._name = logs_folder(checkpoints), log_name(number)
        self._file = tempfile.TemporaryFile("a+b")  # noqa: SIM115  (closed with the log)

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        with contextlib.suppress(OSError), self._file as file:
            file.seek(0)
            if printed := file.read():
                before = self._folder.read(self._name) if self._name in self._folder.names() else b""
                self._folder.write(self._name, before + printed)
