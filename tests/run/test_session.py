from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from optlstm.config.schema import StudyConfig
from optlstm.run import concurrency
from tests.conftest import Cli

# An objective that needs no torch, whose import takes a worker seconds.
CONSTANT = """\
def space(trial):
    return {"x": trial.suggest_float("x", 0.0, 1.0)}

def objective(trial, params):
    return 1.0
"""


@pytest.mark.parametrize(
    ("raw", "workers", "advice"),
    [
        ({}, 4, None),
        ({}, 5, "workers: 5 trials at a time, 5 threads, on 4 cores: slower than with fewer; give --workers 4"),
        ({"training": {"threads": 2}}, 3, "3 trials at a time, 6 threads, on 4 cores"),
        ({"training": {"threads": 8}}, 1, None),
        ({"backend": "ray"}, 32, "give --workers 4"),
        ({"backend": "ray", "ray": {"cpus_per_trial": 0.25}}, None, "16 trials at a time"),
        ({"backend": "ray"}, None, None),
        ({"backend": "ray", "ray": {"address": "auto"}}, 32, None),
        ({"backend": "ray", "ray": {"gpus_per_trial": 0.5}}, 32, None),
    ],
)
def test_more_trials_than_cores_are_warned_of(
    raw: dict[str, Any], workers: int | None, advice: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concurrency, "cores", lambda: 4)
    warnings = concurrency.crowding(StudyConfig.model_validate(raw), workers)
    assert len(warnings) == (advice is not None)
    assert (advice or "") in "".join(warnings)


def test_the_warning_stands_in_the_plan_and_before_the_first_trial(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "cores", lambda: 1)
    warning = "workers: 2 trials at a time, 2 threads, on 1 cores: slower than with fewer; give --workers 1"
    Path("constant.py").write_text(CONSTANT)
    study = ("study", "constant.py", "--trials=2", "--workers=2")
    assert f"note            {warning}" in cli(*study, "--dry-run").out.splitlines()
    assert warning in cli(*study).lines


def test_a_name_without_a_study_is_refused_or_noted_and_starts_no_other_study_silently(cli: Cli) -> None:
    plain = ("--dry-run", "--workers", 1)
    new = "; of a new one say what it learns from, such as --data FILE (without a name: the bundled series co2)"
    elsewhere = cli("study", "--name", "tiny", "--trials", 4, *plain)  # a folder without a database
    assert (elsewhere.code, elsewhere.lines) == (
        2,
        [f"study 'tiny' is not in this database (it holds no study yet){new}"],
    )
    assert cli("study", "tiny.toml", "--trials", 1).code == 0

    for name, near in (("tinny", "; did you mean 'tiny'?"), ("nope", "")):
        mistyped = cli("study", "--name", name, *plain)
        assert mistyped.code == 2
        assert mistyped.lines == [f"study '{name}' is not in this database{near} (studies: tiny){new}"]
    searched = ("--epochs", 1, "--trials", 1, "--workers", 1, "--set", "artifacts=0", "--set", "space.hidden_size=4")
    note = "no study 'nope' here yet: a new one, of the bundled series co2"
    assert note in cli("study", "--name", "nope", *searched).lines
    for known in (("--name", "tiny"), (), ("--name", "co2-2"), ("--data", "tiny.csv", "--name", "tinny")):
        planned = cli("study", *known, *plain)
        assert (planned.code, "no study" in planned.out) == (0, False)


def test_a_dry_run_says_what_continuing_would(cli: Cli) -> None:
    assert cli("study", "tiny.toml", "--trials", 1).code == 0
    for changed in (("--seed", 4), ("--stop-value", 1e9), ("--set", "space.hidden_size=5")):
        planned, refused = (cli("study", "tiny.toml", *changed, *dry) for dry in (("--dry-run",), ()))
        assert (planned.code, refused.code) == (2, 2)
        assert [line.replace(" --dry-run", "") for line in planned.lines] == refused.lines
