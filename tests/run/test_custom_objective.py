"""A custom objective: the same ledger, the same backends, the same checks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from optlstm.backends.driver import Run
from optlstm.backends.local.runner import run_local
from optlstm.backends.trial import Decision, WorkerTrial
from optlstm.errors import StopTrial, TrialFailed
from optlstm.run.custom_checkpoint import Saved
from optlstm.run.custom_trial import Trial, track
from optlstm.run.plan import Plan, make_plan
from optlstm.study.events import Assignment, EpochReported, Event
from optlstm.study.ledger import Ledger
from optlstm.training.checkpoints import write_checkpoint
from optlstm.util.files import Location, trial_folder
from tests.backends.contract import Studies, table
from tests.conftest import Cli

EXAMPLE = Path(__file__).parents[2] / "studies" / "logistic.py"
BACKENDS = ["local", pytest.param("ray", marks=pytest.mark.ray)]


def plan_of(**raw: Any) -> Plan:
    raw = {"name": "custom", "objective": str(EXAMPLE), "training": {"epochs": 6}, **raw}
    return make_plan({"sampler": {"name": "tpe", "n_startup_trials": 4}, "pruner": {"name": "asha"}, **raw})


def run(
    studies: Studies, name: str, plan: Plan, folder: Location, backend: str = "local", after: int | None = None
) -> Ledger:
    """Run the study, or some reports of it."""
    from optlstm.study.database.connection import open_database

    if isinstance(folder, Path):
        folder.mkdir(exist_ok=True)
    ledger = Ledger(open_database(studies.url), name, plan.record)
    run, reports = Run(ledger, plan.config.trials), list[Event]()

    def stop(event: Event) -> None:
        reports.append(event) if isinstance(event, EpochReported) else None
        if len(reports) == after:
            run.stop("test")

    ledger.listen(stop)
    if backend == "ray":
        from optlstm.backends.ray.runner import run_ray

        run_ray(run, plan.job(folder), workers=1)
    else:
        run_local(run, plan.job(folder), 1)
    return ledger


@pytest.fixture
def studies(tmp_path: Path) -> Studies:
    return Studies(tmp_path)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_example_is_the_same_table_however_it_is_run(
    request: pytest.FixtureRequest, studies: Studies, tmp_path: Path, backend: str
) -> None:
    if backend == "ray":
        request.getfixturevalue("local_ray")
    plan = plan_of(trials=12)
    whole = run(studies, "whole", plan, tmp_path / "whole")
    for after in (8, None) if backend == "ray" else (3, 8, 1, None):
        broken = run(studies, "broken", plan, tmp_path / "broken", backend, after)
    assert table(broken) == table(whole)
    assert {"COMPLETE", "PRUNED"} <= set(whole.counts)


def test_what_was_saved_is_what_is_loaded_and_nothing_is_pickled(studies: Studies, tmp_path: Path) -> None:
    file = tmp_path / "saving.py"
    file.write_text(
        "import numpy as np, torch\n"
        "def space(trial):\n    return {'x': trial.suggest_float('x', 0, 1)}\n"
        "def objective(trial, params):\n"
        "    assert trial.load_checkpoint() is None\n"
        "    trial.save_checkpoint(1, {'a': np.arange(3), 'b': torch.ones(2)}, {'note': 'kept'})\n"
        "    saved = trial.load_checkpoint()\n"
        "    assert (saved.epoch, saved.meta) == (1, {'note': 'kept'})\n"
        "    assert isinstance(saved.arrays['a'], np.ndarray) and saved.arrays['a'].dtype == np.int64\n"
        "    assert isinstance(saved.arrays['b'], torch.Tensor)\n"
        "    trial.set_user_attr('seed', trial.seed)\n"
        "    return params['x']\n"
    )
    ledger = run(studies, "saving", plan_of(trials=2, objective=str(file)), tmp_path / "saved")
    assert ledger.counts == {"COMPLETE": 2}
    assert len({trial.user_attrs["seed"] for trial in ledger.trials}) == 2


class Killed(BaseException):
    """Ends the process, as the objective sees it."""


def custom_trial(folder: Path, reports: list[tuple[int, float]], answer: Decision | None, last_epoch: int) -> Trial:
    """A trial whose driver stores reports and gives an answer; None: the process is killed before it has one."""

    def report(epoch: int, value: float) -> Decision:
        if answer is None:
            raise Killed
        reports.append((epoch, value))
        return answer

    return Trial(WorkerTrial(Assignment(0, {}, last_epoch, 0), report), seed=0, epochs=9, checkpoints=folder)


def test_killed_between_a_checkpoint_and_its_report_the_value_is_reported_when_the_trial_is_resumed(
    tmp_path: Path,
) -> None:
    reports: list[tuple[int, float]] = []
    before = custom_trial(tmp_path, reports, Decision.CONTINUE, last_epoch=0)
    for epoch in (1, 2):
        before.save_checkpoint(epoch, meta={"at": epoch})
        before.report(epoch / 10, epoch)
    before.save_checkpoint(3, meta={"at": 3})  # killed here

    again = custom_trial(tmp_path, reports, None, last_epoch=2)
    saved = again.load_checkpoint()
    assert saved is not None
    assert (saved.epoch, saved.meta) == (2, {"at": 2})  # epoch 3 is trained again: nobody knows its value
    again.save_checkpoint(3, meta={"at": 3})
    with pytest.raises(Killed):
        again.report(0.3, 3)

    last = custom_trial(tmp_path, reports, Decision.CONTINUE, last_epoch=2)
    saved = last.load_checkpoint()
    assert saved is not None
    assert saved.epoch == 3
    assert reports == [(1, 0.1), (2, 0.2), (3, 0.3)]


def test_the_pruner_is_asked_about_a_value_that_the_study_lacked(tmp_path: Path) -> None:
    reports: list[tuple[int, float]] = []
    before = custom_trial(tmp_path, reports, None, last_epoch=0)
    before.save_checkpoint(1)
    with pytest.raises(Killed):
        before.report(0.5, 1)

    again = custom_trial(tmp_path, reports, Decision.END, last_epoch=0)
    with pytest.raises(StopTrial):
        again.load_checkpoint()
    assert (reports, again.should_prune()) == ([(1, 0.5)], True)


@pytest.mark.parametrize(
    "meta", [{}, {"numpy": None, "meta": {}}, {"numpy": [], "meta": 3}, {"numpy": [], "meta": {}, "values": {"x": 1}}]
)
def test_a_checkpoint_of_another_kind_fails_the_trial_and_says_so(tmp_path: Path, meta: dict[str, Any]) -> None:
    """Found by scripts/fuzz."""
    trial = custom_trial(tmp_path, [], Decision.CONTINUE, last_epoch=1)
    write_checkpoint(trial_folder(tmp_path, 0), 1, {}, meta)
    with pytest.raises(TrialFailed, match="epoch 1 is none that save_checkpoint wrote"):
        trial.load_checkpoint()


def test_a_checkpoint_of_the_first_versions_is_loaded(tmp_path: Path) -> None:
    trial = custom_trial(tmp_path, [], Decision.CONTINUE, last_epoch=2)
    tensors = {"a": torch.arange(3), "b": torch.ones(2)}
    write_checkpoint(trial_folder(tmp_path, 0), 2, tensors, {"meta": {"note": 1}, "numpy": ["a"], "values": {"2": 0.5}})
    saved = trial.load_checkpoint()
    assert saved is not None
    assert (saved.epoch, saved.meta, saved.value) == (2, {"note": 1}, 0.5)
    assert {name: type(array) for name, array in saved.arrays.items()} == {"a": np.ndarray, "b": torch.Tensor}


def test_a_checkpoint_without_a_report_is_kept_when_the_objective_returns(studies: Studies, tmp_path: Path) -> None:
    file = tmp_path / "silent.py"
    file.write_text(
        "def space(trial):\n    return {}\n"
        "def objective(trial, params):\n    trial.save_checkpoint(4, meta={'note': 'kept'})\n    return 1.0\n"
    )
    run(studies, "silent", plan_of(trials=1, objective=str(file)), tmp_path / "silent")
    newest = Saved.newest(tmp_path / "silent" / "trial-00000")
    assert newest is not None
    assert (newest.epoch, newest.meta) == (4, {"note": "kept"})


def test_an_attribute_that_the_study_could_not_read_again_fails_its_trial(studies: Studies, tmp_path: Path) -> None:
    file = tmp_path / "member.py"
    file.write_text(
        "def space(trial):\n    return {}\n"
        "def objective(trial, params):\n    trial.set_user_attr('member', 'x')\n    return 1.0\n"
    )
    ledger = run(studies, "member", plan_of(trials=1, objective=str(file)), tmp_path / "member")
    assert ledger.trials[0].user_attrs["reason"] == "TypeError: set_user_attr('member'): must be a whole number"


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ("trial.report(1.0, -1)", "report(value, step): steps are whole numbers from 0, got -1"),
        ("trial.report(1.0, 0.5)", "report(value, step): steps are whole numbers from 0, got 0.5"),
        ("trial.report(1.0, 1); trial.report(1.0, 0)", "report(value, step): steps are whole numbers from 1, got 0"),
        ("trial.set_user_attr('a', 1)", "the objective returned None, and has reported no value"),
    ],
)
def test_a_report_of_what_is_no_epoch_fails_the_trial_and_says_so(
    studies: Studies, tmp_path: Path, report: str, expected: str
) -> None:
    file = tmp_path / "zero.py"
    file.write_text(f"def space(trial):\n    return {{}}\ndef objective(trial, params):\n    {report}\n")
    ledger = run(studies, "zero", plan_of(trials=1, objective=str(file)), tmp_path / "zero")
    assert ledger.trials[0].user_attrs["reason"] == expected


def test_a_value_that_is_not_finite_ends_the_trial_at_its_report(studies: Studies, tmp_path: Path) -> None:
    file = tmp_path / "diverges.py"
    file.write_text(
        "def objective(trial):\n"
        "    for epoch in range(1, 4):\n"
        "        trial.set_user_attr('reached', epoch)\n"
        "        print('epoch', epoch)\n"
        "        trial.report(float('nan') if epoch == 2 else 1.0, epoch)\n"
        "    return 1.0\n"
    )
    ledger = run(studies, "diverges", plan_of(trials=1, objective=str(file)), tmp_path / "diverges")
    assert ledger.trials[0].user_attrs["reason"] == "the validation value is nan at epoch 2"
    assert ledger.counts == {"FAIL": 1}
    log = (tmp_path / "diverges" / "logs" / "trial-00000.txt").read_text()
    assert "epoch 3" not in log
    assert log.endswith("TrialDiverged: the value is nan after epoch 2\n")


@pytest.mark.parametrize("function", [lambda trial: trial.track, lambda trial: partial(track, trial)])
def test_what_track_cannot_keep_is_said_at_once(tmp_path: Path, function: Callable[[Trial], Any]) -> None:
    call = function(custom_trial(tmp_path, [], Decision.CONTINUE, 0))
    for arguments in ((torch.nn.Linear(1, 1),), (0, torch.nn.Linear(1, 1))):
        with pytest.raises(TypeError, match=r"track: what it keeps has a name, track\(model=model, optimizer=opt"):
            call(*arguments)
    with pytest.raises(
        TypeError, match=r"track\(models=...\): models.0 is of type Linear, which is not kept; .* one by one"
    ):
        call(models=[torch.nn.Linear(1, 1)])


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


def test_a_value_that_json_cannot_hold_fails_its_trial_at_the_call(studies: Studies, tmp_path: Path) -> None:
    file = tmp_path / "attributes.py"
    file.write_text(
        "def space(trial):\n    return {}\n"
        "def objective(trial, params):\n"
        "    later = {'a': (1, 2)}\n"
        "    trial.set_user_attr('kept', later)\n"
        "    later['b'] = object()\n"
        "    if trial.number == 0:\n        trial.set_user_attr('k', object())\n"
        "    if trial.number == 1:\n        trial.set_user_attr('k' * 513, 1)\n"
        "    return 1.0\n"
    )
    ledger = run(studies, "attrs", plan_of(trials=3, objective=str(file)), tmp_path / "attrs")
    reasons = [trial.user_attrs.get("reason") for trial in ledger.trials]
    assert reasons[0] == (
        "TypeError: set_user_attr('k'): the value must be one that JSON holds: Object of type object is not JSON"
        " serializable"
    )
    assert reasons[1].startswith("TypeError: set_user_attr('kkk")
    assert reasons[1].endswith("a key is 1 to 512 printable characters")
    assert ledger.trials[2].user_attrs["kept"] == {"a": [1, 2]}


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
        ("def space(:", "objective: mine.py, line 1: invalid syntax"),
        ("import sys; sys.exit(0)", "objective: mine.py raised SystemExit: 0"),
        ("import nowhere", "objective: mine.py raised ModuleNotFoundError: No module named 'nowhere'"),
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
