"""A tiny study and its model, made once; each test gets a copy of its own to spoil."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Cli


@pytest.fixture
def made(cached_cli: Cli, folder: Path) -> Path:
    """The current directory, a new one: `tiny.csv`, the study `tiny` in runs/, its model of two networks in model/."""
    assert cached_cli("study", "tiny.toml").code == 0
    assert cached_cli("refit", "tiny", "-o", "model", "--seeds", "2").code == 0
    return folder


@pytest.fixture
def mixed(cached_cli: Cli, folder: Path) -> Path:
    """As `made`, but the model is of two trials, whose networks read 6 and 8 rows."""
    fixed = ["dropout=0.0", "recurrent_dropout=0.0", "learning_rate=0.01", "pooling='max'", "window_norm='last'"]
    space = ["window={choices=[6, 8]}", "linear_skip=true", *fixed]
    shapes = ["--sampler", "grid", *(text for value in space for text in ("--set", f"space.{value}"))]
    assert cached_cli("study", "tiny.toml", "--name", "mixed", "--trials", "2", *shapes).code == 0
    assert cached_cli("refit", "mixed", "-o", "model", "--top", "2").code == 0
    return folder
