"""Checkpoints: safetensors beside JSON, atomic and checksummed; nothing is unpickled. One trial, one folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import re
import threading
import time
from collections.abc import Iterator, Mapping
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, Self

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from optlstm.errors import ArtifactError, CheckpointWriteError, StopTrial
from optlstm.training.tensor_file import tensor_file
from optlstm.util.files import Folder, Location, open_folder

_FORMAT = 1
_KEYS = {"format", "epoch", "size", "tensors", "meta"}  # of a checkpoint's JSON, beside its own checksum
_MOST_JSON = 64 << 20  # bytes
_NAME = re.compile(r"epoch-(\d{5,})\.(?:json|safetensors)")
SETTLE_S = 1.0  # at most so often is the disk waited for
_log = logging.getLogger(__name__)


class _Written(NamedTuple):
    """A checkpoint, and the epoch that was the best then."""

    epoch: int
    best: int | None


class CheckpointWriter:
    """Writes a trial's checkpoints while it trains; leave it (`with`) to know that the newest is on the disk.

    A checkpoint is `epoch-00003.safetensors`, then `epoch-00003.json`, and exists once its JSON does: a process that
    is killed at any moment leaves those written before whole. The disk is waited for beside the training, and once a
    second at most: short epochs are not slowed by it. Checkpoints older than the newest `keep` are removed, but for one
    that is named as the best, and the newest that is on the disk: that is the least that a power failure leaves. What
    it takes, its checksum shows.

    Args:
        folder: A path, or a URL that pyarrow opens. The folder that it stands in is there.
    """

    def __init__(self, folder: Location, keep: int = 2) -> None:
        self._folder, self._keep = folder, keep
        self._files = open_folder(folder)
        with _as_write_error(self._folder):
            self._before = _stored(self._files)
        self._written = SimpleQueue[_Written | None]()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None  # of the thread

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._written.put(None)
        if self._thread is not None:
            self._thread.join()
        self._check()

    def write(
        self, epoch: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], best: int | None = None
    ) -> None:
        """Write one; it can be read at once.

        Args:
            tensors: on the CPU and contiguous, of safetensors' types.
            meta: JSON values only; no NaN or infinity.
            best: the epoch whose checkpoint stays, however old it is.

        Raises:
            CheckpointWriteError: it, or one before it, cannot be written; those before are whole.
            StopTrial: another writer has come as far meanwhile: this process was stopped, and the trial is not its own.
        """
        blob = tensor_file(tensors)
        size = sum(memoryview(part).nbytes for part in blob)
        header = {"format": _FORMAT, "epoch": epoch, "size": size, "tensors": _sha256(*blob), "meta": dict(meta)}
        content = _json({**header, "sha256": _sha256(_json(header))})
        self._check()
        with _as_write_error(self._folder):
            if self._thread is None:
                durable = max(_epochs(self._files), default=None)
                self._thread = threading.Thread(target=self._work, args=(durable,), name="checkpoint", daemon=True)
                self._thread.start()
            if any(other >= epoch for other in _stored(self._files) - self._before):
                raise StopTrial
            # Where the study's folder is gone, it is not made again: what was in it would be missed.
            self._files.write(_tensor_file(epoch), blob, wait=False, parents=False)
            self._files.write(_json_file(epoch), content, wait=False, parents=False)
        self._before.add(epoch)  # it may be written again
        self._written.put(_Written(epoch, best))

    def _work(self, durable: int | None) -> None:
        try:
            self._settle(durable)
        except Exception as error:
            self._error = error

    def _settle(self, durable: int | None) -> None:
        """Beside the training, until its end: wait for the disk, and remove what is no longer needed.

        Args:
            durable: The newest checkpoint that is on the disk.
        """
        while (newest := self._written.get()) is not None:
            ended, due = False, time.monotonic() + SETTLE_S
            while not ended and (left := due - time.monotonic()) > 0:
                self._remove_older(newest, durable)
                with contextlib.suppress(Empty):
                    following = self._written.get(timeout=left)
                    newest, ended = following or newest, following is None
            epochs = sorted({newest.epoch} | ({newest.best} if newest.best is not None else set()))
            self._files.settle([name(epoch) for epoch in epochs for name in (_tensor_file, _json_file)])
            durable = newest.epoch
            self._remove_older(newest, durable)
            if ended:
                return

    def _remove_older(self, newest: _Written, durable: int | None) -> None:
        """What is needed of those written meanwhile is not known here: they stay."""
        past = {epoch for epoch in _stored(self._files) if epoch <= newest.epoch}
        whole = [epoch for epoch in _epochs(self._files) if epoch <= newest.epoch]
        for stale in past - {*whole[: self._keep], newest.epoch, newest.best, durable}:
            self._files.remove(_json_file(stale))  # first: tensors without JSON are no checkpoint
            self._files.remove(_tensor_file(stale))

    def _check(self) -> None:
        """Raises CheckpointWriteError where the disk has failed."""
        error, self._error = self._error, None
        with _as_write_error(self._folder):
            if error is not None:
                raise error


@contextlib.contextmanager
def _as_write_error(folder: Location) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointWriteError(f"{folder}: cannot write a checkpoint: {error.strerror or error}") from error


def write_checkpoint(
    folder: Location, epoch: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], keep: int = 2
) -> None:
    """Write a single one, and wait for the disk. See `CheckpointWriter`."""
    with CheckpointWriter(folder, keep) as checkpoints:
        checkpoints.write(epoch, tensors, meta)


def read_checkpoint(folder: Location, epoch: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors (on the CPU) and meta that were written, every byte of them.

    Raises:
        ArtifactError: a file is missing, truncated or altered, or of another format.
    """
    files = open_folder(folder)
    header = _read_header(files, _json_file(epoch))
    blob = _read(files, _tensor_file(epoch), most=header["size"])
    if len(blob) != header["size"] or _sha256(blob) != header["tensors"]:
        raise ArtifactError(f"{folder}: {_tensor_file(epoch)} is not what was written (truncated or altered)")
    if header["epoch"] != epoch:
        raise ArtifactError(f"{folder}: {_json_file(epoch)} holds epoch {header['epoch']}, not {epoch} (renamed)")
    try:
        return safetensors.torch.load(blob), header["meta"]
    except (SafetensorError, ValueError, TypeError) as error:
        raise ArtifactError(f"{folder}: {_tensor_file(epoch)} holds no tensors: {error}") from error


