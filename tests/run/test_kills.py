"""Killed at a named moment, continued, the study ends as if nobody had touched it. Random moments: tests/chaos."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import dying
from tests.backends.contract import table
from tests.damage import empty, flip, truncate
from tests.dying import url_in
from tests.study.processes import exit_code, start

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[tuple[Any, ...]], Files]:
    """The table and the weights of a study that nobody touched."""
    folder = tmp_path_factory.mktemp("undisturbed")
    dying.train(url_in(folder), folder)
    return table(dying.training(url_in(folder))), weights(folder)


def weights(folder: Path) -> Files:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.safetensors")}


@pytest.mark.parametrize("moment", dying.MOMENTS)
def test_killed_at_any_moment_it_ends_bit_by_bit_the_same(
    tmp_path: Path, undisturbed: tuple[list[tuple[Any, ...]], Files], moment: str
) -> None:
    assert exit_code(start(dying.train_until, url_in(tmp_path), tmp_path, moment)) == -9

    dying.train(url_in(tmp_path), tmp_path)

    assert table(dying.training(url_in(tmp_path))) == undisturbed[0]
    assert weights(tmp_path) == undisturbed[1]


@pytest.mark.parametrize(
    ("damage", "files"),
    [
        (truncate, "epoch-00003.safetensors"),
        (flip, "epoch-00003.safetensors"),
        (empty, "epoch-00003.safetensors"),
        (Path.unlink, "epoch-00003.safetensors"),
        (flip, "epoch-00003.json"),
        (truncate, "*"),  # nothing is left of it: the trial begins again
    ],
)
def test_damaged_checkpoints_are_noticed_and_cost_epochs_alone(
    tmp_path: Path,
    killed_after_three_epochs: Path,
    undisturbed: tuple[list[tuple[Any, ...]], Files],
    damage: Callable[[Path], None],
    files: str,
) -> None:
    shutil.copytree(killed_after_three_epochs, tmp_path, dirs_exist_ok=True)
    for path in (tmp_path / "trial-00000").glob(files):
        damage(path)

    dying.train(url_in(tmp_path), tmp_path)

    assert table(dying.training(url_in(tmp_path))) == undisturbed[0]
    assert weights(tmp_path) == undisturbed[1]


@pytest.fixture(scope="module")
def killed_after_three_epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    assert exit_code(start(dying.train_until, url_in(folder), folder, "after report")) == -9
    return folder
