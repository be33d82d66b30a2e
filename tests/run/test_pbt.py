"""Populations from the command line, with real training."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.conftest import URL, Cli
from tests.study.processes import dying_command, exit_code, start

PBT = """\
scheduler = "pbt"
workers = 1
[data]
path = "tiny.csv"
horizon = 4
epoch_steps = 1
[training]
epochs = 6
[pbt]
population = 4
interval = 2
morph = true
factors = [1.25]
[space]
window = 8
patch = 4
hidden_size = {low = 4, high = 64, step = 4, default = 4}
num_layers = {low = 1, high = 2}
dropout = {low = 0.0, high = 0.5, step = 0.1}
pooling = "last"
linear_skip = true
window_norm = "last"
learning_rate = {low = 1e-3, high = 1e-1, log = true}
"""


@pytest.fixture
def population(folder: Path) -> str:
    (folder / "pbt.toml").write_text(PBT)
    return "pbt.toml"


def test_a_population_with_growing_networks_and_the_replay_of_every_trial(
    cli: Cli, cached_cli: Cli, population: str
) -> None:
    assert cached_cli("study", population).code == 0
    trials = optuna.load_study(study_name="pbt", storage=URL).trials
    copies = [t for t in trials if "parent" in t.user_attrs]
    assert len(copies) == 2
    grown = [t for t in copies if t.params["hidden_size"] > trials[t.user_attrs["parent"]].params["hidden_size"]]
    deeper = [t for t in copies if t.params["num_layers"] > trials[t.user_attrs["parent"]].params["num_layers"]]
    assert grown or deeper, "choose another seed: nothing grew"
    for trial in trials:
        replayed = cli("schedule", "pbt", trial.number, "--replay")
        assert replayed.code == 0, replayed.out
    tree = cli("show", "pbt", "--lineage").out
    assert all(f"trial {trial.number} " in tree for trial in trials)


def test_run_twice_the_second_has_nothing_to_do(cli: Cli, cached_cli: Cli, population: str) -> None:
    assert cached_cli("study", population).code == 0
    before = optuna.load_study(study_name="pbt", storage=URL).trials
    again = cli("study", "--name", "pbt")
    assert again.code == 0
    assert "nothing to do" in again.err
    assert optuna.load_study(study_name="pbt", storage=URL).trials == before


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--set", "pbt.population=1"], "pbt.population: must be at least 2, got 1"),
        (["--set", "pbt.interval=6"], "pbt.interval: 6 epochs leave no exploit in training.epochs = 6"),
        (["--set", "pbt.burn_in=5"], "pbt.burn_in: 5 epochs leave no exploit in training.epochs = 6"),
        (["--set", "pbt.interval=0"], "pbt.interval: must be at least 1, got 0"),
        (["--set", 'pbt.params=["dropuot"]'], "did you mean 'dropout'?"),
        (["--set", 'pbt.params=["window"]'], "pbt.params: 'window' is fixed in this space"),
        (["--set", "pbt.factors=[0.0]"], "pbt.factors: must be above 0, got 0.0"),
        (["--set", 'pbt.explore="nowhere:f"'], "pbt.explore: there is no module 'nowhere'"),
        (["--set", "pbt.morph=false", "--set", 'pbt.params=["hidden_size"]'], "add pbt.morph = true"),
        (["--set", "space.layer_norm=true"], "pbt.morph: hidden_size cannot grow under layer_norm"),
        (["--set", "pbt.populaton=4"], "did you mean 'population'?"),
        (["--pruner", "median"], "pruner.name: a population replaces its poor members itself"),
        (["--set", "training.patience=2"], "training.patience: the members of a population all live"),
        (["--trials", "9"], "trials: with --scheduler pbt they follow from pbt.population"),
        (["--scheduler", "asha"], "scheduler: asha is Ray's own and needs --backend ray"),
    ],
)
def test_nonsense_is_refused_in_one_line(cli: Cli, population: str, flags: list[str], said: str) -> None:
    refused = cli("study", population, *flags)
    assert refused.code == 2
    assert [line for line in refused.lines if said in line], refused.err
    assert not Path("runs").exists()


def test_a_study_that_is_no_population_has_no_lineage(cli: Cli, cached_cli: Cli) -> None:
    assert cached_cli("study", "tiny.toml").code == 0
    for arguments in (["show", "tiny", "--lineage"], ["schedule", "tiny", "0"]):
        refused = cli(*arguments)
        assert refused.code == 2
        assert "is not a population" in refused.err
    refused = cli("study", "tiny.toml", "--scheduler", "pbt", "--epochs", "8")
    assert refused.code == 2
    assert refused.lines[0] == "scheduler: study 'tiny' exists and has 'study', not 'pbt'; give --name"


LINEAGE = ("member", "generation", "parent", "replaces", "from_epoch", "reason")


def family(name: str) -> list[tuple[Any, ...]]:
    """Every trial with its lineage, and the digest of the weights that survivors were left with."""
    found = []
    for t in optuna.load_study(study_name=name, storage=URL).trials:
        headers = sorted(Path("runs").glob(f"{name}-*/trial-{t.number:05d}/epoch-*.json"))
        digest = json.loads(headers[-1].read_text())["tensors"] if headers and t.state.name == "COMPLETE" else None
        attrs = [t.user_attrs.get(key) for key in LINEAGE]
        found.append((t.number, t.state.name, t.values, t.params, t.intermediate_values, attrs, digest))
    return found


@pytest.mark.slow
def test_killed_again_and_again_it_is_the_same_family(
    cli: Cli, cached_cli: Cli, folder: Path, population: str, draw: random.Random
) -> None:
    assert cached_cli("study", population).code == 0
    killed = ("study", population, "--name", "killed", "--quiet")
    for _ in range(2):
        driver = start(dying_command, folder, killed, draw.randint(1, 8), draw.random() * 0.02)
        assert exit_code(driver) == -signal.SIGALRM
    assert cli(*killed).code == 0
    expected = family("pbt")
    assert family("killed") == expected
    assert sum(row[6] is not None for row in expected) == 3  # the weights of the best three stay on disk


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_the_same_family_on_ray_with_the_default_folder(cli: Cli, population: str) -> None:
    study = ("study", population, "--loss", "mae", "--set", "pbt.population=3")
    assert cli(*study, "--name", "local").code == 0
    assert cli(*study, "--name", "ray", "--backend", "ray").code == 0
    assert family("ray") == family("local")
    assert list(Path("runs").glob("ray-*/trial-*/epoch-*.json")), "the checkpoints are not where they belong"
