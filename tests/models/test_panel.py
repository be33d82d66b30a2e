"""Models of many series: from a study to forecasts of every series, beside baselines, and what does not fit."""

from __future__ import annotations

import html
import json
import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import optlstm
from optlstm.data.table import DataFile, read_table
from optlstm.errors import InputError
from optlstm.tasks.forecast.baselines import naive
from optlstm.tasks.forecast.task import Forecast
from optlstm.tasks.options import DataConfig
from tests.cli.test_bad_input import refuses
from tests.conftest import Cli
from tests.tasks.forecast.samples import write

TINY = (
    *("--horizon", "4", "--trials", "2", "--epochs", "2", "--workers", "1"),
    *("--set", "artifacts=0", "--set", "data.epoch_steps=1", "--set", "data.folds=0"),
)
SPACE = ("--set", "space.window=8", "--set", "space.patch=4", "--set", "space.hidden_size=4", "--set", "seed=1")
STUDY = ("study", "--data", "p.csv", "--name", "p", *TINY, *SPACE)
COVARIATES = ("--set", 'data.future=["promo","kind"]', "--set", "data.static=shop", "--set", "data.calendar=true")


@pytest.fixture(autouse=True)
def _file(folder: Path) -> None:
    write(Path("p.csv"))


def ahead(rows: int = 4) -> pd.DataFrame:
    """The file with rows behind the last ones, without targets."""
    frame = pd.read_csv("p.csv", parse_dates=["ds"])
    parts = [frame]
    for name, own in frame.groupby("unique_id"):
        times = pd.date_range(own["ds"].max(), periods=rows + 1, freq="h")[1:]
        parts.append(pd.DataFrame({"unique_id": name, "ds": times, "promo": 1, "kind": "on", "shop": name}))
    return pd.concat(parts)


def test_from_study_to_a_forecast_of_every_series(cli: Cli) -> None:
    done = cli(*STUDY)
    assert done.code == 0, done.err
    assert "p, 3 series of 40 to 60 rows (104 train, 14 validation, 30 test), target y, horizon 4" in done.err

    found = json.loads(cli("refit", "p", "-o", "model", "--json", "--seeds", "2").out)
    assert set(found["baselines"]) == {"naive", "seasonal_naive", "drift", "nlinear", "seasonal_quantiles"}
    frame = pd.read_csv("p.csv")
    errors = []
    for _, own in frame.groupby("unique_id"):
        y, train, test = own["y"].to_numpy(), round(len(own) * 0.7), round(len(own) * 0.8)
        forecast = naive(y[:, None], range(test, len(y) - 3), 4)
        actual = np.lib.stride_tricks.sliding_window_view(y, 4)[test:]
        errors += list((np.square(forecast[:, 0] - actual) / y[:train].std() ** 2).mean(axis=1))
    assert found["baselines"]["naive"]["mse"] == pytest.approx(np.mean(errors), rel=1e-4)
    assert found["test"]["mase"] > 0

    assert cli("predict", "model", "--data", "p.csv", "-o", "out.csv", "--level", "50").code == 0
    out = pd.read_csv("out.csv", parse_dates=["ds"])
    assert list(out.columns) == ["unique_id", "ds", "y", "y-lo-50", "y-hi-50"]
    assert out["unique_id"].tolist() == ["s0"] * 4 + ["s1"] * 4 + ["s2"] * 4
    assert out["ds"].tolist()[3:5] == [pd.Timestamp("2024-01-03 15:00"), pd.Timestamp("2024-01-03 00:00")]
    assert (out["y-lo-50"] < out["y"]).all()
    # each series is forecast as if it were alone in the file, and on its own scale
    model = optlstm.load("model")
    alone = model.predict(frame[frame["unique_id"] == "s1"])
    np.testing.assert_allclose(alone["y"], out["y"][4:8], rtol=1e-5)
    assert out["y"][8:].mean() > 50 * out["y"][:4].mean()
    refuses(cli, ("export", "model"), [["export: each of the 3 series has its own scale", "data.scaling = 'global'"]])


