"""Forecasting as a problem: its windows against slow loops, one series and many, covariates, folds, scales."""

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

from optlstm.data.panel_reader import PanelColumns, read_panel
from optlstm.errors import TrialFailed
from optlstm.tasks.forecast.problem import ForecastProblem, make_problem
from optlstm.tasks.forecast.task import Forecast
from optlstm.tasks.forecast.windows import Windows
from optlstm.tasks.options import DataConfig
from optlstm.training.covariates import CovariateForecaster
from optlstm.training.factory import InputSizes
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import fit
from tests.tasks.forecast.samples import CPU, HP, WAVES, one_series, problem_of


def whole(windows: Windows) -> np.ndarray:
    """Every window with its targets, [n, columns, window + horizon]."""
    return np.concatenate([torch.cat(batch, dim=2).numpy() for batch in windows.batches(7)])


class LastValue(nn.Module):
    """Forecasts the last value it saw."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, -1:].expand(-1, 4)


@pytest.mark.parametrize(("window", "horizon"), [(1, 1), (4, 2), (5, 3)])
def test_windows_are_what_a_loop_would_cut(window: int, horizon: int) -> None:
    values = np.arange(60.0, dtype=np.float32).reshape(30, 2)
    problem, hp = ForecastProblem(one_series(values, (10, 20, 27, 30), horizon), CPU), Hyperparameters(window=window)

    for windows, targets, reach_back in (
        (problem.training_windows(hp), range(10, 20), False),
        (problem.validation_windows(hp), range(20, 27), True),
    ):
        expected = []
        for first in range(30):  # the first target row
            inside = all(row in targets for row in range(first, first + horizon))
            if inside and (reach_back or first - window in targets):
                expected.append(values[first - window : first + horizon].T)
        assert np.array_equal(whole(windows), np.stack(expected))
        assert len(windows) == len(expected)


@pytest.mark.parametrize("horizon", [24, 48, 168])
@pytest.mark.parametrize("window", [96, 336])
def test_the_ett_protocol(window: int, horizon: int) -> None:
    problem = ForecastProblem(one_series(np.arange(17420.0)[:, None], (0, 8640, 11520, 14400), horizon), CPU)

    train, validation = (whole(cut(Hyperparameters(window=window))) for cut in (
        problem.training_windows, problem.validation_windows))  # fmt: skip

    assert (train.min(), train.max(), len(train)) == (0, 8639, 8640 - window - horizon + 1)
    assert (validation.min(), validation.max(), len(validation)) == (8640 - window, 11519, 2880 - horizon + 1)
    assert validation[:, 0, window].tolist() == list(range(8640, 11520 - horizon + 1))


def test_one_window_is_enough_and_none_fails_the_trial() -> None:
    hp = Hyperparameters(window=4)

    def of(*cuts: int) -> ForecastProblem:
        return ForecastProblem(one_series(np.zeros((20, 1)), cuts, horizon=2), CPU)

    assert len(of(0, 6, 15, 20).training_windows(hp)) == 1
    with pytest.raises(TrialFailed, match=r"window 4 \+ horizon 2 need 6 rows, and there are 5"):
        of(0, 5, 15, 20).training_windows(hp)
    with pytest.raises(TrialFailed, match="there are 3"):
        of(0, 3, 15, 20).validation_windows(hp)


def test_a_series_that_is_shorter_than_the_window_is_padded_with_its_first_row() -> None:
    values = np.arange(60.0, dtype=np.float32).reshape(30, 2)  # series of 20 and 10 rows
    data = replace(
        one_series(values, horizon=2),
        starts=np.array([0, 20]),
        static=np.empty((2, 0), np.float32),
        ids=("a", "b"),
        mean=np.zeros((2, 2)),
        std=np.ones((2, 2)),
        cuts=np.array([[0, 12, 16, 20], [20, 26, 28, 30]]),
    )
    problem, hp = ForecastProblem(data, CPU), Hyperparameters(window=8)

    def expected(start: int, targets: range) -> list[np.ndarray]:
        return [values[np.maximum(start, np.arange(first - 8, first + 2))].T for first in targets]

    training = [*expected(0, range(8, 11)), *expected(20, range(22, 25))]  # of the short one half of its inputs or more
    assert np.array_equal(whole(problem.training_windows(hp)), np.stack(training))
    validation = [*expected(0, range(12, 15)), *expected(20, range(26, 27))]
    assert np.array_equal(whole(problem.validation_windows(hp)), np.stack(validation))
    with pytest.raises(TrialFailed, match=r"window 13 \+ horizon 2 need 15 rows, and there are 12 in"):
        problem.training_windows(Hyperparameters(window=13))


def test_nothing_is_copied_before_a_batch_is_taken() -> None:
    problem = ForecastProblem(one_series(np.zeros((30, 2), dtype=np.float32), (0, 20, 25, 30)), CPU)

    rows = problem.training_windows(Hyperparameters(window=4)).rows

    assert rows.values.numpy().ctypes.data == problem.data.values.ctypes.data


@pytest.mark.parametrize("many", [False, True])
def test_an_epoch_is_every_window_of_every_series_once_and_none_across_two(config: DataConfig, many: bool) -> None:
    problem = problem_of(config) if many else ForecastProblem(one_series(), CPU)
    data, rows = problem.data, HP.window + problem.data.horizon

    batches = list(problem.batches(HP, torch.Generator().manual_seed(0)))

    seen = torch.cat([torch.cat(batch, dim=2) for batch in batches]).tolist()  # [windows, columns, rows]
    expected = [
        data.values[at : at + rows].T.tolist() for start, stop, *_ in data.cuts for at in range(start, stop - rows + 1)
    ]
    assert sorted(seen) == sorted(expected)
    assert seen != expected
    assert [len(batch[0]) for batch in batches[:-1]] == [HP.batch_size] * (problem.steps_per_epoch(HP) - 1)


@pytest.mark.parametrize(("steps", "passes"), [(1, 1), (5, 1), (6, 2), (11, 3), (50, 12)])
def test_an_epoch_passes_through_a_short_series_until_it_has_about_its_steps(steps: int, passes: int) -> None:
    problem = ForecastProblem(replace(one_series(), epoch_steps=steps), CPU)

    batches = list(problem.batches(HP, torch.Generator().manual_seed(0)))

    assert len(problem.training_windows(HP)) == 49  # four batches of at most 16
    assert len(batches) == problem.steps_per_epoch(HP) == 4 * passes
    seen = [torch.cat(batch, dim=2) for batch in batches]
    rounds = [torch.cat(seen[4 * i : 4 * i + 4]) for i in range(passes)]
    assert all(sorted(part.tolist()) == sorted(rounds[0].tolist()) for part in rounds)  # every window once in a pass
    assert passes == 1 or not torch.equal(rounds[0], rounds[1])


def test_of_too_many_windows_an_epoch_is_a_draw(config: DataConfig) -> None:
    problem = problem_of(config.model_copy(update={"epoch_windows": 20}))

    first, second = (list(problem.batches(HP, torch.Generator().manual_seed(seed))) for seed in (0, 1))

    assert [len(batch[0]) for batch in first] == [16, 4]
    assert problem.steps_per_epoch(HP) == 2
    assert not torch.equal(first[0][0], second[0][0])


def test_one_series_has_no_limit_of_windows_unless_it_is_set(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("columns", [1, 2])
def test_scores_are_the_mean_over_windows_steps_and_columns(columns: int) -> None:
    ready = one_series(WAVES[:, :columns])
    problem, hp = ForecastProblem(ready, CPU), Hyperparameters(window=10)

    scores = problem.validate(LastValue(), hp)

    errors = [ready.values[i - 1] - ready.values[i : i + 4] for i in range(60, 80 - 4 + 1)]  # targets from row i
    assert list(scores) == ["mse", "mae"]
    assert scores["mse"] == pytest.approx(np.mean(np.square(errors)), rel=1e-6)
    assert scores["mae"] == pytest.approx(np.mean(np.abs(errors)), rel=1e-6)
    elsewhere = replace(ready, cuts=np.array([[0, 80, 100, 100]]))
    assert ForecastProblem(elsewhere, CPU).validate(LastValue(), hp)["mse"] != scores["mse"]


def test_the_window_does_not_change_what_is_scored() -> None:
    problem = ForecastProblem(one_series(), CPU)

    scores = [problem.validate(LastValue(), Hyperparameters(window=window)) for window in (1, 10, 40)]

    assert scores[0] == scores[1] == scores[2]


def test_it_trains_on_every_column() -> None:
    hp = Hyperparameters(window=12, patch=3, hidden_size=8, batch_size=16, learning_rate=0.01, linear_skip=True)

    epochs = list(fit(ForecastProblem(one_series(), CPU), hp, epochs=12, patience=None, seed=0))

    assert epochs[-1].value < epochs[0].value / 5
    assert epochs[-1].metrics.keys() == {"mse", "mae"}


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


def test_each_series_or_all_of_them_are_the_scale(config: DataConfig) -> None:
    alone, together = (problem_of(config.model_copy(update={"scaling": how})).data for how in ("series", "global"))

    for data in (alone, together):
        assert data.values.dtype == np.float32
    assert alone.mean[2, 0] > 50 * alone.mean[0, 0]
    assert (together.mean == together.mean[0]).all()
    rows = np.concatenate([together.values[start:stop] for start, stop, *_ in together.cuts])
    assert rows.mean() == pytest.approx(0, abs=1e-5)
    assert rows.std() == pytest.approx(1, abs=1e-5)
    for start, stop, *_ in alone.cuts:
        assert alone.values[start:stop].std() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("column", ["promo", "kind"])
def test_what_is_known_of_the_future_is_learnt(config: DataConfig, column: str) -> None:
    values, quick = {}, replace(HP, learning_rate=0.03)
    for role in ("past", "future"):
        problem = problem_of(config.model_copy(update={role: (column,), "static": ("shop",), "calendar": True}))
        values[role] = list(fit(problem, quick, epochs=15, patience=None, seed=0))[-1].best_value

    assert values["past"] > 3 * values["future"]


def test_a_past_covariate_is_not_read_ahead() -> None:
    torch.manual_seed(0)
    network = CovariateForecaster(HP, 4, InputSizes(future=(0, 3), past=(0, 2), static=(5,))).eval()
    x, static = torch.randn(3, 8), torch.tensor([[1.0], [2.0], [0.0]])
    covariates = torch.randint(0, 3, (3, 4, 12)).float()
    out = network(x, covariates, static)

    ahead = covariates.clone()
    ahead[:, 2:, 8:] = torch.nan  # what is not known yet
    assert torch.equal(network(x, ahead.nan_to_num(7.0), static), out)
    for column, row in ((0, 9), (1, 11), (2, 7), (3, 0)):
        changed = covariates.clone()
        changed[:, column, row] = (changed[:, column, row] + 1) % 3
        assert not torch.allclose(network(x, changed, static), out)
    # one more row at the old end of a window is not read
    longer = torch.cat([torch.randn(3, 1), x], dim=1), torch.cat([covariates[..., :1], covariates], dim=2)
    assert torch.equal(network(*longer, static), out)


def test_an_unseen_category_has_a_number_of_its_own(config: DataConfig, tmp_path: Path) -> None:
    inputs = Forecast.read(config.model_copy(update={"series": "unique_id", "future": ("kind",)})).inputs()
    frame = pd.read_csv(tmp_path / "p.csv")
    frame.loc[0, "kind"], frame.loc[1, "kind"] = "gift", None
    frame.to_csv(tmp_path / "q.csv", index=False)
    panel = read_panel(tmp_path / "q.csv", PanelColumns(future=["kind"]))

    assert inputs.future[0].categories == ["off", "on"]
    assert inputs.by_row(panel)[:2, 0].tolist() == [0, 0]
    assert set(inputs.by_row(panel)[2:, 0].tolist()) == {1, 2}
    assert inputs.unseen(panel) == {"kind": ["gift"]}


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
    with torch.no_grad():
        shown, newest = problem.plot_data(network, hp), each[-1].validate(network[-1], hp)["mse"]
    assert shown.last_fold
    assert shown.by_step["mse"].mean() == pytest.approx(newest)
    assert math.isfinite(epochs[-1].value)
    assert "3 folds of 20 validation rows, 40 test" in task.describe()


def test_folds_are_trained_side_by_side_in_every_series(config: DataConfig) -> None:
    task = Forecast.read(config.model_copy(update={"folds": 2}))

    epochs = list(fit(make_problem(task.data(), CPU), replace(HP, window=4), epochs=2, patience=None, seed=0))

    assert "3 series of 40 to 60 rows (2 folds of 14 validation rows, 30 test)" in task.describe()
    assert np.isfinite(epochs[-1].value)


def test_plots_say_which_series(config: DataConfig) -> None:
    problem = problem_of(config)
    network = problem.network(HP).eval()

    with torch.no_grad():
        shown = problem.plot_data(network, HP)

    assert {example.column for example in shown.examples} <= {"s0", "s1", "s2"}
    for example in shown.examples:
        series = int(example.column[1])
        assert problem.data.cuts[series, 1] <= example.first < problem.data.cuts[series, 2]
        assert 3 * 10**series - 1e-3 <= example.truth.min() <= example.truth.max() <= 4 * 10**series + 1e-3


def test_the_record_of_one_series_is_that_of_older_studies() -> None:
    record = Forecast.read(DataConfig(epoch_steps=1, folds=0)).record()
    assert Forecast.read(DataConfig()).record() == {**record, "epoch_steps": 32}
    assert record == {
        "target": ["y"],
        "rows": 2284,
        "first": "1958-03-29 00:00:00",
        "last": "2001-12-29 00:00:00",
        "fingerprint": "8c8e22b2e4d98624cbc03ce315705c023074d4a68119ef78f79f91a7adaf2eb5",
        "horizon": 52,
        "splits": [1599, 228, 457],
    }


def test_a_read_only_memmap_will_do(tmp_path: Path) -> None:
    ready = one_series()
    np.save(tmp_path / "values.npy", ready.values)
    mapped = np.load(tmp_path / "values.npy", mmap_mode="r")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        problem = ForecastProblem(replace(ready, values=mapped), CPU)

    assert math.isfinite(problem.validate(LastValue(), Hyperparameters(window=5))["mse"])
