"""Ensembles: linear forecasts against exact solutions, weights that follow the errors, and the model made of both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from optlstm.tasks.forecast import selection
from optlstm.tasks.forecast.baselines import NormalEquations, baselines
from optlstm.tasks.forecast.forecaster import Forecaster
from optlstm.tasks.forecast.linear import PENALTIES, LinearForecaster, combined, naive_map, ridge_map, seasonal_map
from optlstm.tasks.forecast.losses import QUANTILES
from optlstm.tasks.forecast.mixture import Linear, Mixture, choose_mixture, without_networks
from optlstm.tasks.forecast.selection import (
    absolute_losses,
    bagged_weights,
    greedy_weights,
    shrunk_weights,
    squared_losses,
)
from optlstm.training.folds import Folds
from optlstm.training.heads import QuantileHead
from optlstm.training.hparams import Hyperparameters
from tests.tasks.forecast.samples import one_series

WINDOW, HORIZON = 6, 4
RANDOM = np.random.default_rng(0)
NOISE = RANDOM.normal(size=(100, 1)).cumsum(axis=0)
HP = Hyperparameters(window=8)


class Sum(nn.Module):
    """Forecasts `share` of the window's last value, and what is added."""

    def __init__(self, share: float, added: float = 0.0) -> None:
        super().__init__()
        self.share, self.added = share, added

    def forward(self, x: Tensor) -> Tensor:
        return self.share * x[:, -1:].expand(-1, HORIZON) + self.added


class Logistic(nn.Module):
    """Forecasts the logistic map, as no linear forecast can."""

    def forward(self, x: Tensor) -> Tensor:
        steps = [x[:, -1]]
        for _ in range(HORIZON):
            steps.append(4 * steps[-1] * (1 - steps[-1]))
        return torch.stack(steps[1:], dim=1)


def logistic(rows: int) -> np.ndarray:
    """[rows, 1]"""
    values = [0.3]
    for _ in range(rows - 1):
        values.append(4 * values[-1] * (1 - values[-1]))
    return np.array(values)[:, None]