def test_a_short_series_is_forecast_as_if_its_first_row_stood_before_it(
    cli: Cli, caplog: pytest.LogCaptureFixture
) -> None:
    write(Path("p.csv"), (60, 48, 20))
    assert cli(*STUDY, "--set", "space.window=24").code == 0
    assert cli("refit", "p", "-o", "model").code == 0
    frame = pd.read_csv("p.csv", parse_dates=["ds"])
    first = frame[frame["unique_id"] == "s2"].iloc[0]
    before = [{**first, "ds": first["ds"] - pd.Timedelta(hours=i)} for i in range(10, 0, -1)]
    pd.concat([pd.DataFrame(before), frame]).to_csv("longer.csv", index=False)

    model = optlstm.load("model")
    caplog.clear()
    short = model.predict("p.csv")
    assert caplog.messages == [
        "1 of 3 series is shorter than what the model reads (24 rows): 's2' (20 rows); padded with the"
        " series' first row"
    ]
    with pytest.raises(InputError, match=r"^backtest: no row is left .* 1 of 3 series .*'s2' \(20 rows\); at most 1"):
        model.predict("p.csv", backtest=30, short="refuse")
    longer = model.predict("longer.csv").sort_values(["unique_id", "ds"], ignore_index=True)
    pd.testing.assert_frame_equal(short, longer)
    assert np.isfinite(list(model.score("p.csv").values())).all()


def test_no_name_is_a_formula_in_the_forecasts(cli: Cli) -> None:
    frame = pd.read_csv("p.csv").replace({"unique_id": {"s0": "=HYPERLINK(1)", "s1": "-1.5", "s2": "\x1b[31mred"}})
    frame.rename(columns={"y": "@y"}).to_csv("p.csv", index=False)
    cli(*STUDY, "--target", "@y")
    cli("refit", "p", "-o", "model")

    assert cli("predict", "model", "--data", "p.csv", "-o", "out.csv").code == 0

    out = pd.read_csv("out.csv")
    assert list(out.columns) == ["unique_id", "ds", "'@y"]
    assert out["unique_id"].unique().tolist() == ["'=HYPERLINK(1)", "-1.5", "\\x1b[31mred"]
    assert optlstm.load("model").predict("p.csv")["unique_id"].unique().tolist()[0] == "=HYPERLINK(1)"
    assert list(read_table(DataFile(Path("out.csv"))).columns) == list(out.columns)


def test_a_backtest_is_what_the_test_says(cli: Cli) -> None:
    cli(*STUDY, *COVARIATES)
    cli("refit", "p", "-o", "model")
    model = optlstm.load("model")

    back = model.predict("p.csv", backtest=5)

    assert back.groupby("unique_id")["cutoff"].nunique().tolist() == [5, 5, 5]
    last = back[back["unique_id"] == "s2"].tail(4)
    frame = pd.read_csv("p.csv").query("unique_id == 's2'")
    np.testing.assert_allclose(last["y-actual"], frame["y"].tail(4))
    again = model.predict("p.csv", start="2024-01-02 12:00")  # the first of the last four rows of s2
    np.testing.assert_allclose(again.query("unique_id == 's2'")["y"], last["y"], rtol=1e-6)
    # scored on what is the test alone, and the rows of input before it: a season, for the seasonal naive forecast
    window = model.predictor.forecaster.window
    assert window == 24
    tests = [own.iloc[round(len(own) * 0.8) - window :] for _, own in pd.read_csv("p.csv").groupby("unique_id")]
    assert model.score(pd.concat(tests))["mse"] == pytest.approx(model.test["mse"], rel=1e-5)


def test_known_covariates_are_asked_for_and_new_ones_are_logged(cli: Cli, caplog: pytest.LogCaptureFixture) -> None:
    cli(*STUDY, *COVARIATES)
    cli("refit", "p", "-o", "model")
    predict = ("predict", "model", "--data", "f.csv", "-o", "out.csv")

    ahead(3).to_csv("f.csv", index=False)
    lacks = "for the 4 steps to forecast of 3 series ('s0', 's1', 's2'); add rows behind the last one"
    refuses(cli, predict, [["f.csv lacks 'promo'", lacks], ["f.csv lacks 'kind'", lacks]])

    more = ahead()
    more.loc[more["y"].isna(), "kind"] = "gift"
    more = pd.concat([more, more[more["unique_id"] == "s1"].assign(unique_id="new", shop="new")])
    more.to_csv("f.csv", index=False)
    with caplog.at_level(logging.WARNING):
        assert cli(*predict).code == 0
    assert "column 'kind': the model was not trained on 'gift'; read as an unseen category" in caplog.text
    assert "column 'shop': the model was not trained on 'new'" in caplog.text
    assert "1 series that the model was not trained on: 'new'" in caplog.text
    assert pd.read_csv("out.csv")["y"].notna().all()


