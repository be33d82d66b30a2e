"""Forecasting one series: what it trains on, what it is scored on, and the space it proposes."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from optlstm.errors import TrialFailed
from optlstm.tasks.forecast.data import ForecastData
from optlstm.tasks.forecast.problem import ForecastProblem, make_problem
from optlstm.tasks.forecast.task import Forecast
from optlstm.tasks.options import DataConfig
from optlstm.tasks.space import default_space
from optlstm.training.factory import InputSizes
from optlstm.training.hparams import Hyperparameters, validate_value
from optlstm.training.loop import fit

CPU = torch.device("cpu")
CUTS = np.array([[0, 60, 80, 100]])


def data(horizon: int = 4, columns: int = 2) -> ForecastData:
    """100 rows of waves; CUTS."""
    rows = np.arange(100)[:, None] * 0.3 + np.arange(columns)
    return ForecastData(
        values=np.sin(rows).astype(np.float32),
        covariates=np.empty((100, 0), np.float32),
        static=np.empty((1, 0), np.float32),
        sizes=InputSizes(),
        ids=("",),
        columns=tuple(f"c{i}" for i in range(columns)),
        mean=np.zeros((1, columns)),
        std=np.ones((1, columns)),
        cuts=CUTS,
        horizon=horizon,
    )


class LastValue(nn.Module):
    """Forecasts the last value it saw."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, -1:].expand(-1, 4)


