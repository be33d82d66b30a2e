"""Checkpoints on disk: safetensors beside JSON, atomic and checksummed; nothing is unpickled. One writer per folder."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from optlstm.errors import ArtifactError

_FORMAT = 1
_PARTIAL = ".partial"
_NAME = re.compile(r"epoch-(\d{5,})\.(?:json|safetensors)")
_log = logging.getLogger(__name__)


def write_checkpoint(
    folder: Path, epoch: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], keep: int = 2
) -> None:
    """Write `epoch-00003.safetensors`, then `epoch-00003.json`; a checkpoint exists once its JSON does.

    Whoever is killed at any moment leaves the checkpoints before this one whole. Then checkpoints older than the newest
    `keep` are removed, and what killed writers left behind.

    Args:
        tensors: on the CPU; no two may share memory.
        meta: JSON values only; no NaN or infinity.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for partial in folder.glob(f"*{_PARTIAL}"):
        partial.unlink()
    blob = safetensors.torch.save(dict(tensors))
    header = {"format": _FORMAT, "epoch": epoch, "size": len(blob), "tensors": _sha256(blob), "meta": dict(meta)}
    _replace(_tensor_file(folder, epoch), blob)
    _replace(_json_file(folder, epoch), _json({**header, "sha256": _sha256(_json(header))}))
    kept = set(_epochs(folder)[:keep])
    _remove(folder, (stale for stale in _stored(folder) if stale not in kept))


def read_checkpoint(folder: Path, epoch: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors (on the CPU) and meta that were written, every byte of them.

    Raises:
        ArtifactError: a file is missing, truncated or altered, or of another format.
    """
    path = _json_file(folder, epoch)
    header = _read_header(path)
    blob = _read(_tensor_file(folder, epoch))
    if len(blob) != header["size"] or _sha256(blob) != header["tensors"]:
        raise ArtifactError(f"{_tensor_file(folder, epoch)}: is not what was written (truncated or altered)")
    if header["epoch"] != epoch:
        raise ArtifactError(f"{path}: holds epoch {header['epoch']}, not {epoch} (renamed)")
    meta: dict[str, Any] = header["meta"]
    return safetensors.torch.load(blob), meta


def newest_checkpoint(folder: Path) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
    """The newest checkpoint that is whole, as (epoch, tensors, meta), or None. Each damaged one is logged."""
    for epoch in _epochs(folder):
        try:
            return (epoch, *read_checkpoint(folder, epoch))
        except ArtifactError as damage:
            _log.warning("checkpoint of epoch %d is damaged and left out: %s", epoch, damage)
    return None


def remove_checkpoints(folder: Path) -> None:
    """Remove every checkpoint in `folder`, and the folder where nothing else is in it. A missing folder is no error."""
    for partial in folder.glob(f"*{_PARTIAL}"):
        partial.unlink(missing_ok=True)
    _remove(folder, _stored(folder))
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _read_header(path: Path) -> dict[str, Any]:
    """The JSON file's content once it is known to be what was written."""
    try:
        header = json.loads(_read(path))
    except ValueError as error:
        raise ArtifactError(f"{path}: is not JSON (truncated or altered): {error}") from error
    if not isinstance(header, dict):
        raise ArtifactError(f"{path}: is not a checkpoint's JSON")
    if header.get("format") != _FORMAT:
        raise ArtifactError(f"{path}: format {header.get('format')!r}; this optlstm reads format {_FORMAT}")
    claimed = header.pop("sha256", None)
    if _sha256(_json(header)) != claimed:
        raise ArtifactError(f"{path}: is not what was written (altered)")
    return header


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}") from error


def _replace(path: Path, content: bytes) -> None:
    """All of `content` under `path`, or what was there before."""
    partial = path.with_name(path.name + _PARTIAL)
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())  # else a power failure can leave the new name on an empty file
    os.replace(partial, path)


def _json(value: Mapping[str, Any]) -> bytes:
    """One text per value: what is hashed when written is hashed again when read."""
    return json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":")).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _tensor_file(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:05d}.safetensors"


def _json_file(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:05d}.json"


def _stored(folder: Path) -> set[int]:
    """Epochs of which any file is there."""
    names = (_NAME.fullmatch(path.name) for path in folder.glob("epoch-*"))
    return {int(name[1]) for name in names if name}


def _epochs(folder: Path) -> list[int]:
    """Epochs whose JSON is there, newest first."""
    return sorted((epoch for epoch in _stored(folder) if _json_file(folder, epoch).exists()), reverse=True)


def _remove(folder: Path, epochs: Iterable[int]) -> None:
    for epoch in list(epochs):
        _json_file(folder, epoch).unlink(missing_ok=True)  # first: tensors without JSON are no checkpoint
        _tensor_file(folder, epoch).unlink(missing_ok=True)
