"""What comes out of a custom objective's study: its best weights, a trial again, a trial under a debugger."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import optlstm
from optlstm.errors import InputError
from tests.conftest import Cli

# The second epoch is the best; the fourth is the last.
LOOP = """
import argparse
import os
import random
import torch

print("read")
argparse.ArgumentParser().parse_args()  # of optlstm's own it knows none


def objective(trial):
    w = torch.zeros(2)
    x = trial.suggest_float("x", 0, 1)
    argparse.ArgumentParser().parse_args()
    for epoch in range(trial.track(0, w=w, history=[]), 4):
        w += 1
        print("epoch", epoch)
        trial.report(x + (epoch - 1) ** 2 + random.random() / 100, epoch)
        if trial.number == 2 and epoch == 1:
            raise ValueError("number two")
    trial.set_user_attr("pid", os.getpid())
"""


@pytest.fixture
def loop(cached_cli: Cli) -> str:
    """Three trials have run; the last has failed."""
    Path("loop.py").write_text(LOOP)
    arguments = ("--trials", 3, "--sampler", "random", "--pruner", "none", "--set", "keep=1", "--set", "artifacts=1")
    outcome = cached_cli("study", "loop.py", *arguments, "--workers", 1, "--json", "-v")
    assert outcome.code == 0, outcome.err
    return outcome.out + "\0" + outcome.err


def test_json_is_all_of_standard_output_and_what_trials_print_is_shown_beside_it(loop: str, cli: Cli) -> None:
    out, _, err = loop.partition("\0")
    assert json.loads(out)["counts"] == {"COMPLETE": 2, "FAIL": 1}
    assert [line for line in err.splitlines() if line.startswith("trial   1 | ")] == [
        f"trial   1 | epoch {epoch}" for epoch in range(4)
    ]
    assert "trial   2 | ValueError: number two" in err

    shown = cli("show", "loop", "--log", 2)
    assert shown.out.startswith("epoch 0\nepoch 1\nTraceback (most recent call last):\n  File ")
    assert 'raise ValueError("number two")' in shown.out
    assert "optlstm/" not in shown.out  # whose lines say nothing of the objective
    assert cli("show", "loop", "--log", 7).code == 2
    artifacts = [path.read_bytes() for path in Path("runs").glob("loop-*/artifacts/*")]
    assert any(b'"epoch 3"' in content and json.loads(content).keys() == {"log"} for content in artifacts)
    assert cli("report", "loop").code == 0
    page = Path("loop.html").read_text()
    assert "<h3>trial 2, failed</h3>\n<pre>epoch 0\nepoch 1\nTraceback" in page


def test_the_best_epochs_weights_are_kept_and_written(loop: str, cli: Cli) -> None:
    result = json.loads(loop.partition("\0")[0])
    best = result["best"]["number"]
    written = cli("weights", "loop", "-o", "best.safetensors")
    assert (written.code, written.lines) == (0, [f"best.safetensors: trial {best}, epoch 2, 1 tensors, 8 B"])
    assert re.search(r"epoch +2 of 4 ", cli("study", "--name", "loop", "--trials", 3).out)
    assert load_file("best.safetensors")["w"].tolist() == [2, 2]
    with safe_open("best.safetensors", "pt") as file:
        about = json.loads(file.metadata()["optlstm"])
    assert (about["trial"], about["epoch"], about["value"]) == (best, 2, result["best"]["value"])

    other = cli("weights", "loop", "-o", "other.safetensors", "--trial", 1 - best)
    assert other.code == 2
    assert other.lines[0].startswith(f"trial {1 - best}: of its best epoch there is no checkpoint in ")
    assert cli("weights", "loop", "-o", "x.safetensors", "--part", "v").lines == [
        "--part: 'v' was not kept (kept: w, history)"
    ]
    assert not Path("other.safetensors").exists()

    tuned = optlstm.tune(name="loop", objective="loop.py", progress=False)
    checkpoint = tuned.best_checkpoint()
    assert (checkpoint.epoch, checkpoint.arrays["w"].tolist(), checkpoint.arrays["history"]) == (2, [2, 2], [])
    with pytest.raises(InputError, match="trial 9 is not in this study"):
        tuned.best_checkpoint(9)


def test_a_trial_is_trained_again_to_the_last_bit_and_with_other_seeds(loop: str, cli: Cli) -> None:
    again = cli("replay", "loop", 1, "--seeds", 2, "--json")
    result = json.loads(again.out)
    assert (again.code, result["same"]) == (0, True)
    assert result["values"][0] != result["values"][1]
    assert any(line.startswith("its own seed: ") and line.endswith(", the same") for line in again.lines)
    assert cli("replay", "loop", 0).out.endswith(", the same\n")
    failed = cli("replay", "loop", 2)
    assert (failed.code, failed.out.splitlines()[-1]) == (1, "its own seed: ValueError: number two, not the same")
    Path("loop.py").write_text(LOOP.replace("(epoch - 1)", "(epoch - 2)"))
    changed = cli("replay", "loop", 1)
    assert (changed.code, "it has changed since the study was made" in changed.err) == (2, True)


def test_a_trial_of_a_task_is_trained_again(cached_cli: Cli, cli: Cli) -> None:
    assert cached_cli("study", "tiny.toml").code == 0
    assert cli("replay", "tiny", 0).code == 0
    refused = cli("weights", "tiny", "-o", "x.safetensors")
    assert refused.lines[0] == "study 'tiny' has no custom objective; its model is made by refit tiny -o MODEL_DIR"


def test_a_loop_that_seeds_itself_is_said_to_do_so_when_it_is_replayed(cli: Cli) -> None:
    Path("loop.py").write_text("def objective(trial):\n    return trial.suggest_float('x', 0, 1)\n")
    assert cli("study", "loop.py", "--trials", 1, "--workers", 1).code == 0
    again = cli("replay", "loop", 0, "--seeds", 2)
    assert "every seed gave the same: the objective draws no random numbers, or seeds them itself" in again.err


def test_params_that_an_objective_does_not_have_are_no_params_to_debug_it_with(folder: Path) -> None:
    Path("loop.py").write_text("def objective(trial):\n    return trial.suggest_float('x', 0, 1)\n")
    with pytest.raises(InputError, match=r"params: 'X' was not asked for; did you mean 'x'\?"):
        optlstm.debug_trial("loop.py", {"X": 0.5})
    space = "def space(trial):\n    return {'x': trial.suggest_float('x', 0, 1)}\n"
    Path("spaced.py").write_text(f"{space}def objective(trial, params):\n    raise KeyboardInterrupt  # it trains\n")
    with pytest.raises(InputError, match=r"params: 'X' was not asked for; did you mean 'x'\?"):
        optlstm.debug_trial("spaced.py", {"X": 0.5})
    for value in (2.0, "a"):
        with pytest.raises(ValueError, match="suggest 'x': "):
            optlstm.debug_trial("loop.py", {"x": value})
    Path("loop.py").write_text("def objective(trial):\n    return trial.suggest_float('x', 1, 0)\n")
    with pytest.raises(ValueError, match=r"suggest 'x': .*low"):
        optlstm.debug_trial("loop.py")


def test_an_objective_is_debugged_without_a_study(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("loop.py").write_text(LOOP)
    before = torch.get_rng_state()
    value = optlstm.debug_trial("loop.py", {"x": 0.25}, seed=3)
    assert 0.25 <= value < 0.26
    assert value == optlstm.debug_trial("loop.py", {"x": 0.25}, seed=3)
    assert 0.5 <= optlstm.debug_trial("loop.py") < 0.51  # the middle of the range
    assert capsys.readouterr().out.startswith("read\nepoch 0\n")
    with pytest.raises(ValueError, match="number two"):
        optlstm.debug_trial("loop.py", number=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert not Path("runs").exists()


def test_a_study_runs_in_this_process_for_a_debugger(cli: Cli) -> None:
    Path("loop.py").write_text(LOOP)
    outcome = cli("study", "loop.py", "--in-process", "--trials", 3, "--set", "trial_timeout=60")
    shown = json.loads(cli("show", "loop", "--format", "json").out)
    assert shown["trials"][0]["attrs"]["pid"] == os.getpid()
    assert "epoch 3\n" in outcome.out
    assert '    raise ValueError("number two")\nValueError: number two\n' in outcome.err
    more = cli("study", "loop.py", "--in-process", "--workers", 2)
    assert more.lines == ["read", "--in-process: trains one trial at a time; leave --workers 2 out"]
    refused = cli("study", "loop.py", "--in-process", "--backend", "ray")
    assert refused.lines == ["read", "--in-process: is for --backend local"]