def test_the_scale_is_that_of_the_training_rows_only(tmp_path: Path) -> None:
    lines = [f"2024-01-01T{hour:02d}:00:00,{hour if hour < 12 else 1000},{7 * hour}" for hour in range(24)]
    (tmp_path / "s.csv").write_text("\n".join(["time,a,b", *lines]))
    config = DataConfig(path=str(tmp_path / "s.csv"), time="time", target=("a", "b"), splits=(12, 6, 6), horizon=2)
    task = Forecast.read(config)

    ready = task.data()

    assert ready.columns == ("a", "b")
    assert (ready.values.dtype, ready.values.shape) == (np.float32, (24, 2))
    np.testing.assert_allclose(ready.values[:12].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(ready.values[:12].std(axis=0), 1, atol=1e-6)
    np.testing.assert_allclose(ready.values * ready.std[0] + ready.mean[0], task.panel.values, rtol=1e-6, atol=1e-5)


def test_an_epoch_is_every_training_window_once() -> None:
    ready = data()
    problem, hp = ForecastProblem(ready, CPU), Hyperparameters(window=10, batch_size=16)

    batches = list(problem.batches(hp, torch.Generator().manual_seed(0)))

    assert [len(inputs) for inputs, _ in batches] == [16, 16, 15]
    assert problem.steps_per_epoch(hp) == 3
    seen = torch.cat([torch.cat(batch, dim=2) for batch in batches])  # [47, 2, 14]
    expected = [ready.values[i : i + 14].T for i in range(60 - 14 + 1)]
    assert sorted(seen.tolist()) == sorted(np.stack(expected).tolist())
    assert seen.tolist() != np.stack(expected).tolist()


@pytest.mark.parametrize("columns", [1, 2])
def test_scores_are_the_mean_over_windows_steps_and_columns(columns: int) -> None:
    ready = data(columns=columns)
    problem, hp = ForecastProblem(ready, CPU), Hyperparameters(window=10)

    scores = problem.validate(LastValue(), hp)

    errors = [ready.values[i - 1] - ready.values[i : i + 4] for i in range(60, 80 - 4 + 1)]  # targets from row i
    assert list(scores) == ["mse", "mae"]
    assert scores["mse"] == pytest.approx(np.mean(np.square(errors)), rel=1e-6)
    assert scores["mae"] == pytest.approx(np.mean(np.abs(errors)), rel=1e-6)
    elsewhere = replace(ready, cuts=np.array([[0, 80, 100, 100]]))
    assert ForecastProblem(elsewhere, CPU).validate(LastValue(), hp)["mse"] != scores["mse"]


def test_the_window_does_not_change_what_is_scored() -> None:
    problem = ForecastProblem(data(), CPU)

    scores = [problem.validate(LastValue(), Hyperparameters(window=window)) for window in (1, 10, 40)]

    assert scores[0] == scores[1] == scores[2]


def test_it_trains_on_every_column() -> None:
    hp = Hyperparameters(window=12, patch=3, hidden_size=8, batch_size=16, learning_rate=0.01, linear_skip=True)

    epochs = list(fit(ForecastProblem(data(), CPU), hp, epochs=12, patience=None, seed=0))

    assert epochs[-1].value < epochs[0].value / 5
    assert epochs[-1].metrics.keys() == {"mse", "mae"}


def test_one_series_has_no_most_windows_unless_they_are_set(tmp_path: Path) -> None:
    pd.DataFrame({"ds": range(30_000), "y": np.sin(np.arange(30_000))}).to_csv(tmp_path / "s.csv", index=False)
    config = DataConfig(path=str(tmp_path / "s.csv"), horizon=4)

    for limit, steps in ((16_384, -(-(21_000 - 12 + 1) // 64)), (500, 8)):
        task = Forecast.read(config.model_copy(update={"epoch_windows": limit}))
        problem = ForecastProblem(task.data(), CPU)
        assert problem.steps_per_epoch(Hyperparameters(window=8, batch_size=64)) == steps
        assert task.record().get("epoch_windows") == (None if limit == 16_384 else limit)
    # In older studies covariates or filled gaps brought the default limit with them.
    long = Forecast.read(config.model_copy(update={"gaps": "interpolate"}))
    short = Forecast.read(DataConfig(gaps="interpolate"))
    assert (long.epoch_windows, long.record()["epoch_windows"]) == (None, None)
    assert (short.epoch_windows, short.record()["epoch_windows"]) == (None, 16_384)


def test_the_record_of_one_series_is_that_of_older_studies() -> None:
    assert Forecast.read(DataConfig()).record() == {
        "target": ["y"],
        "rows": 2284,
        "first": "1958-03-29 00:00:00",
        "last": "2001-12-29 00:00:00",
        "fingerprint": "8c8e22b2e4d98624cbc03ce315705c023074d4a68119ef78f79f91a7adaf2eb5",
        "horizon": 52,
        "splits": [1599, 228, 457],
    }


def test_a_window_too_long_for_the_rows_fails_the_trial() -> None:
    problem = ForecastProblem(data(), CPU)

    with pytest.raises(TrialFailed, match=r"window 57 \+ horizon 4 need 61 rows, and there are 60"):
        problem.steps_per_epoch(Hyperparameters(window=57))


def test_a_read_only_memmap_will_do(tmp_path: Path) -> None:
    ready = data()
    np.save(tmp_path / "values.npy", ready.values)
    mapped = np.load(tmp_path / "values.npy", mmap_mode="r")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        problem = ForecastProblem(replace(ready, values=mapped), CPU)

    assert math.isfinite(problem.validate(LastValue(), Hyperparameters(window=5))["mse"])


@pytest.mark.parametrize(
    ("season", "horizon", "train_rows", "windows"),
    [
        (24, 24, 8640, [96, 168, 336]),
        (24, 168, 8640, [168, 336]),
        (24, 720, 8640, [336]),
        (52, 26, 1600, [52, 104, 156]),
        (52, 26, 300, [52]),
        (12, 12, 240, [48]),
        (12, 12, 100, [24]),
        (1, 4, 8640, [16, 48, 96]),
        (365, 30, 400, [48, 96]),
        (1, 1, 10, [2]),
    ],
)
def test_windows_are_whole_seasons_and_leave_rows_to_train_on(
    season: int, horizon: int, train_rows: int, windows: list[int]
) -> None:
    assert default_space(season, horizon, train_rows)["window"] == {"choices": windows, "default": windows[-1]}


@pytest.mark.parametrize("season", [1, 2, 4, 7, 12, 24, 48, 52, 96, 168, 365])
def test_every_value_of_the_default_space_is_a_valid_hyperparameter(season: int) -> None:
    for name, declared in default_space(season, 24, 5000).items():
        if not isinstance(declared, dict):
            assert validate_value(name, declared) is None
            continue
        values = declared.get("choices") or [declared["low"], declared["high"]]
        assert [validate_value(name, value) for value in [*values, declared["default"]]] == [None] * (len(values) + 1)
        if "choices" in declared:
            assert declared["default"] in values
        else:
            assert declared["low"] <= declared["default"] <= declared["high"]


def test_folds_are_trained_side_by_side_on_the_scale_of_the_first(tmp_path: Path) -> None:
    lines = [f"{i},{i + 10 * np.sin(i / 3):.4f}" for i in range(200)]
    (tmp_path / "s.csv").write_text("\n".join(["ds,y", *lines]))
    task = Forecast.read(DataConfig(path=str(tmp_path / "s.csv"), horizon=4, folds=3))

    ready = task.data()
    first = ready.values[: task.folds[0][0, 1]]
    assert abs(first.mean()) < 1e-5
    assert first.std() == pytest.approx(1, abs=1e-5)
    problem, hp = make_problem(ready, CPU), Hyperparameters(window=12, patch=3, hidden_size=4)
    epochs = list(fit(problem, hp, epochs=2, patience=None, seed=0))
    network = problem.network(hp)
    each = [ForecastProblem(replace(ready, cuts=fold, folds=()), CPU) for fold in task.folds]
    scores = [fold.validate(network[0], hp)["mse"] for fold in each]
    assert problem.validate(network, hp)["mse"] != pytest.approx(scores[0])
    assert len(network) == 3
    assert math.isfinite(epochs[-1].value)
    assert "3 folds of 20 validation rows, 40 test" in task.describe()
