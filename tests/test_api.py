"""optlstm from Python: DataFrames in, DataFrames out, the same study as on the command line."""

from __future__ import annotations

import os
import random
import signal
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
import torch

import optlstm
from optlstm.errors import InputError
from optlstm.training.checkpoints import CheckpointWriter
from tests.conftest import URL, Cli, rows

SMALL = {"window": 8, "patch": 4, "hidden_size": 4, "num_layers": 1}


def daily(days: int = 120) -> pd.DataFrame:
    time = pd.date_range("2024-01-01", periods=days, freq="D")
    wave = np.sin(np.arange(days) * 2 * np.pi / 7)
    return pd.DataFrame({"day": time, "a": 5 + wave, "b": 100 + 10 * wave})


def test_from_a_frame_to_a_model_and_back(folder: Path) -> None:
    result = optlstm.tune(
        daily(), time="day", target=["a", "b"], horizon=5, n_trials=2, epochs=2, workers=1, sampler="random",
        space=SMALL, epoch_steps=1, folds=0, name="waves", progress=False,
    )  # fmt: skip

    assert isinstance(result.study, optuna.Study)
    assert len(result.study.trials) == 2
    assert result.best_value == min(t.value for t in result.study.trials)
    assert result.best_params == result.study.best_params
    assert result.notes == ()
    model = result.refit(seeds=2)
    assert sorted(path.name for path in Path().iterdir()) == ["runs", "tiny.csv", "tiny.toml"]  # nothing saved unasked
    forecast = model.predict(daily(), levels=[50])
    assert forecast["day"].tolist() == pd.date_range("2024-04-30", periods=5, freq="D").tolist()
    assert list(forecast.columns) == ["day", "a", "a-lo-50", "a-hi-50", "b", "b-lo-50", "b-hi-50"]
    assert (forecast["b"] > 50).all()
    model.save("m")
    loaded = optlstm.load("m")
    pd.testing.assert_frame_equal(loaded.predict(daily().set_index("day"), levels=[50]), forecast)
    assert loaded.score(daily()) == model.score(daily())
    grown = result.refit(data=daily(130), ensemble=False)
    assert (grown.card.training.tuned_on or {})["rows"] == 120
    assert grown.card.data["rows"] == 130


def test_an_index_of_times_is_the_time_and_series_keep_their_numbers(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame = pd.concat({i: daily(60).set_index("day")[["a"]] for i in (7, 10)}, names=["store", "timestamp"])
    study: dict[str, object] = {"n_trials": 1, "epochs": 1, "workers": 1, "space": SMALL, "folds": 0, "progress": False}
    result = optlstm.tune(frame, target="a", series="store", horizon=3, name="s", **study)
    model = result.refit(ensemble=False)

    forecast = model.predict(pd.concat([frame, frame.loc[[7]].rename({7: 8})]))
    assert (forecast["store"].dtype, list(forecast["store"].unique())) == (np.dtype("int64"), [7, 10, 8])
    assert "timestamp" in forecast
    model.predict(pd.concat([frame, frame.loc[[7]].head(1).rename({7: 9})]), backtest=2)
    assert "1 of 3 series of the DataFrame is left out" in caplog.text
    with pytest.raises(InputError, match='gaps="interpolate"'):
        optlstm.tune(frame.drop(frame.index[20]), target="a", series="store", horizon=3, name="g", **study)


def test_a_week_of_business_days_goes_on_with_business_days(folder: Path) -> None:
    """Five days from Monday to Friday look like any days; what they are the model knows."""
    frame = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=80, freq="B"), "y": np.arange(80.0) % 5 - 2})
    small = {**SMALL, "window": 4, "patch": 2}
    result = optlstm.tune(
        frame[::-1], sort=True, horizon=3, n_trials=1, epochs=1, workers=1, space=small, progress=False
    )
    assert result.notes == ("data: rows sorted by 'ds': the newest stood first",)
    model = result.refit()

    assert model.card.task.freq == "B"
    forecast = model.predict(frame.head(5))
    assert [str(day.date()) for day in forecast["ds"]] == ["2024-01-08", "2024-01-09", "2024-01-10"]
    weekly = frame.assign(ds=pd.date_range("2024-01-01", periods=80, freq="W-MON"))
    with pytest.raises(InputError, match=r"has a step of W-MON \(1 week\), and .* a step of B \(1 b.*; resample it"):
        model.predict(weekly)


def test_the_study_is_the_command_lines(cli: Cli) -> None:
    cli("study", "tiny.toml")

    result = optlstm.tune(
        "tiny.csv",
        horizon=4,
        epochs=2,
        n_trials=3,
        workers=1,
        space=SMALL,
        epoch_steps=1,
        folds=0,
        name="same",
        progress=False,
    )

    assert rows("same") == rows("tiny")
    again = optlstm.tune(name="same", n_trials=4, workers=1, progress=False)
    assert len(again.study.trials) == 4
    assert rows("same")[:3] == rows("tiny")
    assert result.best_value >= again.best_value
    assert "4 complete" in cli("show", "same").out


