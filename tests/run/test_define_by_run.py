"""Optuna's `objective(trial)`, which asks for its params while it runs: the same trials however it is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from optlstm.run.plan import Plan
from optlstm.study.define_by_run import OpenSpace
from optlstm.study.ledger import Ledger
from optlstm.study.record import StudyRecord
from optlstm.study.space import Param
from optlstm.util.user_code import UserFile
from tests.backends.contract import BACKENDS, INLINE, RAY, Backend, Studies, backend_param, table
from tests.conftest import Cli
from tests.run.custom import plan_of, run
from tests.run.loops import MANY, OPTUNA


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "loop.py").write_text(OPTUNA)
    return plan_of(tmp_path / "loop.py")


def weights(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.safetensors")}


@pytest.mark.parametrize("backend", [backend_param(backend) for backend in BACKENDS])
def test_the_same_trials_to_the_last_bit_on_every_backend_interrupted_anywhere(
    request: pytest.FixtureRequest, studies: Studies, plan: Plan, tmp_path: Path, backend: Backend
) -> None:
    if backend.name == "ray":
        request.getfixturevalue("local_ray")
    whole = run(studies, "whole", plan, tmp_path / "whole", 6, INLINE)
    for after in (4, 1, 2, 3, 0) if backend == INLINE else (0,):  # 4: behind a trial's last epoch
        broken = run(studies, "broken", plan, tmp_path / "broken", 6, backend, after)
    assert table(broken) == table(whole)
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")
    assert whole.counts["COMPLETE"] >= 3
    assert {frozenset(t.params) for t in whole.trials} == {
        frozenset({"hidden", "optimizer", "lr"}),
        frozenset({"hidden", "optimizer", "lr", "momentum"}),
    }
    assert [t.distributions["lr"].log for t in whole.trials] == [True] * 6  # type: ignore[attr-defined]


@pytest.mark.parametrize("backend", [backend_param(backend) for backend in (INLINE, RAY)])
def test_loops_of_many_kinds_end_as_if_nobody_had_interrupted_them(
    request: pytest.FixtureRequest, studies: Studies, tmp_path: Path, backend: Backend
) -> None:
    if backend.name == "ray":
        request.getfixturevalue("local_ray")
    (tmp_path / "many.py").write_text(MANY)
    plan = plan_of(tmp_path / "many.py", pruner={"name": "none"})
    whole = run(studies, "whole", plan, tmp_path / "whole", 3, INLINE)
    for after in (1, 2, 1, 3, 2, 0) if backend == INLINE else (0,):
        broken = run(studies, "broken", plan, tmp_path / "broken", 3, backend, after)
    assert whole.counts == {"COMPLETE": 3}
    assert table(broken) == table(whole)
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")


def test_the_same_function_runs_under_optuna_alone(tmp_path: Path, plan: Plan) -> None:
    module = UserFile.read("objective", str(tmp_path / "loop.py")).run("objective", "by_optuna")
    study = optuna.create_study()
    study.optimize(module.objective, n_trials=1)
    assert list(study.best_trial.intermediate_values) == [0, 1, 2, 3]


def test_a_trial_that_was_killed_between_two_params_gets_the_same_ones(studies: Studies) -> None:
    record = StudyRecord(OpenSpace((), {}), 7, 3, "tpe", "none")
    kind = Param("kind", "categorical", choices=("a", "b", "c"))
    asked = [Param("x", "float", 0, 1), Param("y", "float", 0, 1), kind, Param("n", "int", 1, 99)]

    def suggested(name: str, killed: bool) -> list[list[Any]]:
        values = []
        ledger = Ledger(studies.ledger("other")._database, name, record)
        for _ in range(13):  # also behind tpe's random trials
            number = ledger.assign(20).number  # type: ignore[union-attr]
            answers = []
            for param in asked:
                answers.append(ledger.suggest(number, param))
                if killed:
                    ledger.release(number)
                    ledger = Ledger(ledger._database, name, record)
                    again = ledger.assign(20)
                    assert again is not None
                    assert (again.number, again.params[param.name]) == (number, answers[-1])
            ledger.complete(number, (answers[0] - 0.3) ** 2, {})
            assert answers[0] != answers[1]  # each is drawn for itself
            values.append(answers)
        return values

    assert suggested("killed", killed=True) == suggested("whole", killed=False)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("trial.suggest_float('x', 2, 1)", "ValueError: suggest 'x': "),
        ("trial.suggest_categorical('x', [])", "ValueError: suggest 'x': "),
        (
            "trial.suggest_categorical('x', [1, object()])",
            "ValueError: suggest 'x': a study keeps its choices, and one of type object has no name and",
        ),
        (
            "trial.suggest_float('x', 0, 1); trial.suggest_int('x', 0, 1)",
            "ValueError: suggest 'x': Cannot set different distribution kind to the same parameter name.",
        ),
        (
            "trial.suggest_float('x', 1, 2); trial.suggest_float('x', 1, 2, log=True)",
            "ValueError: suggest 'x': Cannot set different log configuration to the same parameter name.",
        ),
        (
            "trial.suggest_categorical('x', [1]); trial.suggest_categorical('x', [2])",
            "ValueError: suggest 'x': CategoricalDistribution does not support dynamic value space.",
        ),
        (
            "trial.study",
            "AttributeError: a trial has no 'study' where it is trained, away from its study; it has best_va",
        ),
        (
            "trial.sugest_float('x', 0, 1)",
            "AttributeError: a trial has no 'sugest_float' where it is trained; did you mean 'suggest_float'?",
        ),
        ("return 1.0, 2.0", "the objective returned 2 values for 1; name them: --objectives A,B"),
    ],
)
def test_what_it_cannot_ask_or_return_fails_its_trial(
    studies: Studies, tmp_path: Path, body: str, expected: str
) -> None:
    (tmp_path / "bad.py").write_text(f"def objective(trial):\n    {body}\n")
    ledger = run(studies, "bad", plan_of(tmp_path / "bad.py"), tmp_path / "bad", 1, INLINE)
    assert ledger.trials[0].user_attrs["reason"].startswith(expected)


ODD = """
def space(trial):
    x = trial.suggest_float("x", 0, 1)
    again = trial.suggest_float("x", 5, 6)
    kind = trial.suggest_categorical("kind", [int, float])
    return {"x": x, "again": again, "kind": kind, "size": trial.suggest_categorical("size", [(1, 2), (3, 4)])}

