"""The linear part of a forecaster, solved before it is trained: against NumPy, and left alone by training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from optlstm.tasks.forecast.data import ForecastData
from optlstm.tasks.forecast.linear import PENALTIES, combined, naive_map, seasonal_map, solved_map, with_residuals
from optlstm.tasks.forecast.problem import ForecastProblem, forecast
from optlstm.training.heads import QuantileHead
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import fit
from optlstm.training.model import count_parameters
from optlstm.training.network_cost import parameters
from tests.tasks.forecast.samples import CPU, one_series

WINDOW, HORIZON = 6, 3
RANDOM = np.random.default_rng(0)


def noisy(rows: int, noise: float) -> np.ndarray:
    """Two columns of a season of 5 rows with a trend."""
    angle = 2 * np.pi * np.arange(rows)[:, None] / 5 + np.arange(2)
    return np.sin(angle) + 0.01 * np.arange(rows)[:, None] + noise * RANDOM.normal(size=(rows, 2))


def ridge(data: ForecastData, penalty: float, missing: int = -1) -> np.ndarray:
    """Weights [window, horizon] on the training rows, 0 to 59, window by window. missing: a row that was not given."""
    first = [i for i in range(60 - WINDOW - HORIZON + 1) if not i + WINDOW - 1 <= missing < i + WINDOW + HORIZON]
    cuts = [data.values[i : i + WINDOW + HORIZON, c].astype(float) for i in first for c in range(2)]
    relative = np.array([cut - cut[WINDOW - 1] for cut in cuts])
    inputs = np.c_[relative[:, : WINDOW - 1], np.ones(len(cuts))]
    square = inputs.T @ inputs
    shrunk = penalty * np.diag(square)[:-1].mean() * np.diag([1.0] * (WINDOW - 1) + [0.0])
    weights = np.linalg.solve(square + shrunk, inputs.T @ relative[:, WINDOW:])[:-1]
    return np.vstack([weights, 1 - weights.sum(axis=0)])


@pytest.mark.parametrize(
    ("values", "penalties"),
    [(noisy(100, 0.0), (0.01,)), (RANDOM.normal(size=(100, 2)).cumsum(axis=0), (0.1, 1.0, 10.0))],
)
def test_it_is_the_ridge_regression_whose_penalty_the_newest_windows_choose(
    values: np.ndarray, penalties: tuple[float, ...]
) -> None:
    data = one_series(values, horizon=HORIZON)

    weight = solved_map(data, WINDOW).weight

    distances = {p: np.abs(weight.T - ridge(data, p)).max() for p in PENALTIES[1:]}
    assert min(distances.values()) < 1e-9
    assert min(distances, key=distances.__getitem__) in penalties
    np.testing.assert_allclose(weight.sum(axis=1), 1)  # no level changes it


@pytest.mark.parametrize("rows", [0, 5, WINDOW + HORIZON])
def test_of_too_few_rows_it_repeats_the_last_value_or_learns_from_what_there_is(rows: int) -> None:
    solution = solved_map(one_series(cuts=(0, rows, 80, 100), horizon=HORIZON), WINDOW)

    assert np.isfinite(solution.weight).all()
    if rows < WINDOW + HORIZON:
        np.testing.assert_array_equal(solution.weight, np.tile(np.eye(WINDOW)[-1], (HORIZON, 1)))


def test_windows_with_a_missing_target_or_last_value_are_left_out() -> None:
    missing = np.zeros((100, 2), bool)
    missing[30] = True
    data = replace(one_series(noisy(100, 0.5), horizon=HORIZON), missing=missing)

    weight = solved_map(data, WINDOW).weight

    assert min(np.abs(weight.T - ridge(data, p, 30)).max() for p in PENALTIES[1:]) < 1e-9


@pytest.mark.parametrize("norm", ["none", "last", "mean_std"])
def test_a_network_starts_from_the_solution_and_training_leaves_it_alone(norm: str) -> None:
    problem = ForecastProblem(replace(one_series(noisy(100, 0.5), horizon=HORIZON), epoch_steps=20), CPU)
    hp = Hyperparameters(
        window=WINDOW, patch=2, hidden_size=4, linear_skip="solved", window_norm=norm, weight_decay=0.1
    )
    solution = solved_map(problem.data, WINDOW).module().weight
    window = torch.from_numpy(problem.data.values[:WINDOW].T.copy())

    network = problem.network(hp).eval()
    with torch.no_grad():
        torch.nn.init.zeros_(network.head.bias)
        torch.testing.assert_close(network(window), window @ solution.T)
    assert count_parameters(network) == parameters(problem, hp)
    last = list(fit(problem, hp, epochs=2, patience=None, seed=1))[-1]

    assert torch.equal(last.state.part("network")["skip.weight"], solution)
    assert last.state.part("network")["head.weight"].abs().max() > 0
    assert not any(name.startswith("skip.") for name in last.state.part("optimizer"))


@pytest.mark.parametrize("gap", [False, True])
def test_quantiles_of_a_linear_forecast_are_those_of_its_residuals(gap: bool) -> None:
    """The first column's noise has ten times the spread of the second's, and the same at every step."""
    noise = np.random.default_rng(0).normal(size=(2000, 2)) * [10.0, 1.0]
    data = one_series(noise, (0, 1500, 1700, 2000), HORIZON)
    if gap:
        data = replace(data, missing=np.arange(2000)[:, None].repeat(2, 1) % 50 == 0)
    head = QuantileHead(levels=(0.1, 0.5, 0.9))

    solved = with_residuals(naive_map(HORIZON), data, head.levels)

    assert solved.residuals is not None
    normal = np.sqrt(2) * np.array([-1.2816, 0, 1.2816])  # of a difference of two values
    np.testing.assert_allclose(solved.residuals.mean(axis=1) / [[10.0], [1.0]], [normal, normal], atol=0.15)
    window = torch.tensor([[[1.0, 5.0], [2.0, 7.0]]])  # [batch, columns, window]
    out = forecast(solved.module(head), window, outputs=3)
    assert out.shape == (1, 2, HORIZON, 3)
    np.testing.assert_allclose(out[0].numpy(), np.array([[[5.0]], [[7.0]]]) + solved.residuals, rtol=1e-5)
    other = with_residuals(seasonal_map(HORIZON, 2), data, head.levels)
    shared = combined([solved, other], [0.25, 0.75])
    assert shared.residuals is not None
    assert other.residuals is not None
    np.testing.assert_allclose(shared.residuals, 0.25 * solved.residuals + 0.75 * other.residuals)