def newest_checkpoint(
    folder: Location, before: float = math.inf
) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
    """The newest checkpoint that is whole, as (epoch, tensors, meta), or None. Each damaged one is logged.

    before: Of an earlier epoch than this one.
    """
    files = open_folder(folder)
    try:
        files.tidy()
        epochs = _epochs(files)
    except OSError as error:
        raise CheckpointWriteError(f"{folder}: cannot be read: {error.strerror or error}") from error
    for epoch in (epoch for epoch in epochs if epoch < before):
        try:
            return (epoch, *read_checkpoint(folder, epoch))
        except ArtifactError as damage:
            _log.warning("checkpoint of epoch %d is damaged and skipped: %s", epoch, damage)
    return None


def copy_checkpoint(source: Location, epoch: int, target: Location) -> None:
    """Give `target` the checkpoint of an epoch, byte by byte, where it has none yet.

    Raises:
        CheckpointWriteError: it cannot be written.
        ArtifactError: `source` has no whole checkpoint of that epoch.
    """
    there = open_folder(target)
    if _epochs(there):
        return
    read_checkpoint(source, epoch)
    files = open_folder(source)
    for name in (_tensor_file(epoch), _json_file(epoch)):
        content = _read(files, name)
        with _as_write_error(target):
            there.write(name, content, parents=False)


def _read_header(files: Folder, path: str) -> dict[str, Any]:
    """The JSON file's content once it is known to be what was written."""
    try:
        header = json.loads(_read(files, path, _MOST_JSON))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: is not JSON (truncated or altered): {error}") from error
    if not isinstance(header, dict):
        raise ArtifactError(f"{path}: is not a checkpoint's JSON")
    if header.get("format") != _FORMAT:
        raise ArtifactError(f"{path}: format {header.get('format')!r}; this optlstm reads format {_FORMAT}")
    claimed = header.pop("sha256", None)
    try:
        altered = _sha256(_json(header)) != claimed
    except ValueError:  # NaN or infinity
        altered = True
    if altered or header.keys() != _KEYS or not isinstance(header["meta"], dict) or type(header["size"]) is not int:
        raise ArtifactError(f"{path}: is not what was written (altered)")
    return header


def _read(files: Folder, name: str, most: int | None = None) -> bytes:
    try:
        return files.read(name, most)
    except OSError as error:
        raise ArtifactError(f"{name}: cannot be read: {error.strerror or error}") from error


def _json(value: Mapping[str, Any]) -> bytes:
    """One text per value: what is hashed when written is hashed again when read."""
    return json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":")).encode()


def _sha256(*parts: bytes | memoryview) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _tensor_file(epoch: int) -> str:
    return f"epoch-{epoch:05d}.safetensors"


def _json_file(epoch: int) -> str:
    return f"epoch-{epoch:05d}.json"


def _stored(files: Folder) -> set[int]:
    """Epochs of which any file is there."""
    return {int(name[1]) for name in map(_NAME.fullmatch, files.names()) if name}


def _epochs(files: Folder) -> list[int]:
    """Epochs whose JSON is there, newest first."""
    names = files.names()
    return sorted((epoch for epoch in _stored(files) if _json_file(epoch) in names), reverse=True)
