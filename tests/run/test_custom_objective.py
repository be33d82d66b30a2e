"""A custom objective: the same ledger, the same backends, the same checks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.backends.contract import INLINE, RAY, Backend, Studies, backend_param, table
from tests.conftest import Cli
from tests.run.custom import plan_of, run

EXAMPLE = Path(__file__).parents[2] / "studies" / "logistic.py"


@pytest.mark.parametrize("backend", [backend_param(INLINE), backend_param(RAY)])
def test_the_example_is_the_same_table_however_it_is_run(
    request: pytest.FixtureRequest, studies: Studies, tmp_path: Path, backend: Backend
) -> None:
    if backend == RAY:
        request.getfixturevalue("local_ray")
    sampler = {"name": "tpe", "n_startup_trials": 4}
    plan = plan_of(EXAMPLE, sampler=sampler, pruner={"name": "asha"}, training={"epochs": 6})
    whole = run(studies, "whole", plan, tmp_path / "whole", 12, INLINE)
    for after in (8, 0) if backend == RAY else (3, 8, 1, 0):
        broken = run(studies, "broken", plan, tmp_path / "broken", 12, backend, after)
    assert table(broken) == table(whole)
    assert {"COMPLETE", "PRUNED"} <= set(whole.counts)


def test_a_mended_objective_goes_on_under_its_name_where_every_trial_has_failed(cli: Cli) -> None:
    mine = Path("mine.py")
    mine.write_text("def objective(trial):\n    return trial.suggest_float('x', 0, 1) + y\n")
    arguments = ("study", "mine.py", "--workers", 1, "--trials")
    assert cli(*arguments, 2).code == 1
    mine.write_text("def objective(trial):\n    return trial.suggest_float('x', 0, 1)\n")
    assert cli(*arguments, 3).code == 0
    assert json.loads(cli("show", "mine", "--format", "json").out)["counts"] == {"COMPLETE": 1, "FAIL": 2}
    mine.write_text("def objective(trial):\n    return 2 * trial.suggest_float('x', 0, 1)\n")
    again = cli(*arguments, 4)
    assert (again.code, "mine.py has changed" in again.err) == (2, True)


def test_a_trial_without_a_checkpoint_is_said_to_begin_again(cli: Cli) -> None:
    Path("mine.py").write_text(
        "import os, signal\n"
        "def objective(trial):\n"
        "    for epoch in range(1, 4):\n"
        "        if epoch == 2 and not os.path.exists('killed'):\n"
        "            open('killed', 'w').close()\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "        trial.report(1.0, epoch)\n"
    )
    stopped = cli("study", "mine.py", "--workers", 1, "--trials", 1)
    saved = "what was reported is saved. Trial 0 has no checkpoint and begins again: see track(...). To resume:"
    assert f"stopped (interrupted); {saved}" in stopped.lines
    again = cli("study", "mine.py", "--workers", 1, "--trials", 1)
    assert "trial 0 begins again, as it saved no checkpoint; the study has 2 epochs" in again.lines


def test_what_an_error_says_is_shown_without_what_it_would_do_to_a_terminal(cli: Cli) -> None:
    Path("mine.py").write_text(
        "class Mute(Exception):\n    def __str__(self):\n        raise KeyError\n"
        "def space(trial):\n    return {}\n"
        "def objective(trial, params):\n"
        "    if trial.number == 0:\n        raise ValueError('\\x1b[31mred\\nand ' + 'x' * 5000)\n"
        "    raise Mute\n"
    )
    outcome = cli("study", "mine.py", "--trials", 2, "--workers", 1, "--set", "stop.failures=1")
    more = cli("study", "mine.py", "--trials", 2, "--workers", 1)
    shown = cli("show", "mine")

    (live,) = [line for line in outcome.lines if line.startswith("trial   0")]
    assert live.startswith("trial   0  failed    ValueError: \\x1b[31mred and xxx")
    assert len(live) < 250
    assert [line for line in outcome.lines if line.startswith("stopped: the last 1 trials failed alike")]
    assert [line for line in more.lines if line == "trial   1  failed    Mute"]
    assert "\\x1b[31mred" in shown.out
    assert "x" * 5000 in shown.out
    assert "\x1b" not in outcome.out + outcome.err + more.out + more.err + shown.out


def test_from_the_command_line_it_runs_continues_and_maximises(cli: Cli) -> None:
    Path("mine.py").write_text(
        "def space(trial):\n    return {'x': trial.suggest_float('x', 0, 1)}\n"
        "def objective(trial, params):\n    return params['x'], params['x'] ** 2\n"
    )
    arguments = ("study", "mine.py", "--objectives", "up,down", "--directions", "maximize,minimize", "--workers", 1)
    assert cli(*arguments, "--trials", 4).code == 0
    outcome = cli("study", "--name", "mine", "--trials", 6, "--json")
    result = json.loads(outcome.out)
    assert (result["direction"], result["counts"]) == ("maximize, minimize", {"COMPLETE": 6})
    assert "Pareto front" in cli("show", "mine").out

    Path("mine.py").write_text(Path("mine.py").read_text() + "\n# a comment changes nothing\n")
    assert cli("study", "--name", "mine", "--trials", 6).code == 0
    Path("mine.py").write_text(Path("mine.py").read_text().replace("** 2", "** 3"))
    changed = cli("study", "mine.py", "--name", "mine", "--trials", 7)
    assert changed.code == 2
    assert any("objective.fingerprint: mine.py has changed: the study has" in line for line in changed.lines)


def test_the_skeleton_in_the_docs_runs_as_it_is_pasted(cli: Cli) -> None:
    text = (EXAMPLE.parents[1] / "docs" / "search.md").read_text()
    block = re.search(r"## A custom objective.*?```python\n(.*?)```", text, re.S)
    assert block is not None
    Path("mine.py").write_text(block[1])
    outcome = cli("study", "mine.py", "--trials", 2, "--epochs", 3, "--workers", 1, "--pruner", "none")
    assert (outcome.code, "2 trials: 2 complete" in outcome.out) == (0, True)
    assert re.search(r"epoch +3 of 3 ", outcome.out)


FOUR = (
    "def space(trial):\n    return {'x': trial.suggest_categorical('x', [1, 2, 3, 4])}\n"
    "def objective(trial, params):\n    return 10.0 ** params['x']\n"
)


@pytest.mark.parametrize("sampler", ["grid", "brute-force"])
def test_an_exhausted_study_says_so_and_next_names_only_what_works(cli: Cli, sampler: str) -> None:
    Path("mine.py").write_text(FOUR)
    arguments = ("study", "mine.py", "--sampler", sampler, "--workers", 1, "--trials")
    first, again = cli(*arguments, 4), cli(*arguments, 4)
    for outcome in (first, again):
        assert outcome.code == 0
        assert outcome.lines[-1] == "stopped: every configuration of the space was tried"
        commands = [line.split()[3] for line in outcome.out.splitlines() if "python -m optlstm" in line]
        assert commands == ["show", "dashboard"]
        assert "None" not in outcome.out
    assert again.lines[2] == "nothing to do: the study has 4 trials: 4 complete"


def test_a_study_that_is_not_exhausted_can_go_on_and_makes_no_model(cli: Cli) -> None:
    Path("mine.py").write_text(FOUR)
    outcome = cli("study", "mine.py", "--sampler", "random", "--workers", 1, "--trials", 2)
    commands = [line.split()[3] for line in outcome.out.splitlines() if "python -m optlstm" in line]
    assert commands == ["show", "dashboard", "study"]
    promoted = cli("study", "--promote", "mine")
    expected = "promote: study 'mine' has a custom objective, and no data to take more of"
    assert (promoted.code, promoted.lines) == (2, [expected])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--set", "training.patience=2"), "training.patience: mine.py brings its own; leave it out"),
        (("--set", "training.metric=mae"), "training.metric: mine.py brings its own; leave it out"),
        (("--loss", "mae"), "training.loss: mine.py brings its own; leave it out"),
        (
            ("--directions", "min,max"),
            "directions: minimize and maximize are the words, one for each objective, got 'min,max'",
        ),
    ],
)
def test_what_a_custom_objective_does_not_take_is_refused(cli: Cli, arguments: tuple[str, ...], expected: str) -> None:
    Path("mine.py").write_text(FOUR)
    outcome = cli("study", "mine.py", *arguments)
    assert (outcome.code, outcome.lines, Path("runs").exists()) == (2, [expected], False)


def test_values_too_large_to_read_and_studies_in_advice(cli: Cli) -> None:
    Path("mine.py").write_text(FOUR.replace("10.0 **", "1e28 *"))
    outcome = cli("study", "mine.py", "--trials", 1, "--workers", 1)
    assert (outcome.code, re.findall(r"\d{9,}", outcome.out + outcome.err)) == (0, [])
    assert re.search(r"best: trial 0, value \de\+28 ", cli("show", "mine").out)
    Path("mine.py").write_text(FOUR.replace("10.0 **", "{} +"))
    failed = cli("study", "mine.py", "--name", "my own", "--workers", 1)
    assert "; look at its traceback: show 'my own' --format json; then" in failed.err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def space(trial): return {}", "objective: mine.py has no function objective(trial, params) -> float"),
        (
            "def train(trial): return 1",
            "objective: mine.py has no function objective(trial) -> float; it has train(trial): name that objective",
        ),
        (
            "def objectve(hidden): return 1",
            "objective: mine.py has no function objective(trial) -> float; did you mean 'objectve'?",
        ),
        (
            "1 / 0  # a script without an objective, which is not run",
            "objective: mine.py has no function objective(trial) -> float",
        ),
        (
            "class A:\n    def fit(trial): 1\n1 / 0",
            "objective: mine.py has no function objective(trial) -> float",
        ),
        ("def space(:", "objective: mine.py, line 1: invalid syntax"),
        ("import sys; sys.exit(0)\nobjective = 1", "objective: mine.py raised SystemExit: 0"),
        ("from nowhere import *", "objective: mine.py raised ModuleNotFoundError: No module named 'nowhere'"),
        (
            "def space(trial): return [1]\ndef objective(trial, params): return 1",
            "objective: mine.py: space(trial) must return a dict of params, and returned list",
        ),
        (
            "def space(trial): return {'x': 1 / 0}\ndef objective(trial, params): return 1",
            "objective: mine.py: space(trial) raised ZeroDivisionError: division by zero",
        ),
        (
            "def space(trial): raise SystemExit(3)\ndef objective(trial, params): return 1",
            "objective: mine.py: space(trial) raised SystemExit: 3",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_a_line(cli: Cli, text: str, expected: str) -> None:
    Path("mine.py").write_text(text)
    for command in (("study", "mine.py"), ("study", "mine.py", "--dry-run")):
        outcome = cli(*command)
        assert (outcome.code, outcome.lines, Path("runs").exists()) == (2, [expected], False)
