"""A series with gaps from its study to forecasts: masked, and never invented."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

import optlstm
from tests.cli.test_bad_input import refuses
from tests.conftest import Cli

TINY = ("--horizon", "4", "--trials", "2", "--epochs", "2", "--workers", "1", "--name", "m")
SPACE = ("--set", "space.window=8", "--set", "space.hidden_size=4", "--set", "seed=1", "--set", "data.epoch_steps=4")


def test_a_masked_series_from_study_to_forecast(cli: Cli, folder: Path) -> None:
    days = pd.date_range("2024-01-01", periods=90, freq="D")
    frame = pd.DataFrame({"ds": days, "y": np.sin(np.arange(90)) + np.arange(90) / 30, "z": np.arange(90) % 7.0})
    frame.loc[[10, 40, 65, 66, 80], "y"] = np.nan
    frame.loc[[20, 71], "z"] = np.nan
    frame.drop(index=50).to_csv("m.csv", index=False)
    study = ("study", "--data", "m.csv", *TINY, *SPACE, "--set", "data.past=z", "--set", "data.splits=[0.6, 0.2, 0.2]")

    refuses(cli, study, [["1 missing row(s)", "--gaps interpolate"], ["column 'y'", "5 empty"], ["column 'z'"]])
    done = cli(*study, "--gaps", "mask")
    assert done.code == 0, done.err
    assert "data: 9 missing values are masked; no loss and no score counts them as targets" in done.err
    assert cli(*study, "--gaps", "mask", "--trials", "3").code == 0  # it is continued
    refuses(cli, (*study, "--gaps", "interpolate"), [["another search"], ["data.gaps: the study has 'mask'"]])
    assert cli("report", "m", "-o", "m.html").code == 0
    tested = json.loads(cli("refit", "m", "-o", "model", "--json").out)
    assert None not in {**tested["test"], **tested["baselines"]["nlinear"]}.values()

    assert cli("predict", "model", "--data", "m.csv", "-o", "out.csv", "--backtest", "20", "--level", "50").code == 0
    out = pd.read_csv("out.csv", parse_dates=["ds"])
    assert set(out["ds"][out["y-actual"].isna()]) == {days[80]}
    assert len(optlstm.load("model").predict("m.csv")) == 4
    refuses(cli, ("export", "model"), [["export: a model that reads which values are missing has no single input"]])