def objective({arguments}):
    params = space(trial)
    assert params["x"] == params["again"]
    return params["x"] + sum(map(params["kind"], params["size"] + ()))
"""


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize("arguments", ["trial", "trial, params"])
def test_what_optuna_warns_of_is_warned_of_and_tuples_come_back_as_they_were_given(
    studies: Studies, tmp_path: Path, arguments: str, recwarn: pytest.WarningsRecorder
) -> None:
    (tmp_path / "odd.py").write_text(ODD.replace("{arguments}", arguments))
    ledger = run(studies, "odd", plan_of(tmp_path / "odd.py"), tmp_path / "odd", 4, INLINE)
    assert ledger.counts == {"COMPLETE": 4}
    warned = "".join(str(warning.message) for warning in recwarn)
    assert 'Inconsistent parameter values for distribution with name "x"!' in warned
    assert "float and str for persistent storage but contains (1, 2) which is of type tuple: the study has" in warned
    assert {trial.params["kind"] for trial in ledger.trials} <= {"int", "float"}
    assert {trial.params["size"] for trial in ledger.trials} <= {"[1, 2]", "[3, 4]"}


def test_from_the_command_line_with_several_values_and_params_to_try_first(cli: Cli) -> None:
    Path("two.py").write_text(
        "def objective(trial):\n    x = trial.suggest_float('x', 0, 1)\n    return x, trial.suggest_int('n', 1, 3)\n"
    )
    arguments = ("study", "two.py", "--objectives", "up,down", "--directions", "maximize,minimize", "--workers", 1)
    outcome = cli(*arguments, "--trials", 3, "--set", "enqueue=[{x=0.25}]")
    assert outcome.code == 0
    assert outcome.lines[0] == "study two: two.py, params as it asks for them"
    study = optuna.load_study(study_name="two", storage="sqlite:///runs/optlstm.db")
    assert [t.params["x"] == 0.25 for t in study.trials] == [True, False, False]
    assert cli("study", "--name", "two", "--trials", 4, "--workers", 1).code == 0
    assert "x" in cli("show", "two").out
    exhausted = cli("study", "two.py", "--name", "grid", "--sampler", "grid")
    assert (exhausted.code, exhausted.lines[0][:53]) == (2, "space: the objective asks for its params while it run")
    population = cli("study", "two.py", "--name", "pbt", "--scheduler", "pbt")
    assert population.lines == [
        "scheduler: pbt has to know the params before they run; give the objective space(trial)"
    ]


def test_every_configuration_is_tried_where_they_can_be_counted(cli: Cli) -> None:
    Path("count.py").write_text(
        "def objective(trial):\n    kind = trial.suggest_categorical('kind', ['a', 'b'])\n"
        "    return trial.suggest_int('n', 1, 3) if kind == 'a' else 0.5\n"
    )
    outcome = cli("study", "count.py", "--sampler", "brute-force", "--workers", 1, "--trials", 20)
    assert outcome.lines[-1] == "stopped: every configuration of the space was tried"
    assert "4 trials: 4 complete" in outcome.out
