"""Checkpoints: safetensors beside JSON, atomic and checksummed; nothing is unpickled. One trial, one folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from optlstm.errors import ArtifactError, CheckpointWriteError, StopTrial
from optlstm.util.files import Folder, Location, open_folder

_FORMAT = 1
_KEYS = {"format", "epoch", "size", "tensors", "meta"}  # of a checkpoint's JSON, beside its own checksum
_MOST_JSON = 64 << 20  # bytes
_NAME = re.compile(r"epoch-(\d{5,})\.(?:json|safetensors)")
_log = logging.getLogger(__name__)


class CheckpointWriter:
    """Writes a trial's checkpoints while it trains; leave it (`with`) to know that they are on the disk.

    A checkpoint is `epoch-00003.safetensors`, then `epoch-00003.json`, and exists once its JSON does: a process that
    is killed at any moment leaves those written before whole. The disk is waited for beside the training, 30 ms an
    epoch, and only then are checkpoints older than the newest `keep` removed (but for one that is named as the best): a
    power failure takes the newest one at most, which its checksum then shows.

    Args:
        folder: A path, or a URL that pyarrow opens. The folder that it stands in is there.
    """

    def __init__(self, folder: Location, keep: int = 2) -> None:
        self._folder, self._keep = folder, keep
        self._files = open_folder(folder)
        with _as_write_error(self._folder):
            self._before = _stored(self._files)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._last: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._wait()
        finally:
            self._thread.shutdown()

    def write(
        self, epoch: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], best: int | None = None
    ) -> None:
        """Write one; it can be read at once.

        Args:
            tensors: on the CPU; no two may share memory.
            meta: JSON values only; no NaN or infinity.
            best: the epoch whose checkpoint stays, however old it is.

        Raises:
            CheckpointWriteError: it, or the one before it, cannot be written; those before are whole.
            StopTrial: another writer has come as far meanwhile: this process was stopped, and the trial is not its own.
        """
        blob = safetensors.torch.save(dict(tensors))
        header = {"format": _FORMAT, "epoch": epoch, "size": len(blob), "tensors": _sha256(blob), "meta": dict(meta)}
        content = _json({**header, "sha256": _sha256(_json(header))})
        self._wait()
        with _as_write_error(self._folder):
            if any(other >= epoch for other in _stored(self._files) - self._before):
                raise StopTrial
            # Where the study's folder is gone, it is not made again: what was in it would be missed.
            self._files.write(_tensor_file(epoch), blob, wait=False, parents=False)
            self._files.write(_json_file(epoch), content, wait=False, parents=False)
        self._before.add(epoch)  # it may be written again
        self._last = self._thread.submit(self._finish, epoch, best)

    def _finish(self, epoch: int, best: int | None) -> None:
        self._files.settle([_tensor_file(epoch), _json_file(epoch)])
        kept = {*_epochs(self._files)[: self._keep], best}
        for stale in _stored(self._files) - kept:
            self._files.remove(_json_file(stale))  # first: tensors without JSON are no checkpoint
            self._files.remove(_tensor_file(stale))

    def _wait(self) -> None:
        last, self._last = self._last, None
        with _as_write_error(self._folder):
            if last is not None:
                last.result()


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


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


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
