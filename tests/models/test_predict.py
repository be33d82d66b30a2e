"""`predict`: which rows, which times, which numbers; and that a file that does not fit is refused with how."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import optlstm
from optlstm.console.scores import interval_lines
from optlstm.errors import InputError
from tests.conftest import Cli, series

WINDOW, HORIZON = 8, 4


def by_hand(model: optlstm.Model, values: np.ndarray) -> np.ndarray:
    """The mean of the networks' forecasts after `values`, in the data's units."""
    mean, std = model.card.task.mean[0][0], model.card.task.std[0][0]
    standardised = torch.tensor((values - mean) / std, dtype=torch.float32)[None]
    with torch.no_grad():
        each = [
            network(standardised[:, -network.hp.window :])[0].double().numpy()
            for network in model.predictor.forecaster.networks
        ]
    return np.mean(each, axis=0) * std + mean


def test_it_forecasts_from_the_end_of_the_file_on(cli: Cli, made: Path) -> None:
    outcome = cli("predict", "model", "--data", "tiny.csv", "-o", "out.csv")

    assert (outcome.code, outcome.lines[1:]) == (0, ["4 rows in out.csv"])
    found, data = pd.read_csv("out.csv"), pd.read_csv("tiny.csv")
    assert list(found.columns) == ["ds", "y"]
    assert found["ds"].tolist() == [120, 121, 122, 123]
    np.testing.assert_allclose(found["y"], by_hand(optlstm.load("model"), data["y"].to_numpy()), atol=1e-6)


def test_networks_of_several_trials_each_read_their_own_window(cli: Cli, mixed: Path) -> None:
    model = optlstm.load("model")
    assert sorted(trained.params["window"] for trained in model.card.trials) == [6, 8]
    data = pd.read_csv("tiny.csv")

    np.testing.assert_allclose(model.predict("tiny.csv")["y"], by_hand(model, data["y"].to_numpy()))
    refused = cli("predict", "model", "--data", "tiny.csv", "-o", "out.csv", "--from", "7")
    assert refused.lines[0].startswith(
        "data: tiny.csv has only 7 rows before the first forecast, and the model reads 8"
    )


def test_from_a_time_on_it_knows_only_what_was_before(cli: Cli, made: Path) -> None:
    data = pd.read_csv("tiny.csv")
    data.loc[data["ds"] >= 100, "y"] = 1000.0
    data.to_csv("changed.csv", index=False)

    cli("predict", "model", "--data", "changed.csv", "-o", "out.csv", "--from", "100")

    found = pd.read_csv("out.csv")
    assert found["ds"].tolist() == [100, 101, 102, 103]
    np.testing.assert_allclose(found["y"], by_hand(optlstm.load("model"), data["y"].to_numpy()[:100]), atol=1e-6)


def test_a_backtest_has_every_forecast_beside_what_came(cli: Cli, made: Path) -> None:
    flags = ("--backtest", "50", "--level", "50", "80", "--quantiles", ".1", ".25")
    cli("predict", "model", "--data", "tiny.csv", "-o", "out.csv", *flags)

    found, data = pd.read_csv("out.csv"), pd.read_csv("tiny.csv")["y"].to_numpy()
    assert list(found.columns) == [
        "ds",
        "cutoff",
        "step",
        "y-actual",
        "y",
        *(f"y-{e}-{n}" for n in (50, 80) for e in ("lo", "hi")),
        "y-q10",
        "y-q25",
    ]
    assert found[["y-q10", "y-q25"]].equals(found[["y-lo-80", "y-lo-50"]].set_axis(["y-q10", "y-q25"], axis=1))
    assert len(found) == 50 * HORIZON
    np.testing.assert_allclose(found["y-actual"], data[found["ds"]])
    assert (found["ds"] == found["cutoff"] + found["step"]).all()
    assert found["ds"].max() == 119
    model = optlstm.load("model")
    for cutoff, part in found.groupby("cutoff"):
        np.testing.assert_allclose(part["y"], by_hand(model, data[: int(cutoff) + 1]), atol=1e-6)
    assert (found["y-lo-80"] < found["y-lo-50"]).all()
    assert (found["y-hi-50"] < found["y-hi-80"]).all()
    np.testing.assert_allclose(found["y-hi-80"] - found["y"], found["y"] - found["y-lo-80"], atol=1e-6)


def test_where_no_coverage_was_measured_refit_and_predict_say_so(cli: Cli, made: Path) -> None:
    model = optlstm.load("model")
    few = {"validation_windows": 1, "measured": {"50": {"coverage": None}}}
    model.card = model.card.model_copy(update={"intervals": {**model.card.intervals, **few}})
    model.save("short")
    expected = "coverage of the prediction intervals not measured: 1 validation window is too few"

    predict = ("predict", "short", "--data", "tiny.csv", "-o", "out.csv")
    assert expected in cli(*predict, "--level", "50").lines
    assert expected not in cli(*predict).lines
    assert expected not in cli("predict", "model", *predict[2:], "--level", "50").lines
    assert interval_lines(model.card.intervals) == [expected]  # what refit prints
    assert interval_lines({}) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--data", "short.csv"], "data: short.csv has 7 rows, and the model reads 8; give it a longer file"),
        (["--data", "other.csv"], "data: column 'y' not found in other.csv (columns: ds, z)"),
        (["--data", "dates.csv"], "data: dates.csv has dates, and the model was trained on whole-numbered times"),
        (["--data", "second.csv"], "data: second.csv has a step of 2, and the model was trained on a step of 1"),
        (["--data", "nowhere.csv"], "data: file 'nowhere.csv' not found"),
        (["--data", "tiny.csv", "--from", "7"], "data: tiny.csv has only 7 rows before the first forecast"),
        (["--data", "tiny.csv", "--from", "121"], "--from: '121' is not one of the data's times, nor the next one"),
        (["--data", "tiny.csv", "--from", "noon"], "--from: 'noon' is no time; write it as in the data"),
        (["--data", "tiny.csv", "--backtest", "0"], "--backtest: must be a whole number of at least 1, got 0"),
        (["--data", "tiny.csv", "--backtest", "110"], "--backtest: tiny.csv has 120 rows, enough for 109 forecasts"),
        (["--data", "tiny.csv", "--from", "115", "--backtest", "3"], "--backtest: 3 forecasts of 4 steps from row 116"),
        (["--data", "tiny.csv", "--level", "100"], "--level: must be a whole number, 1 to 99 percent, got 100"),
        (["--data", "tiny.csv", "--level", "99"], "--level: this model has no 99 % interval; the highest is 96"),
        (["--data", "tiny.csv", "--quantiles", ".1", "2"], "--quantiles: must be between 0 and 1, got 2.0"),
        (
            ["--data", "tiny.csv", "--quantiles", ".001"],
            "--quantiles: this model has no quantile 0.001; they",
        ),
        (["--data", "tiny.csv", "--samples", "0"], "--samples: must be a whole number of at least 1, got 0"),
        (["--data", "tiny.csv", "--samples", "2", "--level", "80"], "--samples: gives paths alone; leave out --level"),
        (
            ["--data", "tiny.csv", "--anomalies", "--level", "99"],
            "--level: this model has no 99 % interval; the highest is 96",
        ),
        (
            ["--data", "tiny.csv", "--anomalies", "--level", "50", "--backtest", "3"],
            "--anomalies: looks at every row; leave out --backtest",
        ),
        (["--data", "tiny.csv", "--anomalies", "--level", "50", "80"], "--level: anomalies have one, got 50, 80"),
        (["--data", "tiny.csv", "--anomalies", "--ahead", "5"], "--ahead: must be a whole number, 1 to the horizon 4"),
        (["--data", "tiny.csv", "--ahead", "2"], "--ahead: says from how far ahead --anomalies looks at rows"),
        (["--data", "tiny.csv", "--level", "high"], "--level: must be whole percent, got 'high'"),
        (["--data", "tiny.csv", "-o", "runs"], "-o: runs is a folder; name a file in it"),
        (["--data", "tiny.csv", "-o", "out.txt"], "-o: out.txt does not end in .csv"),
        (["--data", "huge.csv"], "data: no finite forecast from row 20 on; values there are too far from those of"),
        (["--data", "tiny.csv", "-o", "x" * 300 + ".csv"], f"-o: {'x' * 300}.csv: File name too long"),
        (["--data", "tiny.csv", "-o", "tiny.csv"], "-o: tiny.csv is the data itself"),
    ],
)
def test_what_does_not_fit_is_refused_with_how(cli: Cli, made: Path, arguments: list[str], expected: str) -> None:
    rows = series().splitlines()
    Path("short.csv").write_text("\n".join(rows[:8]) + "\n")
    Path("other.csv").write_text(series(header="ds,z"))
    Path("huge.csv").write_text("\n".join([*rows[:19], "18,1e100"]) + "\n")
    Path("second.csv").write_text("\n".join([rows[0], *rows[1::2]]) + "\n")
    Path("dates.csv").write_text("ds,y\n" + "".join(f"2024-01-{day:02d},{day}.0\n" for day in range(1, 21)))
    before = sorted(os.listdir())

    outcome = cli("predict", "model", "-o", "out.csv", *arguments)

    assert outcome.code == 2
    assert outcome.lines[0].startswith(expected)
    rename = ["data: the model reads columns of these names: ds, y; rename those of other.csv"]
    assert outcome.lines[1:] == (rename if "other.csv" in arguments else [])
    assert sorted(os.listdir()) == before


def test_anomalies_take_the_highest_level_there_is_and_options_are_known(
    cli: Cli, made: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = cli("predict", "model", "--data", "tiny.csv", "-o", "out.csv", "--anomalies")

    assert (done.code, "outside the 96 % interval" in caplog.text) == (0, True), done.err
    with pytest.raises(InputError, match="level: no such option of predict; did you mean 'levels'"):
        optlstm.load("model").predict("tiny.csv", level=[80])


def test_a_disk_that_is_full_leaves_the_old_file(cli: Cli, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("out.csv").write_text("old")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    outcome = cli("predict", "model", "--data", "tiny.csv", "-o", "out.csv")

    assert (outcome.code, outcome.lines) == (1, ["cannot write out.csv: No space left on device"])
    assert Path("out.csv").read_text() == "old"
    assert not list(Path().glob(".*partial"))


def test_scores_of_another_file_are_those_of_its_windows(made: Path) -> None:
    model = optlstm.load("model")

    found, table = model.score("tiny.csv"), model.predict("tiny.csv", backtest=120 - WINDOW - HORIZON + 1)

    assert found["mae_raw"] == pytest.approx(np.abs(table["y"] - table["y-actual"]).mean())
    with pytest.raises(InputError, match=r"it needs 12 \(window 8 \+ horizon 4\)"):
        model.score(pd.read_csv("tiny.csv").head(11))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"levels": "90"}, r"^levels: must be a list of whole percent, such as \[80, 90\], got '90'"),
        ({"levels": ["90"]}, "levels: must be a whole number, 1 to 99 percent, got '90'"),
        ({"levels": [90.0]}, "levels: must be a whole number"),
        ({"backtest": "3"}, "backtest: must be a whole number of at least 1, got '3'"),
        ({"start": [1]}, r"start: \[1\] is no time"),
    ],
)
def test_options_of_the_wrong_kind_are_refused(made: Path, options: dict[str, object], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        optlstm.load("model").predict("tiny.csv", **options)


def test_batches_do_not_change_a_forecast(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = optlstm.load("model")
    whole = model.predict("tiny.csv", backtest=60)
    from optlstm.tasks.forecast import forecaster

    monkeypatch.setattr(forecaster, "_BATCH", 7)

    pd.testing.assert_frame_equal(model.predict("tiny.csv", backtest=60), whole, atol=1e-6)


def test_the_picture_shows_what_was_known_the_forecast_and_its_bands(cli: Cli, made: Path) -> None:
    told = cli("predict", "model", "--data", "tiny.csv", "-o", "out.csv", "--level", 50, "--plot", "p.html")

    assert told.code == 0, told.err
    assert told.lines[0].startswith("y: 120 to 123, mean ")
    (panel,) = json.loads(re.search(r'"panels":(\[.*?\]),"light"', Path("p.html").read_text())[1])  # type: ignore[index]
    known, band, forecast = panel["data"]
    assert (known["name"], band["name"], forecast["name"]) == ("known", "50 &#37;", "forecast")
    assert (known["x"][-1], forecast["x"]) == (119, [119, 120, 121, 122, 123])  # joined, as a weekend is wide
    frame = pd.read_csv("out.csv")
    assert forecast["y"] == pytest.approx([known["y"][-1], *frame["y"]], abs=1e-5)
    assert band["y"][1:5] == pytest.approx(frame["y-hi-50"].tolist(), abs=1e-5)
    assert cli("predict", "model", "--data", "tiny.csv", "-o", "out.csv", "--plot", "p.png").code == 0
    assert Path("p.png").read_bytes().startswith(b"\x89PNG")
    for option, line in ((("--plot", "p.pdf"), "--plot: must end in .png or .html, got p.pdf"),):
        assert cli("predict", "model", "--data", "tiny.csv", "-o", "out.csv", *option).lines == [line]


def test_anomalies_are_drawn_and_may_be_forecast_from_farther_away(cli: Cli, made: Path) -> None:
    done = cli("predict", "model", "--data", "tiny.csv", "-o", "out.csv", "--anomalies", "--level", 50, "--ahead", 3,
               "--plot", "p.html")  # fmt: skip

    assert done.code == 0, done.err
    frame, back = pd.read_csv("out.csv"), optlstm.load("model").predict("tiny.csv", backtest=20, levels=[50])
    third = back[back["step"] == 3].set_index("ds")
    shared = frame.set_index("ds").loc[third.index]
    assert shared["forecast"].tolist() == pytest.approx(third["y"].tolist(), abs=1e-5)
    assert shared["hi"].tolist() == pytest.approx(third["y-hi-50"].tolist(), abs=1e-5)
    assert frame["ds"].iloc[-1] == 119
    (panel,) = json.loads(re.search(r'"panels":(\[.*?\]),"light"', Path("p.html").read_text())[1])  # type: ignore[index]
    _, known, outside = panel["data"]
    assert known["y"] == pytest.approx(frame["value"].tolist(), abs=1e-5)
    assert outside["x"] == frame["ds"][frame["anomaly"]].tolist()
    assert "<title>model on tiny.csv: anomalies</title>" in Path("p.html").read_text()


def test_the_report_draws_a_refits_forecast_and_anomalies(cli: Cli, made: Path) -> None:
    done = cli("report", "tiny", "-o", "r.html", "--model", "model")

    assert done.code == 0, done.err
    sections = re.findall(r'<section id="(\w+)">', Path("r.html").read_text())
    assert sections[:2] == ["forecast", "anomalies"]
    assert len(sections) > 5


def test_the_file_has_the_digits_that_mean_something(cli: Cli, made: Path) -> None:
    """A network's numbers have seven digits; what a hundred-thousandth of a deviation is, is noise."""
    cli("predict", "model", "--data", "tiny.csv", "-o", "out.csv")

    cells = [line.split(",")[1] for line in Path("out.csv").read_text().splitlines()[1:]]
    assert all(len(cell.partition(".")[2]) <= 7 for cell in cells)
    exact = optlstm.load("model").predict("tiny.csv")["y"]
    assert [float(cell) for cell in cells] == pytest.approx(exact.tolist(), abs=1e-6)
