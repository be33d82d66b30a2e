"""A tiny study and its model, made once; each test gets a copy of its own to spoil."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Cli


@pytest.fixture
def made(cached_cli: Cli, folder: Path) -> Path:
    """The current directory, a new one: `tiny.csv`, the study `tiny` in runs/, its model of two networks in model/."""
    assert cached_cli("study", "tiny.toml").code == 0
    assert cached_cli("refit", "tiny", "-o", "model", "--seeds", "2", "--no-ensemble").code == 0
    return folder


@pytest.fixture
def mixed(cached_cli: Cli, folder: Path) -> Path:
    """As `made`, but the model is of two trials, whose networks read 6 and 8 rows."""
    fixed = ["dropout=0.0", "recurrent_dropout=0.0", "learning_rate=0.01", "pooling='max'", "window_norm='last'"]
    space = ["window={choices=[6, 8]}", "linear_skip=true", *fixed]
    shapes = ["--sampler", "grid", *(text for value in space for text in ("--set", f"space.{value}"))]
    assert cached_cli("study", "tiny.toml", "--name", "mixed", "--trials", "2", *shapes).code == 0
    assert cached_cli("refit", "mixed", "-o", "model", "--top", "2", "--no-ensemble").code == 0
    return folder


@pytest.fixture
def ensemble(mixed: Path, cached_cli: Cli) -> Path:
    """As `mixed`, and in ensemble/ one of networks, which learn the logistic map a little, and a linear forecast."""
    values = [0.3]
    while len(values) < 120:
        values.append(3.9 * values[-1] * (1 - values[-1]))
    Path("chaos.csv").write_text("ds,y\n" + "".join(f"{i},{value:.6f}\n" for i, value in enumerate(values)))
    space = ["window={choices=[6, 8]}", "window_norm='mean_std'", "hidden_size=8", "patch=1", "learning_rate=0.02"]
    chosen = [text for value in space for text in ("--set", f"space.{value}")]
    tune = ["study", "tiny.toml", "--data", "chaos.csv", "--name", "chaos", "--set", "data.epoch_steps=40", *chosen]
    assert cached_cli(*tune, "--epochs", "3").code == 0
    assert cached_cli("refit", "chaos", "-o", "ensemble", "--seeds", "2").code == 0
    return mixed
