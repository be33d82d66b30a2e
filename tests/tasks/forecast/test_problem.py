"""Many series as a problem: windows of each series by itself, covariates on their side of the forecast's start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from optlstm.data.panel_reader import PanelColumns, read_panel
from optlstm.tasks.forecast.errors import ErrorSums
from optlstm.tasks.forecast.problem import ForecastProblem, make_problem
from optlstm.tasks.forecast.task import Forecast
from optlstm.tasks.options import DataConfig
from optlstm.training.covariates import CovariateForecaster
from optlstm.training.factory import InputSizes
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import fit

CPU = torch.device("cpu")
HP = Hyperparameters(window=8, patch=4, hidden_size=8, batch_size=16, learning_rate=0.01)


def write(path: Path, lengths: tuple[int, ...] = (60, 48, 40)) -> None:
    """Series whose rise is the promotion of the row itself, which only a known covariate can tell."""
    random, parts = np.random.default_rng(0), []
    for i, length in enumerate(lengths):
        promo = random.integers(0, 2, length)
        frame = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=length, freq="h"), "promo": promo})
        parts.append(frame.assign(unique_id=f"s{i}", y=(10.0**i) * (3 + promo), kind=np.where(promo, "on", "off")))
    pd.concat(parts).assign(shop=lambda frame: frame["unique_id"]).to_csv(path, index=False)


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    write(tmp_path / "p.csv")
    return DataConfig(path=str(tmp_path / "p.csv"), horizon=4)


def problem_of(config: DataConfig) -> ForecastProblem:
    problem = make_problem(Forecast.read(config).data(), CPU)
    assert isinstance(problem, ForecastProblem)
    return problem


def test_an_epoch_is_every_window_of_every_series_once_and_none_across_two(config: DataConfig) -> None:
    problem = problem_of(config)

    batches = list(problem.batches(HP, torch.Generator().manual_seed(0)))

    data = problem.data
    expected = [
        data.values[at : at + 12, 0].tolist() for start, stop, *_ in data.cuts for at in range(start, stop - 12 + 1)
    ]
    seen = [row for batch in batches for row in torch.cat(batch[:2], dim=2)[:, 0].tolist()]
    assert sorted(seen) == sorted(expected)
    assert len(batches) == problem.steps_per_epoch(HP)


def test_of_too_many_windows_an_epoch_is_a_draw(config: DataConfig) -> None:
    problem = problem_of(config.model_copy(update={"epoch_windows": 20}))

    first, second = (list(problem.batches(HP, torch.Generator().manual_seed(seed))) for seed in (0, 1))

    assert [len(batch[0]) for batch in first] == [16, 4]
    assert problem.steps_per_epoch(HP) == 2
    assert not torch.equal(first[0][0], second[0][0])


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


def test_folds_are_trained_side_by_side(config: DataConfig) -> None:
    task = Forecast.read(config.model_copy(update={"folds": 2}))

    epochs = list(fit(make_problem(task.data(), CPU), replace(HP, window=4), epochs=2, patience=None, seed=0))

    assert "3 series of 40 to 60 rows (2 folds of 14 validation rows, 30 test)" in task.describe()
    assert np.isfinite(epochs[-1].value)


def test_metrics_by_hand() -> None:
    sums = ErrorSums(np.array([[2.0], [1.0]]), np.array([[4.0], [np.nan]]), 2)
    actual = np.zeros((3, 1, 2))
    forecast = np.array([[[2.0, 2.0]], [[4.0, 4.0]], [[1.0, 3.0]]])

    sums.add(np.array([0, 0, 1]), actual, forecast)

    scores = sums.scores().overall
    assert scores["mse"] == pytest.approx((1 + 1 + 4 + 4 + 1 + 9) / 6)
    assert scores["mae_raw"] == pytest.approx((2 + 2 + 4 + 4 + 1 + 3) / 6)
    assert scores["mase"] == pytest.approx(3 / 4)  # of the first series, the only one where it is defined
    assert scores["smape"] == pytest.approx(200)


def test_pictures_say_which_series(config: DataConfig) -> None:
    problem = problem_of(config)
    network = problem.network(HP).eval()

    with torch.no_grad():
        shown = problem.plot_data(network, HP)

    assert {example.column for example in shown.examples} <= {"s0", "s1", "s2"}
    for example in shown.examples:
        series = int(example.column[1])
        assert problem.data.cuts[series, 1] <= example.first < problem.data.cuts[series, 2]
        assert 3 * 10**series - 1e-3 <= example.truth.min() <= example.truth.max() <= 4 * 10**series + 1e-3
