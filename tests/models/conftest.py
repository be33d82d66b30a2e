"""A tiny study and its model, made once; each test gets a copy of its own to spoil."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from optlstm.cli import main
from tests.conftest import write_tiny


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, before = tmp_path_factory.mktemp("made"), Path.cwd()
    write_tiny(folder)
    os.chdir(folder)
    try:
        assert main(["study", "tiny.toml", "--quiet"]) == 0
        assert main(["refit", "tiny", "-o", "model", "--seeds", "2", "--quiet"]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(scope="session")
def _mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, before = tmp_path_factory.mktemp("mixed"), Path.cwd()
    write_tiny(folder)
    os.chdir(folder)
    fixed = ["dropout=0.0", "recurrent_dropout=0.0", "learning_rate=0.01", "pooling='max'", "window_norm='last'"]
    space = ["window={choices=[6, 8]}", "linear_skip=true", *fixed]
    shapes = ["--sampler", "grid", *(text for each in space for text in ("--set", f"space.{each}"))]
    try:
        assert main(["study", "tiny.toml", "--quiet", "--name", "mixed", "--trials", "2", *shapes]) == 0
        assert main(["refit", "mixed", "-o", "model", "--top", "2", "--quiet"]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def mixed(_mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As `made`, but the model is of two trials, whose networks read 6 and 8 rows."""
    shutil.copytree(_mixed, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def made(_made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, a new one: `tiny.csv`, the study `tiny` in runs/, its model of two networks in model/."""
    shutil.copytree(_made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path
