"""A study on a file of another form, and its model on files of others: the same numbers give the same forecasts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import optlstm
from tests.conftest import Cli

STUDY = ("--horizon", "4", "--trials", "1", "--epochs", "1", "--workers", "1", "--name", "g", "--set", "data.folds=0")
SPACE = ("--set", "space.window=8", "--set", "space.hidden_size=4", "--gaps", "interpolate")


def test_a_model_reads_files_of_any_form(cli: Cli, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    days = pd.date_range("2024-01-01", periods=90, freq="D")
    values = (12 + np.sin(np.arange(90))).round(3) + 0.0001
    frame = pd.DataFrame({"Tag": days, "Menge": values})
    frame.loc[[10, 40, 65, 66, 80], "Menge"] = -200
    frame.to_csv("g.csv", sep=";", decimal=",", index=False)
    study = ("study", "--data", "g.csv", "--time", "Tag", "--target", "Menge", *STUDY, *SPACE)

    done = cli(*study, "--set", "data.missing=-200")
    assert done.code == 0, done.err
    assert "data: g.csv read as: separated by ';', decimal commas" in done.err
    assert cli("refit", "g", "-o", "model").code == 0
    card = json.loads(Path("model/model.json").read_text())["task"]["form"]
    assert {key: value for key, value in card.items() if value} == {"missing": [-200.0], "usual_decimal": ","}

    frame.to_csv("plain.csv", index=False)
    frame.to_csv("tabs.tsv", sep="\t", index=False, encoding="utf-16")
    frame.tail(12).to_csv("points.csv", sep=";", index=False)
    outputs = {}
    for name in ("g.csv", "plain.csv", "tabs.tsv", "points.csv"):
        caplog.clear()
        predicted = cli("predict", "model", "--data", name, "-o", "out.csv")
        assert predicted.code == 0, predicted.err
        assert (f"data: {name} read as: " in caplog.text) == (name != "plain.csv")
        outputs[name] = Path("out.csv").read_bytes()
    assert len(set(outputs.values())) == 1

    rounded = frame.tail(8).assign(Menge=[f"{value:.3f}".replace(".", ",") for value in frame["Menge"].tail(8)])
    rounded.to_csv("open.csv", sep=";", index=False)  # 12,345 could be 12345
    assert cli("predict", "model", "--data", "open.csv", "-o", "out.csv").code == 0
    forecast = pd.read_csv("out.csv")["Menge"]
    assert forecast.between(10, 14).all()


def test_predict_is_told_how_a_file_is_read(made: Path, cli: Cli) -> None:
    frame = pd.read_csv("tiny.csv", dtype=str)
    time, target = frame.columns[:2]
    frame.loc[len(frame) - 1, target] = "n.d."
    frame.to_csv("marks.csv", index=False)

    predict = ("predict", "model", "--data", "marks.csv", "-o", "out.csv", "--gaps", "interpolate")
    assert cli(*predict).code == 2
    told = cli(*predict, "--set", "data.missing=n.d.")
    assert told.code == 0, told.err
    forecast = optlstm.load("model").predict("marks.csv", missing="n.d.", gaps="interpolate")
    assert forecast[time].tolist() == pd.read_csv("out.csv")[time].tolist()
    for wrong, problem in (
        ("data.horizon=3", "--set data.horizon=3: the model has settled that; predict takes data.separator, "),
        ("data.decimal=x", "data.decimal: must be "),
    ):
        refused = cli(*predict, "--set", wrong)
        assert (refused.code, len(refused.err.splitlines())) == (2, 1)
        assert refused.err.startswith(problem)
