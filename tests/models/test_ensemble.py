"""An ensemble as a model: its forecast is the weighted sum of its parts, and it is the same file twice."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
import safetensors.torch
import torch
from pydantic import ValidationError

import optlstm
from optlstm.models.card import Card
from optlstm.models.refit import refit
from optlstm.study.database.connection import open_database
from optlstm.tasks.forecast.mixture import Linear, Mixture
from tests.conftest import URL, Cli


def parts_by_hand(model: optlstm.Model, values: np.ndarray) -> np.ndarray:
    """The parts' forecasts after `values`, [parts, horizon], in the data's units; the linear one last."""
    mean, std = model.card.task.mean[0][0], model.card.task.std[0][0]
    window = torch.tensor((values - mean) / std, dtype=torch.float32)[None]
    tensors = safetensors.torch.load(Path("ensemble/model.safetensors").read_bytes())
    matrix, constant = (tensors[f"extra.linear.{name}"].double().numpy() for name in ("weight", "bias"))
    with torch.no_grad():
        networks = model.predictor.forecaster.networks[: model.card.members]
        parts = [network(window[:, -network.hp.window :])[0].double().numpy() for network in networks]
    parts.append(matrix @ window[0, -matrix.shape[1] :].double().numpy() + constant)
    return np.stack(parts) * std + mean


def test_its_forecast_is_the_weighted_sum_of_its_parts(ensemble: Path) -> None:
    model, data = optlstm.load("ensemble"), pd.read_csv("chaos.csv")["y"].to_numpy()
    weights = np.array(model.card.task.weights)
    assert weights.sum() == pytest.approx(1)
    assert 0 < weights[-1] < 1
    assert len(weights) == model.card.members + 1 == 2 * len(model.card.trials) + 1

    np.testing.assert_allclose(model.predict("chaos.csv")["y"], weights @ parts_by_hand(model, data), rtol=1e-5)

    back = model.predict("chaos.csv", backtest=24 - 4 + 1)
    for cutoff, rows in back.groupby("cutoff"):
        expected = weights @ parts_by_hand(model, data[: int(cutoff) + 1])
        np.testing.assert_allclose(rows["y"], expected, rtol=1e-5)
    error = (back["y-actual"] - back["y"]) / model.card.task.std[0][0]
    assert model.test["mse"] == pytest.approx(np.square(error).mean())
    assert model.card.test.members[0]["mse"] != model.test["mse"]
    assert len(model.card.test.members) == model.card.members
    tested = pd.read_csv("chaos.csv").iloc[96 - model.predictor.forecaster.window :]
    assert model.score(tested)["mse"] == pytest.approx(model.test["mse"])


def test_it_is_the_same_file_twice_and_where_the_weights_of_tuning_are_gone(cli: Cli, ensemble: Path) -> None:
    for folder in Path("runs").glob("chaos-*"):
        shutil.rmtree(folder)

    assert cli("refit", "chaos", "-o", "again", "--seeds", "2").code == 0
    refit(open_database(URL), "chaos", storage_path="runs", more=lambda networks, seconds: 2 - networks).save("timed")

    for folder in ("again", "timed"):
        for name in ("model.json", "model.safetensors"):
            assert Path(folder, name).read_bytes() == Path("ensemble", name).read_bytes()


def test_the_command_says_what_it_is_made_of(cli: Cli, ensemble: Path) -> None:
    parts = json.loads(cli("refit", "chaos", "-o", "new", "--json", "--quiet", "--seeds", "2").out)["ensemble"]
    outcome = cli("refit", "chaos", "-o", "new", "--top", "2", "--no-refit")

    assert outcome.code == 0
    assert re.search(
        r"^saved: new, in place of trial \d of study chaos \(test mae [\d.e-]+\)$", outcome.out, re.MULTILINE
    )
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("ensemble: ")]
    assert "ridge (window " in line
    assert line.endswith(" %")
    assert "ensemble of 2 networks with linear forecasts" in outcome.out or "ensemble with linear" in outcome.out
    assert parts == optlstm.load("ensemble").card.ensemble
    assert sum(parts.values()) == pytest.approx(1)
    ranking = sorted(optuna.load_study(study_name="chaos", storage=URL).trials, key=lambda t: t.values[0])
    trials = [f"trial {trial.number}" for trial in ranking]
    assert [name for name in trials if name in parts] == list(parts)[
        : len(parts) - len(optlstm.load("new").card.task.linear)
    ]
    plain = cli("refit", "chaos", "-o", "plain", "--no-ensemble")
    assert "ensemble" not in plain.out
    assert optlstm.load("plain").card.ensemble == {}
    assert optlstm.load("plain").card.members == 1


def test_a_trial_without_weight_is_named(cli: Cli, ensemble: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mixture = Mixture((0.0, 0.4, 0.0), {Linear("naive", 1): 0.6})
    monkeypatch.setattr("optlstm.tasks.forecast.evaluate.choose_mixture", lambda *arguments: mixture)

    outcome = cli("refit", "chaos", "-o", "new", "--no-refit")

    best, second, third = sorted(optuna.load_study(study_name="chaos", storage=URL).trials, key=lambda t: t.values[0])
    line = f"ensemble: trial {second.number} 40 %, naive 60 %; trials {best.number} and {third.number} got no weight"
    assert line in outcome.out.splitlines()


def test_one_trial_is_weighed_against_linear_forecasts(cli: Cli, ensemble: Path) -> None:
    assert cli("refit", "chaos", "-o", "one", "--trial", "1").code == 0

    card = optlstm.load("one").card
    assert [trained.trial for trained in card.trials] == [1]
    assert next(iter(card.ensemble)) == "trial 1"
    assert sum(card.ensemble.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"weights": [0.1, 0.2]}, "the weights do not sum to 1"),
        ({"weights": [1.0]}, "weights of linear do not sum"),
        ({"weights": []}, "weights, linear and linear_window do not go together"),
        ({"linear_window": 0}, "weights, linear and linear_window do not go together"),
        ({"linear": {}, "linear_window": 0}, "weights of"),
        ({"linear": {"naive": 0.9999}}, "weights of linear do not sum"),
    ],
)
def test_weights_that_do_not_fit_the_parts_are_refused(
    ensemble: Path, change: dict[str, object], expected: str
) -> None:
    content = json.loads(Path("ensemble/model.json").read_text())
    content = {key: value for key, value in content.items() if key not in ("format", "sha256")}
    content["task"] |= change

    with pytest.raises(ValidationError, match=expected):
        Card.model_validate_json(json.dumps(content))