def test_one_series_with_covariates_and_gaps(cli: Cli) -> None:
    frame = pd.read_csv("p.csv").query("unique_id == 's0'").drop(columns=["unique_id", "shop"])
    frame.drop(index=[7, 30]).to_csv("p.csv", index=False)
    command = (*STUDY, "--set", "data.past=promo", "--set", "data.calendar=hour")

    refuses(cli, command, [["p.csv: 2 missing row(s) in 2 gap(s)", "data.gaps = 'interpolate'"]])
    done = cli(*command, "--set", "data.gaps=interpolate")
    assert done.code == 0, done.err
    assert "4 missing values were interpolated, each inside its part of the split" in done.err
    cli("refit", "p", "-o", "model")
    assert len(optlstm.load("model").predict("p.csv")) == 4


def sentences(page: str) -> str:
    """A report's words."""
    return html.unescape(re.sub(r"<[^>]+>", " ", Path(page).read_text().split("<script")[0]))


def test_a_report_has_the_baselines_and_dates_of_all_series(cli: Cli) -> None:
    cli(*STUDY, "--set", "data.epoch_windows=3")  # so that every second window validates
    assert cli("report", "p", "-o", "p.html").code == 0
    text = sentences("p.html")

    baselines = re.search(
        r"on the validation rows: mse (naive .*?, seasonal naive .*?, drift .*?, nlinear .*?)\. Trial", text
    )
    assert baselines is not None
    assert f"{baselines[1]}." in text.split("Over all steps:")[1]
    task = Forecast.read(DataConfig(path="p.csv", horizon=4, epoch_windows=3, folds=0))
    (every,) = {task.data().validation_step}
    errors = []
    for i, (_, first, stop, _) in enumerate(task.cuts.tolist()):
        values = (task.panel.values[:, 0] - task.scales()[0][i, 0]) / task.scales()[1][i, 0]
        errors += [np.square(values[row : row + 4] - values[row - 1]).mean() for row in range(first, stop - 3, every)]
    naive = float(baselines[1].split()[1].rstrip(","))
    assert naive == pytest.approx(np.mean(errors), rel=1e-3)
    assert every > 1
    # from the first row of any series to the last
    assert "104 for training (2024-01-01 00:00:00 to 2024-01-02 17:00:00)" in text
    assert "14 for validation (2024-01-02 04:00:00 to 2024-01-02 23:00:00)" in text
    assert "30 for test (2024-01-02 08:00:00 to 2024-01-03 11:00:00)" in text


def test_one_series_with_covariates_has_baselines_dates_intervals_and_backtests(cli: Cli) -> None:
    frame = pd.read_csv("p.csv").query("unique_id == 's0'").drop(columns=["unique_id", "shop"])
    frame.to_csv("p.csv", index=False)
    done = cli(*STUDY, "--set", "data.past=promo", "--set", "data.calendar=hour")
    assert done.code == 0, done.err
    assert "target y, horizon 4, covariates hour, promo" in done.err

    cli("report", "p", "-o", "p.html")
    text = sentences("p.html")
    assert "on the validation rows: mse naive" in text
    assert "42 for training (2024-01-01 00:00:00 to 2024-01-02 17:00:00)" in text
    cli("refit", "p", "-o", "model")
    model = optlstm.load("model")
    back = model.predict("p.csv", backtest=3, levels=[50])
    assert list(back.columns) == ["ds", "cutoff", "step", "y-actual", "y", "y-lo-50", "y-hi-50"]
    assert len(back) == 12
    refuses(cli, ("export", "model"), [["export: a model with covariates has no single input"]])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--series", "shp"), "column 'shp' not found in p.csv; did you mean 'shop'?"),
        (("--set", "space.window=60"), "3 of 3 series are too short: train needs 64 rows"),
        (("--set", "data.calendar=hours"), "data.calendar: there is no 'hours'; did you mean 'hour'?"),
        (("--set", "data.future=prmo"), "column 'prmo' not found in p.csv; did you mean 'promo'?"),
        (("--set", "data.static=promo"), "column 'promo' of p.csv changes within 3 series: 's0', 's1', 's2'"),
        (("--set", "data.gaps=fill"), "data.gaps: "),
        (("--set", "data.folds=9"), "data.folds: 9 folds of"),
    ],
)
def test_bad_input_is_one_line(cli: Cli, arguments: tuple[str, ...], expected: str) -> None:
    refuses(cli, (*STUDY, *arguments), [[expected]])


def test_networks_with_covariates_do_not_grow(cli: Cli) -> None:
    morph = ("--scheduler", "pbt", "--set", "pbt.morph=true", "--epochs", "4")
    at = STUDY.index("--trials")

    refuses(
        cli, (*STUDY[:at], *STUDY[at + 2 :], *COVARIATES, *morph), [["pbt.morph: networks with covariates do not grow"]]
    )
