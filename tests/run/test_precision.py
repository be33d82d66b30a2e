"""The precision that a study trains in: decided once, kept, part of what the study is."""

from __future__ import annotations

import optuna
import pytest

from optlstm.run import precision
from optlstm.study.record import CONFIG_KEY, RECORD_KEY
from optlstm.training import precision as trial
from tests.conftest import URL, Cli, rows

STUDY = ("study", "tiny.toml", "--quiet", "--set", "training.precision=auto")


@pytest.mark.parametrize("faster", ["bf16", "fp32"])
def test_auto_is_decided_when_the_study_is_made(cli: Cli, monkeypatch: pytest.MonkeyPatch, faster: str) -> None:
    monkeypatch.setattr(trial, "faster_precision", lambda _: faster)
    assert cli(*STUDY, "--trials", 1).code == 0
    monkeypatch.setattr(trial, "faster_precision", lambda _: pytest.fail("decided again"))

    assert cli(*STUDY, "--trials", 2).code == 0
    assert cli("study", "--name", "tiny", "--trials", 3).code == 0

    attrs = optuna.load_study(study_name="tiny", storage=URL).user_attrs
    assert attrs[CONFIG_KEY]["training"]["precision"] == faster
    assert attrs[RECORD_KEY]["training"].get("precision", "fp32") == faster
    other = cli("study", "tiny.toml", "--set", f"training.precision={'fp32' if faster == 'bf16' else 'bf16'}")
    assert other.code == 2
    assert "training.precision" in other.err


def test_a_study_in_bf16_is_the_same_on_workers_and_continued(cli: Cli) -> None:
    large = ("--quiet", "--sampler", "random", "--set", "space.hidden_size=128")
    bf16 = (*large, "--set", "training.precision=bf16")
    assert cli("study", "tiny.toml", "--name", "whole", "--trials", 3, *bf16).code == 0
    for trials in (1, 3):
        assert cli("study", "tiny.toml", "--trials", trials, "--workers", 2, *bf16).code == 0

    assert rows() == rows("whole")
    assert cli("study", "tiny.toml", "--name", "fp32", *large).code == 0
    assert rows() != rows("fp32")
    assert cli("refit", "tiny", "-o", "model").code == 0


def test_a_processor_without_bf16_is_noted(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "multiplies_bf16", lambda: False)

    assert "this processor has no instructions for bf16" not in cli("study", "tiny.toml", "--dry-run").out
    noted = cli("study", "tiny.toml", "--dry-run", "--set", "training.precision=bf16").out
    assert "training.precision: this processor has no instructions for bf16" in noted
