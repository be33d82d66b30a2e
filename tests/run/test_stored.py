"""A study keeps the defaults that it was made with: one of an older version goes on, and is refitted, as it was."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pandas as pd
import pytest

import optlstm
from optlstm.run.stored import stored_config
from optlstm.study.record import CONFIG_KEY, RECORD_KEY
from tests.conftest import URL, Cli, rows, series

TINY = ("--horizon", "4", "--epochs", "1", "--workers", "1", "--set", "artifacts=0", "--set", "space.hidden_size=4")
# The defaults of the first versions, for this file.
OLD = {
    "space.window": "{choices=[8, 16], default=16}",
    "space.learning_rate": "{low=3e-4, high=3e-3, log=true, default=1e-3}",
    "space.batch_size": "64",
    "data.epoch_steps": "1",
    "data.folds": "0",
    "enqueue": "[]",
}
DEFAULTS = [text for key, value in OLD.items() for text in ("--set", f"{key}={value}")]


def forget(name: str) -> None:
    """Make the study look like one of the first versions, whose config said nothing of these keys."""
    study = optuna.load_study(study_name=name, storage=URL)
    config = json.loads(json.dumps(study.user_attrs[CONFIG_KEY]))
    config["space"] = {"hidden_size": 4}
    config["data"] |= {"folds": None}
    del config["data"]["epoch_steps"], config["enqueue"]
    study.set_user_attr(CONFIG_KEY, config)


def test_a_study_of_an_older_version_is_continued_and_refitted_as_it_was(cli: Cli) -> None:
    Path("y.csv").write_text(series())
    for name, trials in (("old", 2), ("whole", 3)):
        assert cli("study", "--data", "y.csv", "--name", name, "--trials", trials, *TINY, *DEFAULTS).code == 0
    record = optuna.load_study(study_name="old", storage=URL).user_attrs[RECORD_KEY]
    assert not {"epoch_steps", "folds", "overlapping"} & record["data"].keys()
    forget("old")

    outcome = cli("study", "--name", "old", "--trials", 3)

    assert outcome.code == 0, outcome.err
    assert rows("old") == rows("whole")
    for name in ("old", "whole"):
        assert cli("refit", name, "-o", f"model-{name}").code == 0
    assert Path("model-old/model.safetensors").read_bytes() == Path("model-whole/model.safetensors").read_bytes()
    refused = cli("study", "--name", "old", "--trials", 3, "--set", "data.epoch_steps=9")
    assert refused.code == 2
    assert "data.epoch_steps: the study has (not set), this asks for 9" in refused.err


def test_a_study_keeps_the_season_that_was_found_and_an_older_one_has_none(cli: Cli) -> None:
    tune = ("study", "--data", "tiny.csv", *TINY)
    fresh = cli(*tune, "--name", "fresh", "--trials", 2)
    assert "data: a season of 12 rows shows in the training rows; " in fresh.err
    assert cli(*tune, "--name", "old", "--trials", 2, "--set", "data.season=0").code == 0
    for name, season in (("fresh", 12), ("old", None)):
        study = optuna.load_study(study_name=name, storage=URL)
        assert study.user_attrs[RECORD_KEY]["data"].get("season") == season
    config = json.loads(json.dumps(study.user_attrs[CONFIG_KEY]))
    del config["data"]["season"]  # as of the versions that did not look for one
    study.set_user_attr(CONFIG_KEY, config)

    for name, season in (("fresh", 12), ("old", 1)):
        done = cli("study", "--name", name, "--trials", 3)
        assert (done.code, "a season of" in done.err) == (0, False)
        assert cli("refit", name, "-o", name, "--no-ensemble").code == 0
        assert optlstm.load(name).card.task.model_dump()["season"] == season
    refused = cli("study", "--name", "fresh", "--trials", 3, "--set", "data.season=7")
    assert refused.code == 2
    assert "data.season: the study has 12, this asks for 7" in refused.err


@pytest.mark.parametrize(("folds", "count"), [((), 4), (("--set", "data.folds=3"), 3)])
def test_todays_study_goes_on_with_its_folds(cli: Cli, folds: tuple[str, ...], count: int) -> None:
    Path("y.csv").write_text(series(128))
    for name, trials in (("two", 1), ("whole", 2)):
        tune = ("study", "--data", "y.csv", "--name", name, "--trials", trials, *TINY, "--set", "data.epoch_steps=2")
        assert cli(*tune, *folds).code == 0
    data = optuna.load_study(study_name="two", storage=URL).user_attrs[RECORD_KEY]["data"]
    assert (data["epoch_steps"], data["folds"], data.get("overlapping", False)) == (2, count, not folds)

    assert cli("study", "--name", "two", "--trials", 2).code == 0

    assert rows("two") == rows("whole")
    assert cli("refit", "two", "-o", "model").code == 0
    assert sum(optlstm.load("model").card.ensemble.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("data", "form"),
    [({"first": "200001"}, "integer"), ({"first": "2000-01-01 00:00:00"}, None), ({"time_format": "%Y%m"}, "%Y%m")],
)
def test_a_study_reads_its_times_as_it_did_when_it_was_made(data: dict[str, str], form: str | None) -> None:
    study = optuna.create_study()
    study.set_user_attr(RECORD_KEY, {"task": "forecast", "space": {}, "data": data})
    study.set_user_attr(CONFIG_KEY, {"data": {"path": "x.csv"}})

    assert stored_config(study)["data"].get("time_format") == form


def test_what_was_understood_of_the_times_is_said_first_and_in_the_report(cli: Cli) -> None:
    Path("y.csv").write_text(series(header="Month,y"))
    frame = pd.read_csv("y.csv")
    frame["Month"] = [(2000 + i // 12) * 100 + i % 12 + 1 for i in frame["Month"]]
    frame.to_csv("y.csv", index=False)
    line = "times: 'Month' holds YYYYMM, read as months"

    outcome = cli("study", "--data", "y.csv", "--time", "Month", "--name", "m", "--trials", 1, *TINY)

    assert (outcome.code, line in outcome.err + outcome.out) == (0, True)
    assert cli("study", "--name", "m", "--trials", 1).code == 0
    assert cli("report", "m", "-o", "m.html").code == 0
    assert line[1:].replace("'", "&#39;") in Path("m.html").read_text()


def test_monthly_car_sales_of_nine_years_are_accepted(cli: Cli) -> None:
    lines = [
        f"{year}-{month:02d},{(year * 12 + month) * 37 % 101}.5" for year in range(1960, 1969) for month in range(1, 13)
    ]
    Path("cars.csv").write_text("\n".join(["ds,y", *lines]) + "\n")

    outcome = cli("study", "--data", "cars.csv", "--dry-run")

    assert outcome.code == 0, outcome.err
    assert "cars, 108 rows (3 folds of 12 validation rows, 22 test), target y, horizon 12" in outcome.out + outcome.err
    Path("cars.csv").write_text("\n".join(["ds,y", *lines[:30]]) + "\n")
    refused = cli("study", "--data", "cars.csv", "--dry-run", "--horizon", 12)
    assert refused.code == 2
    assert "data.splits: validation has 3 rows and needs at least 12 (one horizon); lower the horizon" in refused.err