def test_progress_is_shown_as_plain_lines_where_there_is_no_terminal(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    optlstm.tune(
        "tiny.csv", horizon=4, epochs=2, n_trials=1, workers=1, space=SMALL, epoch_steps=1, folds=0, name="shown"
    )

    first, *lines = capsys.readouterr().err.splitlines()
    assert first == "reading the data"
    assert lines[0].startswith("study shown: tiny, 120 rows")
    assert any(line.startswith("trial   0  complete  mse ") for line in lines)


def test_without_progress_nothing_is_printed_and_the_process_is_as_it_was(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def state() -> list[object]:
        drawn = [torch.rand(1).item(), np.random.rand(), random.random()]
        return [
            torch.get_num_threads(),
            *drawn,
            optuna.logging.get_verbosity(),
            dict(os.environ),
            list(warnings.filters),
        ]

    def seeded() -> None:
        torch.manual_seed(7)
        np.random.seed(7)
        random.seed(7)

    verbosity, threads = optuna.logging.get_verbosity(), torch.get_num_threads()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(2)
    seeded()
    expected = state()
    seeded()
    result = optlstm.tune(
        "tiny.csv", horizon=4, epochs=1, n_trials=1, workers=1, space=SMALL, epoch_steps=1, folds=0, artifacts=0,
        progress=False,
    )  # fmt: skip
    assert state() == expected
    seeded()
    result.refit().save("m")
    assert state() == expected
    seeded()
    optlstm.load("m").predict("tiny.csv")
    assert state() == expected
    assert capsys.readouterr() == ("", "")
    optuna.logging.set_verbosity(verbosity)
    torch.set_num_threads(threads)


def test_studies_in_threads_give_what_they_give_one_after_the_other(folder: Path) -> None:
    def tune(seed: int, name: str) -> None:
        optlstm.tune(
            "tiny.csv", horizon=4, epochs=1, n_trials=1, workers=1, space=SMALL, epoch_steps=1, folds=0, progress=False,
            seed=seed, name=name, artifacts=0,
        )  # fmt: skip

    for seed in (1, 2):
        tune(seed, f"after-{seed}")
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda seed: tune(seed, f"beside-{seed}"), (1, 2)))

    for seed in (1, 2):
        assert rows(f"beside-{seed}") == rows(f"after-{seed}")


def test_a_refused_frame_leaves_no_file_and_is_named_as_one(folder: Path) -> None:
    before = sorted(Path().rglob("*"))
    mixed = pd.concat([daily()[50:], daily()[:50]])
    with pytest.raises(InputError, match=r"^data: time column 'day' of the DataFrame: .* earlier than the one before"):
        optlstm.tune(mixed, time="day", target="a", horizon=5, storage_path="deep/runs", progress=False)
    assert sorted(Path().rglob("*")) == before

    Path("runs").mkdir()
    with pytest.raises(InputError, match=r"^data\.horizon: "):
        optlstm.tune(daily(), time="day", target="a", horizon=0, progress=False)
    assert list(Path("runs").iterdir()) == []


def test_all_problems_come_at_once_and_nothing_is_made(folder: Path) -> None:
    before = sorted(Path().rglob("*"))

    with pytest.raises(InputError) as refused:
        optlstm.tune("tiny.csv", horizon=0, n_trials=-1, sampler="best", spce={}, backend="cloud")

    assert len(refused.value.problems) == 5
    assert sorted(Path().rglob("*")) == before
    with pytest.raises(InputError, match=r"must be a DataFrame .* or the path of a file, got list"):
        optlstm.tune([1, 2, 3])  # type: ignore[arg-type]


def test_columns_that_are_numbered_are_named_by_their_numbers(folder: Path) -> None:
    table = pd.DataFrame(np.column_stack([np.arange(120), np.arange(120) % 7, np.arange(120) % 5]))
    with pytest.raises(InputError) as refused:
        optlstm.tune(table, time=0, target=[1, 2], past=[3], horizon=4, progress=False)
    assert refused.value.problems == ["data: column '3' not found in the DataFrame (columns: 0, 1, 2)"]


def test_keys_of_data_and_training_may_stand_without_their_section(folder: Path) -> None:
    with pytest.raises(InputError) as refused:
        optlstm.tune("tiny.csv", horizon=4, **{"data.fraction": 2.0}, device=3, patience=-1)  # type: ignore[arg-type]
    assert sorted(problem.split(":")[0] for problem in refused.value.problems) == [
        "data.fraction", "training.device", "training.patience",
    ]  # fmt: skip


def test_ctrl_c_stops_after_the_epoch_and_the_same_call_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tune(name: str) -> None:
        optlstm.tune(
            "tiny.csv",
            horizon=4,
            epochs=2,
            n_trials=2,
            workers=1,
            name=name,
            space=SMALL,
            epoch_steps=1,
            folds=0,
            progress=False,
        )

    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as during:
        save = CheckpointWriter.write
        during.setattr(CheckpointWriter, "write", lambda *a: (save(*a), os.kill(os.getpid(), signal.SIGINT)))
        with pytest.raises(KeyboardInterrupt):
            tune("stopped")

    assert signal.getsignal(signal.SIGINT) is handler
    assert [t.state.name for t in optuna.load_study(study_name="stopped", storage=URL).trials] == ["RUNNING"]
    tune("stopped")
    tune("whole")
    assert rows("stopped") == rows("whole")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'tuna'"):
        _ = optlstm.tuna  # type: ignore[attr-defined]


@pytest.mark.parametrize("learn", [optlstm.tune, optlstm.fit])
def test_none_is_no_data(learn: Callable[..., object], folder: Path) -> None:
    with pytest.raises(InputError, match="data: is None; give a DataFrame or the path of a file"):
        learn(None)
