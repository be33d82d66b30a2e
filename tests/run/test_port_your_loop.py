"""docs/port-your-loop.md: the diffs apply to the script that stands above them, and what they make runs."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

from tests.conftest import Cli

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "port-your-loop.md").read_text()
SMALL = ("EPOCHS, STEPS = 8, 40", "EPOCHS, STEPS = 2, 8")


def port(heading: str) -> str:
    """The script with the diff below a heading applied, whose added and removed lines the heading counts."""
    plain, *_ = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    (title, body), *more = re.findall(rf"\n## ({heading}.*?)\n(.*?)(?=\n## )", PAGE, re.S)
    assert not more
    (diff,) = re.findall(r"```diff\n(.*?)```", body, re.S)
    lines = diff.splitlines(keepends=True)[2:]
    before, after = plain.splitlines(keepends=True), list[str]()
    at = 0
    for line in lines:
        if hunk := re.match(r"@@ -(\d+)", line):
            after += before[at : int(hunk[1]) - 1]
            at = int(hunk[1]) - 1
        elif line[0] == "+":
            after.append(line[1:])
        else:
            assert before[at] == line[1:]
            after += before[at : at + 1] if line[0] == " " else []
            at += 1
    signs = [line[0] for line in lines]
    counted = re.findall(r"\d+", title)
    assert [int(count) for count in counted] == [signs.count("+"), signs.count("-")]
    return "".join(after + before[at:])


def write(heading: str, *changes: tuple[str, str]) -> str:
    """A small variant of the port, as a file."""
    text = port(heading)
    for old, new in (SMALL, *changes):
        assert old in text
        text = text.replace(old, new)
    Path("train.py").write_text(text)
    return text


def test_with_optlstm(cli: Cli) -> None:
    assert port("optlstm") == (ROOT / "studies" / "attention.py").read_text()
    write("optlstm")
    assert cli("study", "train.py", "--trials", 2, "--workers", 1).code == 0
    assert cli("weights", "train", "-o", "best.safetensors").code == 0
    assert cli("show", "train", "--log", 0).out.startswith("epoch 0: ")


def test_with_optuna_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("Optuna", ("n_trials=20", "n_trials=2"))
    runpy.run_path("train.py", run_name="__main__")
    assert "FrozenTrial(number=" in capsys.readouterr().out


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_with_ray_tune_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("Ray Tune", ("num_samples=20", "num_samples=1"), ('name="attention"', f'storage_path="{folder}", verbose=0'))
    before = sys.modules["__main__"]
    runpy.run_path("train.py", run_name="__main__")
    assert sys.modules["__main__"] is before
    assert "checkpoint_000001" in capsys.readouterr().out  # of the second epoch