def windows_of(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[n, WINDOW] and what follows, [n, HORIZON], of every column."""
    cut = np.lib.stride_tricks.sliding_window_view(values, WINDOW + HORIZON, axis=0).reshape(-1, WINDOW + HORIZON)
    return cut[:, :WINDOW], cut[:, WINDOW:]


@pytest.mark.parametrize("penalty", [0.0, 0.1, 1.0])
def test_a_ridge_forecast_is_the_exact_solution(penalty: float) -> None:
    values = RANDOM.normal(size=(80, 2))
    equations = NormalEquations.of([(values, range(80), None)], WINDOW, HORIZON)

    network = ridge_map(equations, penalty).module()

    inputs, targets = windows_of(values)
    last = inputs[:, -1:]
    design = np.column_stack([inputs[:, :-1] - last, np.ones(len(inputs))])
    strength = penalty * np.square(design[:, :-1]).sum(axis=0).mean()
    solved = np.linalg.solve(design.T @ design + np.diag([strength] * (WINDOW - 1) + [0]), design.T @ (targets - last))
    forecasts = network(torch.tensor(inputs, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(forecasts, design @ solved + last, atol=1e-5)
    longer = torch.tensor(np.column_stack([np.full((len(inputs), 3), 99.0), inputs]), dtype=torch.float32)
    # The newest rows are read, and no covariates.
    np.testing.assert_allclose(network(longer, torch.zeros(1)).numpy(), forecasts, atol=1e-6)


def test_singular_equations_have_a_finite_solution() -> None:
    line = np.arange(40.0)[:, None]

    for penalty in (0.0, 0.1):
        solution = ridge_map(NormalEquations.of([(line, range(40), None)], WINDOW, HORIZON), penalty)
        assert np.isfinite(solution.weight).all()
    exact = ridge_map(NormalEquations.of([(line, range(40), None)], WINDOW, HORIZON), 0.0)
    np.testing.assert_allclose(exact.weight @ line[-WINDOW:, 0] + exact.bias, np.arange(40.0, 44.0))
    nothing = ridge_map(NormalEquations.of([(line, range(5), None)], WINDOW, HORIZON), 0.0)  # no window to learn from
    np.testing.assert_allclose(nothing.weight, np.eye(WINDOW)[[-1] * HORIZON])
    for penalty in PENALTIES:
        constant = ridge_map(NormalEquations.of([(np.ones((40, 1)), range(40), None)], WINDOW, HORIZON), penalty)
        np.testing.assert_allclose(constant.weight @ np.ones(WINDOW) + constant.bias, 1)


def test_the_naive_forecasts_are_those_of_the_baselines_and_a_sum_of_maps_is_one() -> None:
    rows = range(20, 90)
    inputs = np.stack([NOISE[row - WINDOW : row, 0] for row in rows])
    ((_, _, expected),) = baselines(lambda _: NOISE, [range(20)], [rows], WINDOW, HORIZON, season=3)
    naive, seasonal = expected["naive"][:, 0], expected["seasonal_naive"][:, 0]

    np.testing.assert_allclose(inputs[:, -1:] @ naive_map(HORIZON).weight.T, naive)
    np.testing.assert_allclose(inputs[:, -3:] @ seasonal_map(HORIZON, 3).weight.T, seasonal)
    both = combined([naive_map(HORIZON), seasonal_map(HORIZON, 3)], [0.25, 0.75])
    np.testing.assert_allclose(inputs[:, -3:] @ both.weight.T + both.bias, 0.25 * naive + 0.75 * seasonal)


def test_greedy_weights_are_near_the_best_mean() -> None:
    """Two forecasts with errors of equal size that are independent are best halved; a third one is only worse."""
    errors = RANDOM.normal(size=(3, 4000)) * [[1], [1], [5]]

    weights = greedy_weights(squared_losses(errors[None] @ errors.T / 4000), np.ones(1), 3)

    np.testing.assert_allclose(weights, [0.5, 0.5, 0], atol=0.051)


def test_bagged_weights_sum_to_one_favour_the_better_and_are_spread_where_blocks_disagree() -> None:
    better, worse = np.diag([1.0, 4.0]), np.diag([4.0, 1.0])  # errors of two parts that are independent

    def bagged(blocks: list[np.ndarray], windows: list[float]) -> np.ndarray:
        return bagged_weights(squared_losses(np.stack(blocks)), np.array(windows), len(blocks[0]))

    agreeing = bagged([better] * 8, [10.0] * 8)
    equal = np.array([[1.0, 0.9], [0.9, 1.0]])
    torn = bagged([equal + np.diag([0, 2]), equal + np.diag([2, 0])], [10.0, 10.0])
    larger = bagged([better, worse], [90.0, 10.0])

    for weights in (agreeing, torn, larger):
        assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(agreeing, [0.8, 0.2], atol=0.051)
    assert (torn > 0.3).all()
    assert larger[0] > 0.6
    useless = bagged([np.diag([1.0, 1e6])] * 4, [1.0] * 4)
    assert useless.tolist() == [1.0, 0.0]


def test_weights_of_few_windows_are_nearly_those_of_a_mean_of_networks_and_linear_forecasts() -> None:
    losses = np.diag([1.0, 1.0, 2.0, 1.0, 1e6])  # independent errors of two networks and three linear forecasts

    def shrunk(independent: int, losses: np.ndarray, networks: int = 2) -> np.ndarray:
        blocks = squared_losses(np.stack([losses] * 4))
        return shrunk_weights(blocks, np.ones(4), len(losses), networks, independent)

    def mean(losses: np.ndarray) -> np.ndarray:
        """The networks alike, the linear forecasts as they are best among themselves, all by inverse loss."""
        of_linear = bagged_weights(squared_losses(losses[None, 2:, 2:]), np.ones(1), 3)
        weights = np.array([0.5, 0.5, *of_linear]) / np.diag(losses)
        return weights / weights.sum()

    bagged = bagged_weights(squared_losses(np.stack([losses] * 4)), np.ones(4), 5)
    for independent in (2, 200):
        expected = (8 * mean(losses) + independent * bagged) / (8 + independent)
        np.testing.assert_allclose(shrunk(independent, losses), expected, atol=1e-6)
        assert shrunk(independent, losses)[4] == 0
    useless = np.diag([1e6, 1e6, 1.0, 1.0])
    np.testing.assert_allclose(shrunk(1, useless), [0, 0, 0.5, 0.5], atol=1e-3)
    exact = shrunk(4, np.diag([0.0, 1.0, 1.0]))
    assert exact.tolist() == [1.0, 0.0, 0.0]
    assert shrunk(3, np.diag([1.0, 3.0]), networks=0).sum() == pytest.approx(1)  # as of a study without one


def test_windows_of_all_series_and_folds_count_where_they_do_not_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []

    def shrunk(losses: object, windows: np.ndarray, parts: int, networks: int, independent: int) -> np.ndarray:
        counted.append((networks, independent))
        return np.full(parts, 1 / parts)

    monkeypatch.setattr("optlstm.tasks.forecast.mixture.shrunk_weights", shrunk)
    rows = [[0, 20, 40, 40], [40, 60, 65, 65], [65, 85, 87, 87]]  # 17, 2 and no windows of 4 steps to validate
    scale = {"mean": np.zeros((3, 1)), "std": np.ones((3, 1)), "naive": np.ones((3, 1))}
    static = np.empty((3, 0), np.float32)
    data = replace(one_series(NOISE[:87]), ids=("a", "b", "c"), static=static, cuts=np.array(rows), **scale)

    choose_mixture(data, [(HP, Sum(1.0))], [], season=1)
    choose_mixture(replace(data, folds=(data.cuts,) * 2), [(HP, Folds([Sum(1.0)] * 2))], [], season=1)

    assert counted == [(1, 4 + 1), (1, 2 * (4 + 1))]


def test_the_largest_weight_is_kept_however_small_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_LEAST_WEIGHT", 0.9)

    weights = bagged_weights(squared_losses(np.stack([np.diag([1.0, 4.0])] * 4)), np.ones(4), 2)  # .8, .2: smaller

    assert weights.tolist() == [1.0, 0.0]


def test_greedy_weights_by_absolute_errors_are_near_the_best_mean() -> None:
    grid = np.linspace(0, 1, 21)
    errors = RANDOM.laplace(size=(2, 4000)) * [[1], [2]]
    errors[0, ::40] += 50  # rare and large: they matter less where they are not squared

    weights = greedy_weights(absolute_losses([errors.astype(np.float32)]), np.ones(1), 2)

    best = grid[np.argmin([np.abs(w * errors[0] + (1 - w) * errors[1]).mean() for w in grid])]
    assert weights[0] == pytest.approx(best, abs=0.051)
    squared = greedy_weights(squared_losses(errors[None] @ errors.T / 4000), np.ones(1), 2)
    assert weights[0] > squared[0] + 0.2


@pytest.mark.parametrize("metric", ["mse", "rmse", "mae", "smape", "mase"])
def test_the_weights_are_by_the_metric_that_decides(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of rare spikes the median is best in absolute errors, the mean in squared ones; mase sees the other series."""
    monkeypatch.setattr("optlstm.tasks.forecast.mixture._MOST_ERRORS", 20_000)  # of some of the windows
    spikes = np.where(np.arange(800) % 20 == 7, 20.0, 0.0)
    values = np.concatenate([spikes, 0.3 + 0.01 * RANDOM.normal(size=800)])[:, None]
    data = replace(
        one_series(values),
        ids=("spikes", "level"),
        static=np.empty((2, 0), np.float32),
        mean=np.zeros((2, 1)),
        std=np.ones((2, 1)),
        cuts=np.array([[0, 400, 800, 800], [800, 1200, 1600, 1600]]),
        naive=np.array([[2.0], [0.01]]),
    )

    median, mean = choose_mixture(data, [(HP, Sum(0.0, 0.0)), (HP, Sum(0.0, 1.0))], [], season=1, metric=metric).trials

    assert (median > 0.6) == (metric in ("mae", "smape"))
    assert (median < 0.4) == (metric in ("mse", "rmse", "mase"))
    assert (mean > 0.5) == (metric in ("mse", "rmse"))


class Spread(nn.Module):
    """The quantiles of a normal distribution with this standard deviation."""

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.quantiles = deviation * torch.special.ndtri(torch.tensor(QUANTILES))

    def forward(self, x: Tensor) -> Tensor:
        return self.quantiles.repeat(HORIZON).expand(len(x), -1)


@pytest.mark.parametrize("missing", [False, True])
def test_quantiles_are_weighted_by_their_pinball_loss(missing: bool) -> None:
    """Of white noise: quantiles of its deviation win over those of half and of twice it, and over linear forecasts."""
    data = one_series(RANDOM.normal(size=(600, 2)), (0, 200, 500, 600))
    if missing:
        data = replace(data, missing=RANDOM.random((600, 2)) < 0.1)
    trials = [(HP, Spread(deviation)) for deviation in (0.5, 1.0, 2.0)]

    chosen = choose_mixture(data, trials, [8], 1, "wql", "quantiles")

    assert chosen.trials[1] + sum(chosen.linear.values()) > 0.85
    assert chosen.trials[1] > 0.6
    blend = replace(chosen, trials=(0.0, 0.5, 0.0), linear={Linear("naive", 1): 0.5}).blend(data, networks=1)
    assert blend.extras["linear.residuals"].shape == (2, HORIZON, 7)
    linear = LinearForecaster(1, HORIZON, chosen.head, 2)
    linear.load_state_dict({name.removeprefix("linear."): tensor for name, tensor in blend.extras.items()})
    forecaster = Forecaster([trials[1][1], linear], 8, 2, blend.card_updates["weights"], QuantileHead(levels=QUANTILES))
    (batch,) = forecaster.forecasts(data, np.array([250, 300]), np.zeros(2, np.int64), (0.1, 0.5, 0.9))
    assert batch.quantiles is not None
    mean = forecaster.mean(batch.quantiles)  # level by level
    np.testing.assert_allclose(mean, (batch.quantiles[0] + batch.quantiles[1]) / 2)
    np.testing.assert_allclose(batch.quantiles[0, 0, 0, 0], [-1.2816, 0, 1.2816], rtol=1e-3)
    last = data.values[[249, 299]][:, :, None]
    np.testing.assert_allclose(batch.points[1] - last, np.median(np.diff(data.values[:200], axis=0)), atol=0.4)
    assert (np.diff(mean, axis=-1) >= 0).all()


@pytest.mark.parametrize("folds", [False, True])
def test_weights_follow_the_errors_on_the_validation_windows(folds: bool) -> None:
    """A network that is right has nearly all of the weight, absurd ones have none."""
    data = one_series(logistic(100))

    def network(module: nn.Module) -> nn.Module:
        return Folds([module, module]) if folds else module

    if folds:
        data = replace(data, folds=(np.array([[0, 50, 65, 100]]), np.array([[0, 65, 80, 100]])))
    right = (Hyperparameters(window=20), network(Logistic()))
    trials = [(HP, network(Sum(-3.0, 50.0))), right, (HP, network(Sum(0.0, 1e3)))]

    chosen = choose_mixture(data, trials, [6, 200], season=5)

    assert chosen.trials[0] == chosen.trials[2] == 0
    assert chosen.trials[1] > 0.9
    assert sum(chosen.trials) + sum(chosen.linear.values()) == pytest.approx(1)
    assert choose_mixture(data, trials, [6, 200], season=5) == chosen
    absurd = choose_mixture(data, trials[::2], [6, 200], season=5)
    assert absurd.trials == (0, 0)
    assert sum(absurd.linear.values()) == pytest.approx(1)
    assert {part.window for part in absurd.linear} <= {1, 5, 6, 8}  # 200 rows are more than there are


def test_a_mixture_becomes_the_weights_and_the_one_linear_forecast_of_a_model() -> None:
    ridge, naive = Linear("ridge", WINDOW, 0.1), Linear("naive", 1)
    blend = Mixture((0.4, 0.0, 0.2), {ridge: 0.3, naive: 0.1}).blend(one_series(NOISE), networks=2)

    assert blend.trials == (0, 2)
    assert blend.card_updates["weights"] == pytest.approx([0.2, 0.2, 0.1, 0.1, 0.4])
    assert blend.card_updates["linear"] == {"ridge (window 6, penalty 0.1)": 0.3, "naive": 0.1}
    assert blend.card_updates["linear_window"] == WINDOW
    equations = NormalEquations.of([(one_series(NOISE).values.astype(np.float64), range(60), None)], WINDOW, HORIZON)
    expected = combined([ridge_map(equations, 0.1), naive_map(HORIZON)], [0.75, 0.25])
    np.testing.assert_allclose(blend.extras["linear.weight"].numpy(), expected.weight, atol=1e-6)
    constant = 0.75 * equations.solve(0.1)[-1]
    assert np.abs(constant).max() > 1e-3
    np.testing.assert_allclose(blend.extras["linear.bias"].numpy(), constant, atol=1e-6)

    alone = Mixture((0.0, 0.0), {naive: 1.0}).blend(one_series(NOISE), networks=1)
    assert (alone.trials, alone.card_updates["weights"]) == ((0,), [0.0, 1.0])  # a model has a network
    assert Mixture((0.0, 1.0), {}).blend(one_series(NOISE), networks=1).card_updates == {"weights": [1.0]}


def test_a_forecast_is_the_weighted_sum_whatever_the_batch() -> None:
    parts = RANDOM.normal(size=(3, 50, 2, HORIZON))
    forecaster = Forecaster([Sum(1.0)] * 3, 8, 2, [0.5, 0.3, 0.2])

    whole = forecaster.mean(parts)

    np.testing.assert_allclose(whole, 0.5 * parts[0] + 0.3 * parts[1] + 0.2 * parts[2])
    assert np.array_equal(whole[7:9], forecaster.mean(parts[:, 7:9]))
    np.testing.assert_allclose(Forecaster([Sum(1.0)] * 3, 8, 2).mean(parts), parts.mean(axis=0))


def test_the_weight_of_several_linear_forecasts_is_never_above_one() -> None:
    shares = [0.33, 0.56, 0.11]  # which sum to more than 1 by a rounding error
    parts = {Linear("ridge", WINDOW, penalty): share for penalty, share in zip(PENALTIES, shares, strict=False)}
    assert sum(parts.values()) > 1

    blend = Mixture((0.0,), parts).blend(one_series(NOISE), 1)

    assert blend.card_updates["weights"] == [0.0, 1.0]


def test_the_weight_of_networks_that_repeat_the_last_value_goes_to_the_naive_forecast() -> None:
    ridge, naive = Linear("ridge", 8, 0.1), Linear("naive", 1)

    assert without_networks(Mixture((0.25,), {ridge: 0.5, naive: 0.25})).linear == {ridge: 0.5, naive: 0.5}
    assert without_networks(Mixture((0.25,), {ridge: 0.75})) == Mixture((0.0,), {ridge: 0.75, naive: 0.25})
    assert without_networks(Mixture((0.0,), {ridge: 1.0})) == Mixture((0.0,), {ridge: 1.0})
