"""Checkpoints come back whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from optlstm.errors import ArtifactError, CheckpointWriteError, StopTrial
from optlstm.training.checkpoints import (
    CheckpointWriter,
    copy_checkpoint,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from optlstm.training.tensor_file import tensor_file
from optlstm.util.files import LocalFolder
from tests.damage import empty, flip, truncate
from tests.waiting import wait_until


def tensors(epoch: int) -> dict[str, Tensor]:
    return {"network.w": torch.full((3, 4), float(epoch)), "optimizer.step": torch.tensor(7.0), "none": torch.zeros(0)}


def write(folder: Path, *epochs: int, keep: int = 2) -> None:
    for epoch in epochs:
        write_checkpoint(folder, epoch, tensors(epoch), {"epoch": epoch, "values": [0.1, 1e-300]}, keep=keep)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path / "a", 3)

    stored, meta = read_checkpoint(tmp_path / "a", 3)

    assert meta == {"epoch": 3, "values": [0.1, 1e-300]}
    assert stored.keys() == tensors(3).keys()
    assert all(torch.equal(stored[name], tensor) for name, tensor in tensors(3).items())
    assert stored["network.w"].add_(1).sum() == 48  # its memory is its own


def test_a_copy_that_the_disk_has_no_room_for_is_an_error_of_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write(tmp_path / "parent", 1)
    (tmp_path / "child").mkdir()
    monkeypatch.setattr(LocalFolder, "write", full)

    with pytest.raises(CheckpointWriteError, match="child: cannot write a checkpoint: No space left on device"):
        copy_checkpoint(tmp_path / "parent", 1, tmp_path / "child")


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    write(tmp_path, 1, 2, 3, 10)

    assert names(tmp_path) == [
        "epoch-00003.json",
        "epoch-00003.safetensors",
        "epoch-00010.json",
        "epoch-00010.safetensors",
    ]


def nest(path: Path) -> None:
    path.write_bytes(b"[" * 200_000)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").touch()


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
@pytest.mark.parametrize("damage", [pipe, folder])
def test_what_is_no_file_is_no_checkpoint_and_is_written_over(
    tmp_path: Path, suffix: str, damage: Callable[[Path], None]
) -> None:
    write(tmp_path, 4, 5)
    damage(tmp_path / f"epoch-00005.{suffix}")

    newest = newest_checkpoint(tmp_path)
    write(tmp_path, 5)
    again = newest_checkpoint(tmp_path)

    assert newest is not None
    assert newest[0] == 4
    assert again is not None
    assert again[0] == 5


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
@pytest.mark.parametrize("damage", [nest, truncate, flip, empty, Path.unlink], ids=lambda d: d.__name__)
def test_damage_is_seen_and_the_one_before_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, suffix: str, damage: Callable[[Path], None]
) -> None:
    write(tmp_path, 4, 5)
    damage(tmp_path / f"epoch-00005.{suffix}")

    with pytest.raises(ArtifactError, match=r"epoch-00005"):
        read_checkpoint(tmp_path, 5)
    with caplog.at_level(logging.WARNING):
        newest = newest_checkpoint(tmp_path)

    assert newest is not None
    assert newest[0] == 4
    # Without its JSON it never was a checkpoint: that is what a killed writer leaves, and no damage.
    assert bool(caplog.records) is not (suffix == "json" and damage is Path.unlink)


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_a_hole_in_a_checkpoint_s_place_is_not_read(tmp_path: Path, suffix: str) -> None:
    write(tmp_path, 4, 5)
    os.truncate(tmp_path / f"epoch-00005.{suffix}", 256 << 20)

    tracemalloc.start()
    newest = newest_checkpoint(tmp_path)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert newest is not None
    assert newest[0] == 4
    assert taken < 64 << 20


def test_every_flipped_bit_of_the_json_is_seen(tmp_path: Path) -> None:
    write(tmp_path, 1)
    path = tmp_path / "epoch-00001.json"
    whole = path.read_bytes()

    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(ArtifactError):
            read_checkpoint(tmp_path, 1)


@pytest.mark.parametrize(
    ("change", "blob"),
    [
        (lambda header: header.pop("meta"), None),
        (lambda header: header.pop("size"), None),
        (lambda header: header.update(meta=["numpy"]), None),
        (lambda header: header.update(meta={"best": float("nan")}), None),
        (lambda header: None, b"\x02\0\0\0\0\0\0\0[]"),
        (lambda header: None, b'\x22\0\0\0\0\0\0\0{"x":{"dtype":"F32","shape":[1e9]}}'),
    ],
    ids=["no meta", "no size", "meta is a list", "NaN", "tensors of a list", "a shape that is none"],
)
def test_a_forged_checkpoint_whose_checksums_are_right_is_damaged(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], blob: bytes | None
) -> None:
    """Found by scripts/fuzz."""
    write(tmp_path, 4, 5)
    path = tmp_path / "epoch-00005.json"
    header = json.loads(path.read_text())
    del header["sha256"]
    if blob is not None:
        path.with_suffix(".safetensors").write_bytes(blob)
        header.update(size=len(blob), tensors=hashlib.sha256(blob).hexdigest())
    change(header)
    digest = hashlib.sha256(json.dumps(header, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    path.write_text(json.dumps({**header, "sha256": digest}))

    with pytest.raises(ArtifactError, match=r"epoch-00005"):
        read_checkpoint(tmp_path, 5)
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert newest[0] == 4


def test_another_epochs_files_under_this_name_are_seen(tmp_path: Path) -> None:
    write(tmp_path, 1)
    for suffix in ("json", "safetensors"):
        (tmp_path / f"epoch-00001.{suffix}").rename(tmp_path / f"epoch-00002.{suffix}")

    with pytest.raises(ArtifactError, match="holds epoch 1, not 2"):
        read_checkpoint(tmp_path, 2)


def test_another_format_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 1)
    path = tmp_path / "epoch-00001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))

    with pytest.raises(ArtifactError, match="format 99; this optlstm reads format 1"):
        read_checkpoint(tmp_path, 1)


def test_where_all_are_damaged_or_none_is_there_is_none(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    for path in tmp_path.glob("*.safetensors"):
        truncate(path)

    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(tmp_path / "missing") is None


def test_what_killed_writers_left_is_cleaned_up(tmp_path: Path) -> None:
    write(tmp_path, 1)
    half, fresh = tmp_path / ".epoch-00002.safetensors.host-1.partial", tmp_path / ".epoch-00004.json.host-2.partial"
    half.write_bytes(b"half")
    os.utime(half, (0, 0))
    fresh.write_bytes(b"somebody is at it")
    (tmp_path / "epoch-00002.safetensors").write_bytes(b"tensors without their JSON")

    assert [epoch for epoch, *_ in [newest_checkpoint(tmp_path) or (0,)]] == [1]
    write(tmp_path, 3)

    assert {name.split(".")[0] for name in names(tmp_path)} == {"epoch-00001", "epoch-00003", ""}
    assert not half.exists()
    assert fresh.exists()


def test_nan_in_meta_is_refused_before_anything_is_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_checkpoint(tmp_path, 1, tensors(1), {"value": float("nan")})

    assert newest_checkpoint(tmp_path) is None


def test_a_checkpoint_can_be_read_before_the_disk_has_it(tmp_path: Path) -> None:
    with CheckpointWriter(tmp_path, keep=2) as writer:
        for epoch in range(1, 6):
            writer.write(epoch, tensors(epoch), {"epoch": epoch})
            newest = newest_checkpoint(tmp_path)
            assert newest is not None
            assert (newest[0], newest[2]) == (epoch, {"epoch": epoch})

    assert {int(path.stem[6:]) for path in tmp_path.iterdir()} == {4, 5}


def test_short_epochs_wait_for_the_disk_once_and_keep_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: list[str] = []
    settle = LocalFolder.settle
    monkeypatch.setattr(LocalFolder, "settle", lambda self, names: (settle(self, names), settled.extend(names)))
    monkeypatch.setattr("optlstm.training.checkpoints.SETTLE_S", 0.0)
    with CheckpointWriter(tmp_path) as writer:
        writer.write(1, tensors(1), {})
        wait_until(lambda: len(settled) == 2)
        monkeypatch.setattr("optlstm.training.checkpoints.SETTLE_S", 60.0)
        for epoch in range(2, 9):
            writer.write(epoch, tensors(epoch), {}, best=3 if epoch > 2 else None)
        wait_until(lambda: "epoch-00006.json" not in names(tmp_path))
        assert "epoch-00001.json" in names(tmp_path)
        assert len(settled) == 2

    assert settled[2:] == [f"epoch-0000{epoch}.{kind}" for epoch in (3, 8) for kind in ("safetensors", "json")]
    assert {int(name[6:11]) for name in names(tmp_path)} == {3, 7, 8}


def test_the_file_is_as_the_library_writes_it_but_for_its_order(tmp_path: Path) -> None:
    kept = {
        "b": torch.arange(3, dtype=torch.uint8),
        "a": torch.zeros(0, 2),
        "c": torch.tensor(1.5, dtype=torch.float64, requires_grad=True),
        "d": torch.ones(2, 3, dtype=torch.bfloat16),
        "e": torch.tensor([True, False]),
    }
    again = safetensors.torch.load(b"".join(tensor_file(kept)))
    assert all(again[name].dtype == kept[name].dtype and torch.equal(again[name], kept[name]) for name in kept)
    (tmp_path / "x").write_bytes(b"".join(tensor_file(kept)))
    assert safetensors.torch.load_file(tmp_path / "x").keys() == kept.keys()


def test_a_folder_that_is_swept_away_meanwhile_is_no_error(tmp_path: Path) -> None:
    with CheckpointWriter(tmp_path / "trial-00001") as writer:
        for epoch in range(1, 20):
            writer.write(epoch, tensors(epoch), {})
            shutil.rmtree(tmp_path / "trial-00001", ignore_errors=True)


def test_what_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with (
        pytest.raises(CheckpointWriteError, match="cannot write a checkpoint"),
        CheckpointWriter(tmp_path / "file") as writer,
    ):
        writer.write(1, tensors(1), {})


def test_a_writer_that_was_overtaken_leaves_what_the_other_wrote(tmp_path: Path) -> None:
    with CheckpointWriter(tmp_path) as stopped:
        stopped.write(1, tensors(9), {"by": "stopped"})
        with CheckpointWriter(tmp_path) as other:
            for epoch in (2, 3):
                other.write(epoch, tensors(epoch), {"by": "other"})

        for epoch in (2, 3):
            with pytest.raises(StopTrial):
                stopped.write(epoch, tensors(9), {"by": "stopped"})

    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert (newest[0], newest[2]) == (3, {"by": "other"})


def test_a_writer_goes_over_what_was_there_before_it(tmp_path: Path) -> None:
    for epoch in (1, 2, 1, 2):  # the trial was begun again, since both were damaged
        write_checkpoint(tmp_path, epoch, tensors(epoch), {})

    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert newest[0] == 2
