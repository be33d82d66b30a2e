"""`refit`: what it trains on, what it scores, that it does so the same way twice, and what it refuses."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import optuna
import pytest
import safetensors.torch
import torch

import optlstm
from optlstm.training.checkpoints import newest_checkpoint
from tests.conftest import URL, Cli, Outcome, series

METRICS = ["mse", "mae", "mse_raw", "mae_raw", "mase", "smape"]
OF_QUANTILES = ["wql", "crps", "msis", "coverage_80", "coverage_90", "width_80", "width_90"]
OF_QUANTILES += [f"pinball_{level}" for level in range(10, 100, 10)]


def test_it_prints_the_model_beside_the_baselines_and_says_who_wins(cli: Cli, made: Path) -> None:
    outcome = cli("refit", "tiny", "-o", "new", "--steps", "--no-ensemble")

    assert outcome.code == 0
    lines = [line.split() for line in outcome.out.splitlines()]
    table = next(line for line in lines if line[:2] == ["test", "rows"])
    assert table[2:] == METRICS
    assert next(line for line in lines if line[:1] == ["quantiles"])[1:4] == ["wql", "crps", "msis"]
    assert re.search(r"coverage of the prediction intervals on the test rows: 50 %: [\d.]+ %, 80 %", outcome.out)
    for name in ("this model", "naive", "drift", "nlinear"):
        assert any(" ".join(line).startswith(name) for line in lines)
    # A sine of 12 rows a period: any linear model is exact, and two epochs of an LSTM of 4 units are not.
    assert re.search(r"better than this model: in mse nlinear(, naive and drift)? \(", outcome.out)
    assert "mase at step" in outcome.out
    assert f"predict new --data {Path('tiny.csv').absolute()} -o OUT.csv" in outcome.out


def test_json_for_programs(cli: Cli, made: Path) -> None:
    outcome = cli("refit", "tiny", "-o", "new", "--json", "--quiet", "--seeds", 3, "--no-ensemble")

    found = json.loads(outcome.out)
    assert outcome.err == ""
    assert list(found["test"]) == [*METRICS, *OF_QUANTILES]
    assert found["model"] == "new"
    assert found["ensemble"] == {}
    assert set(found["baselines"]) == {"naive", "drift", "nlinear"}
    assert list(found["baselines"]["drift"]) == METRICS
    assert list(found["baselines"]["nlinear"]) == list(found["test"])
    assert found["beaten_by"]["mse"][0] == "nlinear"
    assert [len(steps) for steps in found["steps"].values()] == [4] * len(found["test"])
    each = [member["mse"] for member in found["members"]]
    assert len(set(each)) == 3
    assert found["spread"]["mean"]["mse"] == pytest.approx(np.mean(each))
    assert found["spread"]["std"]["mse"] == pytest.approx(np.std(each, ddof=1))
    assert found["test"]["mse"] <= np.mean(each)  # a mean forecast's squared error is at most the mean of theirs


def test_without_test_rows_it_trains_on_all_and_says_that_nothing_was_tested(cli: Cli, folder: Path) -> None:
    assert cli("study", "tiny.toml", "--set", "data.splits=[0.8, 0.2, 0.0]").code == 0

    outcome = cli("refit", "tiny", "-o", "model")

    assert "not tested: the study has no test rows (data.splits)" in outcome.out
    assert "coverage of the prediction intervals not measured: there are no test rows" in outcome.out
    assert "mse" not in outcome.out
    model = optlstm.load("model")
    assert (model.test, model.card.data["splits"], model.card.intervals["windows"]) == ({}, [96, 24, 0], 21)
    assert "not tested" in repr(model)
    assert "not tested" in model._repr_html_()
    assert list(model.predict("tiny.csv", levels=[80, 80])).count("y-lo-80") == 1
    rivals, check = cli("refit", "tiny", "-o", "r", "--rivals"), cli("check", "model", "--data", "tiny.csv")
    assert (rivals.code, check.code) == (2, 2)
    assert "--rivals: there are no test rows" in rivals.err
    assert "check: the model was not tested" in check.err


def test_rivals_are_in_the_table_where_asked_for_and_not_in_the_model(cli: Cli, made: Path) -> None:
    made_alone = cli("refit", "tiny", "-o", "alone", "--json", "--no-ensemble")
    outcome = cli("refit", "tiny", "-o", "new", "--json", "--no-ensemble", "--rivals")

    alone, found = json.loads(made_alone.out), json.loads(outcome.out)
    assert {*found["baselines"]} - {*alone["baselines"]} == {"ets", "theta"}
    assert found["baselines"]["ets"]["mse"] < found["baselines"]["naive"]["mse"]  # it has a trend
    assert [len(steps) for steps in found["baseline_steps"]["theta"].values()] == [4] * len(METRICS)
    assert found["test"] == alone["test"]
    assert Path("new/model.safetensors").read_bytes() == Path("alone/model.safetensors").read_bytes()


def test_the_scores_are_those_of_the_saved_model_on_the_test_rows(made: Path) -> None:
    model = optlstm.load("model")
    splits = model.card.data["splits"]
    assert splits == [84, 12, 24]

    table = model.predict("tiny.csv", backtest=24 - 4 + 1)

    error = np.abs(table["y-actual"] - table["y"])
    std = model.card.task.std[0][0]
    assert model.test["mae_raw"] == pytest.approx(error.mean())
    assert model.test["mse"] == pytest.approx(((error / std) ** 2).mean())
    assert table["ds"].iloc[0] == 96  # the first test row


def test_refitted_twice_it_is_the_same_file(cli: Cli, made: Path) -> None:
    cli("refit", "tiny", "-o", "again", "--seeds", "2", "--no-ensemble")

    for name in ("model.json", "model.safetensors"):
        assert Path("again", name).read_bytes() == Path("model", name).read_bytes()


def test_nothing_of_the_machine_or_the_clock_is_in_the_card(cli: Cli, made: Path) -> None:
    cli("study", "tiny.toml", "--storage", "sqlite:///elsewhere/x.db", "--storage-path", "elsewhere/ck", "--quiet")
    shutil.move("tiny.csv", "moved.csv")

    refit = ("refit", "tiny", "--storage", "sqlite:///elsewhere/x.db", "-o", "b", "--data", "moved.csv")
    outcome = cli(*refit, "--seeds=2", "--no-ensemble")

    assert outcome.code == 0
    assert Path("b/model.json").read_bytes() == Path("model/model.json").read_bytes()
    assert str(made) not in Path("b/model.json").read_text()


def test_another_seed_or_trial_is_another_model(cli: Cli, made: Path) -> None:
    study = optuna.load_study(study_name="tiny", storage=URL)
    other = next(t.number for t in study.trials if t.number != study.best_trial.number)

    cli("refit", "tiny", "-o", "other", "--trial", other, "--no-ensemble")

    card = optlstm.load("other").card
    assert card.trials[0].trial == other
    assert card.trials[0].params["learning_rate"] == study.trials[other].params["learning_rate"]
    assert card.training.trained_on == ["train", "validation"]
    assert len(set(optlstm.load("model").card.trials[0].seeds) | set(card.trials[0].seeds)) == 3


def test_the_best_trials_together_are_the_networks_of_each(cli: Cli, made: Path) -> None:
    trials = optuna.load_study(study_name="tiny", storage=URL).trials
    best = sorted(trials, key=lambda t: t.values[0])[:2]

    outcome = cli("refit", "tiny", "-o", "together", "--top", 2, "--no-ensemble")

    assert outcome.code == 0
    assert f"trials {best[0].number}, {best[1].number} of study tiny: " in outcome.out
    together = safetensors.torch.load(Path("together/model.safetensors").read_bytes())
    for i, trial in enumerate(best):
        assert optlstm.load("together").card.trials[i].value == trial.value
        cli("refit", "tiny", "-o", f"alone-{i}", "--trial", trial.number, "--no-ensemble")
        alone = safetensors.torch.load(Path(f"alone-{i}/model.safetensors").read_bytes())
        own = {name.removeprefix("0."): t for name, t in alone.items() if name.startswith("0.")}
        assert own
        assert all(torch.equal(t, together[f"{i}.{name}"]) for name, t in own.items())
    assert cli("refit", "tiny", "-o", "kept", "--top", 2, "--no-refit", "--no-ensemble").code == 0
    assert [trained.trial for trained in optlstm.load("kept").card.trials] == [t.number for t in best]


def test_averaged_weights_are_others_and_the_card_says_so(cli: Cli, made: Path) -> None:
    assert cli("refit", "tiny", "-o", "averaged", "--averaging", 0.5).code == 0
    assert cli("refit", "tiny", "-o", "not", "--averaging", 0).code == 0
    assert cli("refit", "tiny", "-o", "own").code == 0
    shares = [optlstm.load(name).card.trials[0].params["averaging"] for name in ("averaged", "not", "own")]
    assert shares == [0.5, 0.0, 0.0]
    averaged, plain, own = ((Path(name) / "model.safetensors").read_bytes() for name in ("averaged", "not", "own"))
    assert averaged != plain == own


def test_it_trains_on_validation_rows_and_never_on_test_rows(cli: Cli, made: Path) -> None:
    """Other test rows change the scores and no weight; other validation rows change the weights."""
    lines = series().splitlines()
    for name, row in (("test", 110), ("validation", 90)):
        changed = [*lines[: row + 1], f"{row},7.5", *lines[row + 2 :]]
        Path("tiny.csv").write_text("\n".join(changed) + "\n")
        # Trial 0 is drawn before any value is known: the same params, whatever the rows.
        cli("study", "tiny.toml", "--name", name, "--trials", 1)
        cli("refit", name, "-o", name)
    Path("tiny.csv").write_text(series())
    cli("refit", "tiny", "--trial", 0, "-o", "zero")

    def weights(name: str) -> dict[str, torch.Tensor]:
        tensors = safetensors.torch.load(Path(name, "model.safetensors").read_bytes())
        return {name: tensor for name, tensor in tensors.items() if name not in ("extra.radii", "extra.ranks")}

    base, test, validation = weights("zero"), weights("test"), weights("validation")
    assert all(torch.equal(base[name], test[name]) for name in base)
    assert not any(torch.equal(base[name], validation[name]) for name in base if name.startswith("0."))


def test_no_refit_keeps_the_weights_of_tuning(cli: Cli, made: Path) -> None:
    outcome = cli("refit", "tiny", "-o", "kept", "--no-refit")

    assert outcome.code == 0
    card = optlstm.load("kept").card
    (study_folder,) = [path for path in Path("runs").iterdir() if path.is_dir()]
    found = newest_checkpoint(study_folder / f"trial-{card.trials[0].trial:05d}")
    assert found is not None
    tensors = safetensors.torch.load(Path("kept/model.safetensors").read_bytes())
    best = {name.removeprefix("best."): t for name, t in found[1].items() if name.startswith("best.")}
    assert best
    assert all(torch.equal(tensor, tensors[f"0.{name}"]) for name, tensor in best.items())
    assert card.training.trained_on == ["train"]


def test_weights_that_were_not_kept_are_not_made_up(cli: Cli, made: Path) -> None:
    assert cli("study", "tiny.toml", "--name", "few", "--set", "keep=1", "--quiet").code == 0
    (folder,) = Path("runs").glob("few-*")
    best = optuna.load_study(study_name="few", storage=URL).best_trial.number
    assert [path.name for path in folder.glob("trial-*")] == [f"trial-{best:05d}"]

    refused = cli("refit", "few", "-o", "new", "--no-refit", "--trial", (best + 1) % 3)

    assert refused.code == 2
    assert "--no-refit: the weights of trial" in refused.lines[0]
    assert not Path("new").exists()
    assert cli("refit", "few", "-o", "new", "--no-refit").code == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["tinny", "-o", "new"], "study 'tinny' is not in this database; did you mean 'tiny'?"),
        (["tiny", "-o", "new", "--trial", "3"], "trial 3 is not in this study (trials: 0 to 2)"),
        (["tiny", "-o", "new", "--seeds", "0"], "--seeds: must be at least 1, got 0"),
        (["tiny", "-o", "new", "--top", "-1"], "--top: must be at least 1, got -1"),
        (["tiny", "-o", "new", "--top", "4"], "--top: study 'tiny' has 3 complete trials, not 4"),
        (["tiny", "-o", "new", "--top", "2", "--trial", "1"], "--top: takes the best trials, and --trial another"),
        (["tiny", "-o", "new", "--averaging", "1.5"], "--averaging: must be a number of at least 0 and at most 1"),
        (["tiny", "-o", "new", "--averaging", "1", "--no-refit"], "--averaging: the weights that tuning kept cannot"),
        (["tiny", "-o", "new", "--seeds", "2", "--no-refit"], "--seeds: the weights that tuning kept are of one seed"),
        (["tiny", "-o", "runs"], "-o: runs is not empty and holds no model; name a new folder"),
        (["tiny", "-o", "tiny.csv"], "-o: tiny.csv is a file; name a folder"),
        (["tiny", "-o", "new", "--data", "other.csv"], "data: other.csv is not what the study was made with:"),
        (["tiny", "-o", "new", "--data", "nowhere.csv"], "data: file 'nowhere.csv' not found"),
        (["tiny"], "Missing option"),
    ],
)
def test_what_cannot_be_refitted_is_refused(cli: Cli, made: Path, arguments: list[str], expected: str) -> None:
    Path("other.csv").write_text(series().replace("\n5,", "\n5,1"))

    outcome = cli("refit", *arguments)

    assert outcome.code == 2
    assert outcome.lines[0].startswith(expected)
    assert not Path("new").exists()


def test_a_moved_file_is_asked_for(cli: Cli, made: Path) -> None:
    cli("study", "tiny.toml", "--name", "moved", "--trials", 1)
    Path("tiny.csv").unlink()

    for outcome in (cli("refit", "moved", "-o", "new"), cli("study", "--name", "moved", "--trials", 2)):
        assert outcome.code == 2
        assert "which the study read, is not there; give its new place with --data FILE" in outcome.lines[0]


def proposed(outcome: Outcome) -> list[list[str]]:
    """The arguments of the commands that a refusal says to try."""
    start = "try: python -m optlstm "
    return [shlex.split(line.removeprefix(start)) for line in outcome.lines if line.startswith(start)]


def test_a_study_whose_file_has_grown_says_what_to_do_instead(cli: Cli, made: Path) -> None:
    Path("tiny.csv").write_text(series(140))
    path = str(Path("tiny.csv").absolute())
    refits = [["refit", "tiny", "-o", "tiny-model", "--data", path], ["refit", "tiny", "-o", "new", "--data", path]]

    continued = cli("study", "tiny.toml", "--trials", 4)
    by_name = cli("study", "--name", "tiny", "--trials", 4, "--workers", 1)
    imported = cli("study", "tiny.toml", "--name", "new", "--import", "tiny")
    refitted = cli("refit", "tiny", "-o", "new")

    promoted = ["study", "tiny.toml", "--trials", "4", "--promote", "tiny", "--name", "tiny-2"]
    assert proposed(continued) == [promoted, refits[0]]
    assert proposed(by_name)[0] == [
        "study",
        *["--name", "tiny-2", "--trials", "4", "--workers", "1", "--promote", "tiny"],
    ]
    assert proposed(imported) == [["study", "tiny.toml", "--name", "new", "--promote", "tiny"]]
    assert proposed(refitted) == [refits[1]]
    assert [outcome.code for outcome in (continued, by_name, imported, refitted)] == [2] * 4
    for command in (promoted, *proposed(by_name)[:1], *proposed(imported)):
        accepted = cli(*command, "--dry-run")
        assert "tiny, 140 rows" in accepted.out, accepted.err


@pytest.mark.parametrize("gone", [True, False])
def test_the_params_are_trained_on_a_longer_file(cli: Cli, made: Path, gone: bool) -> None:
    file = "longer.csv" if gone else "tiny.csv"
    Path(file).write_text(series(140))
    if gone:
        Path("tiny.csv").unlink()

    done = cli("refit", "tiny", "-o", "new", "--data", file)

    assert done.code == 0, done.err
    assert "tuned on 120 rows from 0 to 119; trained and tested on 140 rows from 0 to 139" in done.out.splitlines()
    card, before = optlstm.load("new").card, optlstm.load("model").card
    assert card.data["splits"] == [98, 14, 28]
    assert card.training.tuned_on == {key: before.data[key] for key in ("rows", "last", "fingerprint", "splits")}
    assert before.training.tuned_on is None
    assert "tuned_on" not in json.loads(Path("model/model.json").read_text())["training"]
    refused = cli("refit", "tiny", "-o", "other", "--data", file, "--no-refit", "--top", 1)
    assert refused.lines == [
        "--no-refit: the weights that tuning kept are of the study's rows, not of --data; leave one out"
    ]


def test_counts_of_rows_are_shares_of_a_longer_file(cli: Cli, made: Path) -> None:
    counts = ["--set", "data.splits=[80, 20, 20]"]
    assert cli("study", "tiny.toml", "--name", "counts", "--trials", 1, "--epochs", 1, *counts).code == 0
    Path("longer.csv").write_text(series(144))

    done = cli("refit", "counts", "-o", "new", "--data", "longer.csv", "--no-ensemble")

    assert optlstm.load("new").card.data["splits"] == [96, 24, 24], done.err


def test_a_study_without_a_result_is_refused(cli: Cli, made: Path) -> None:
    optuna.create_study(study_name="plain", storage=URL)
    cli("study", "tiny.toml", "--name", "failed", "--trials", 1, "--set", "space.learning_rate=1e30")

    assert "was not made by optlstm" in cli("refit", "plain", "-o", "new").lines[0]
    assert "has no complete trial yet" in cli("refit", "failed", "-o", "new").lines[0]


def test_a_member_of_a_population_is_refitted_by_its_whole_schedule(cli: Cli, made: Path) -> None:
    population = ["--scheduler", "pbt", "--epochs", 4, "--set", "pbt.population=4", "--set", "pbt.interval=1"]
    grow = ["--set", "pbt.morph=true", "--set", "space.hidden_size={choices=[4, 6, 8]}", "--set", "pbt.quantile=0.5"]
    Path("family.toml").write_text(Path("tiny.toml").read_text().replace("trials = 3\n", ""))
    assert cli("study", "family.toml", *population, *grow).code == 0
    trials = optuna.load_study(study_name="family", storage=URL).trials
    child = max((t for t in trials if "parent" in t.user_attrs and t.intermediate_values), key=lambda t: t.number)

    for folder in ("one", "two"):
        assert cli("refit", "family", "--trial", child.number, "-o", folder).code == 0

    schedule = optlstm.load("one").card.trials[0].schedule
    assert len(schedule) > 1
    assert [s.first for s in schedule[1:]] == [s.last + 1 for s in schedule[:-1]]
    assert schedule[-1].trial == child.number
    assert Path("one/model.safetensors").read_bytes() == Path("two/model.safetensors").read_bytes()


def test_studies_shows_what_they_take_on_disk(cli: Cli, made: Path) -> None:
    (row,) = json.loads(cli("studies", "--json").out)
    files = [path for path in Path("runs").rglob("*") if path.is_file() and path.suffix in (".json", ".safetensors")]

    assert row["disk_bytes"] == sum(path.stat().st_size for path in files) > 0
    assert " kB" in cli("studies").out


@pytest.mark.ray
def test_a_study_of_ray_gives_the_same_file(cli: Cli, made: Path) -> None:
    ray = ["--backend", "ray", "--storage", "sqlite:///ray/x.db", "--storage-path", "ray"]
    assert cli("study", "tiny.toml", *ray, "--quiet").code == 0

    refit = ("refit", "tiny", "--storage", "sqlite:///ray/x.db", "-o", "of-ray", "--seeds", 2)
    assert cli(*refit, "--no-ensemble").code == 0

    for name in ("model.json", "model.safetensors"):
        assert Path("of-ray", name).read_bytes() == Path("model", name).read_bytes()
