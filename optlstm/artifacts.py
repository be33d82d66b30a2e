"""Checkpoints: safetensors beside JSON, atomic and checksummed; nothing is unpickled. One trial, one folder."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

import safetensors.torch
from torch import Tensor

from optlstm.errors import ArtifactError, PlaceUnwritable
from optlstm.files import Folder, Location, open_folder

_FORMAT = 1
_NAME = re.compile(r"epoch-(\d{5,})\.(?:json|safetensors)")
_log = logging.getLogger(__name__)


def write_checkpoint(
    folder: Location, epoch: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], keep: int = 2
) -> None:
    """Write `epoch-00003.safetensors`, then `epoch-00003.json`; a checkpoint exists once its JSON does.

    Whoever is killed at any moment leaves the checkpoints before this one whole. Then checkpoints older than the newest
    `keep` are removed.

    Args:
        folder: A path, or a URL that pyarrow opens.
        tensors: on the CPU; no two may share memory.
        meta: JSON values only; no NaN or infinity.

    Raises:
        PlaceUnwritable: it cannot be written; the checkpoints before it are whole.
    """
    files = open_folder(folder)
    blob = safetensors.torch.save(dict(tensors))
    header = {"format": _FORMAT, "epoch": epoch, "size": len(blob), "tensors": _sha256(blob), "meta": dict(meta)}
    content = _json({**header, "sha256": _sha256(_json(header))})
    try:
        files.write(_tensor_file(epoch), blob)
        files.write(_json_file(epoch), content)
    except OSError as error:
        raise PlaceUnwritable(f"{folder}: cannot write a checkpoint: {error.strerror or error}") from error
    kept = set(_epochs(files)[:keep])
    _remove(files, (stale for stale in _stored(files) if stale not in kept))


def read_checkpoint(folder: Location, epoch: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors (on the CPU) and meta that were written, every byte of them.

    Raises:
        ArtifactError: a file is missing, truncated or altered, or of another format.
    """
    files = open_folder(folder)
    header = _read_header(files, _json_file(epoch))
    blob = _read(files, _tensor_file(epoch))
    if len(blob) != header["size"] or _sha256(blob) != header["tensors"]:
        raise ArtifactError(f"{folder}: {_tensor_file(epoch)} is not what was written (truncated or altered)")
    if header["epoch"] != epoch:
        raise ArtifactError(f"{folder}: {_json_file(epoch)} holds epoch {header['epoch']}, not {epoch} (renamed)")
    meta: dict[str, Any] = header["meta"]
    return safetensors.torch.load(blob), meta


def newest_checkpoint(folder: Location) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
    """The newest checkpoint that is whole, as (epoch, tensors, meta), or None. Each damaged one is logged."""
    files = open_folder(folder)
    files.tidy()
    for epoch in _epochs(files):
        try:
            return (epoch, *read_checkpoint(folder, epoch))
        except ArtifactError as damage:
            _log.warning("checkpoint of epoch %d is damaged and left out: %s", epoch, damage)
    return None


def copy_checkpoint(source: Location, epoch: int, target: Location) -> None:
    """Give `target` the checkpoint of an epoch, byte by byte, where it has none of its own yet.

    Raises:
        ArtifactError: `source` has no whole checkpoint of that epoch.
    """
    there = open_folder(target)
    if _epochs(there):
        return
    read_checkpoint(source, epoch)
    files = open_folder(source)
    for name in (_tensor_file(epoch), _json_file(epoch)):
        there.write(name, _read(files, name))


def _read_header(files: Folder, path: str) -> dict[str, Any]:
    """The JSON file's content once it is known to be what was written."""
    try:
        header = json.loads(_read(files, path))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: is not JSON (truncated or altered): {error}") from error
    if not isinstance(header, dict):
        raise ArtifactError(f"{path}: is not a checkpoint's JSON")
    if header.get("format") != _FORMAT:
        raise ArtifactError(f"{path}: format {header.get('format')!r}; this optlstm reads format {_FORMAT}")
    claimed = header.pop("sha256", None)
    if _sha256(_json(header)) != claimed:
        raise ArtifactError(f"{path}: is not what was written (altered)")
    return header


def _read(files: Folder, name: str) -> bytes:
    try:
        return files.read(name)
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


def _remove(files: Folder, epochs: Iterable[int]) -> None:
    for epoch in list(epochs):
        files.remove(_json_file(epoch))  # first: tensors without JSON are no checkpoint
        files.remove(_tensor_file(epoch))
