"""Forecasts that are linear in the window: solved exactly, not trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from optlstm.tasks.forecast.baselines import LINEAR_WINDOWS, NormalEquations
from optlstm.tasks.forecast.data import ForecastData
from optlstm.util.arrays import Floats, Integers

PENALTIES = (0.0, 0.01, 0.1, 1.0, 10.0)  # of the ridge regressions, as shares of the inputs' mean square
_HELD_OUT = 5  # one window in so many, the newest, chooses a penalty
_MOST_WINDOWS = 50_000  # to solve a linear skip on: it is done in every process that trains


class LinearForecaster(nn.Module):
    """A window [batch, window] -> its next rows [batch, horizon]: a matrix and a constant, nothing to train.

    It reads no covariates.
    """

    def __init__(self, window: int, horizon: int) -> None:
        super().__init__()
        self.weight: Tensor
        self.bias: Tensor
        self.register_buffer("weight", torch.zeros(horizon, window))
        self.register_buffer("bias", torch.zeros(horizon))

    def forward(self, x: Tensor, *covariates: Tensor) -> Tensor:
        """x [batch, window] -> [batch, horizon], both on the same scale. Of a longer x the newest rows are read."""
        return nn.functional.linear(x[:, -self.weight.shape[1] :], self.weight, self.bias)


@dataclass(frozen=True)
class LinearMap:
    """forecast = weight @ window + bias: weight [horizon, window], bias [horizon], float64."""

    weight: Floats
    bias: Floats

    @property
    def window(self) -> int:
        return len(self.weight[0])

    def module(self) -> LinearForecaster:
        """As a network, in float32."""
        network = LinearForecaster(self.window, len(self.bias))
        network.weight.copy_(torch.from_numpy(self.weight))
        network.bias.copy_(torch.from_numpy(self.bias))
        return network


def naive_map(horizon: int) -> LinearMap:
    """The last value, repeated."""
    return LinearMap(np.ones((horizon, 1)), np.zeros(horizon))


def seasonal_map(horizon: int, season: int) -> LinearMap:
    """The last season, repeated."""
    weight = np.zeros((horizon, season))
    weight[np.arange(horizon), np.arange(horizon) % season] = 1.0
    return LinearMap(weight, np.zeros(horizon))


def ridge_map(equations: NormalEquations, penalty: float) -> LinearMap:
    """NLinear with a ridge penalty (Hoerl and Kennard 1970): see `NormalEquations.solve`."""
    solved = equations.solve(penalty)  # [window, horizon], the last row the constant
    weight = solved.T.copy()
    weight[:, -1] = 1.0 - weight[:, :-1].sum(axis=1)  # the inputs are relative to the window's last value
    return LinearMap(weight, solved[-1].copy())


def normal_equations(data: ForecastData, window: int, rows: Integers, most: int = LINEAR_WINDOWS) -> NormalEquations:
    """Those of the rows [n, 2] (first one, end) of every series; on so many windows at most, evenly spread."""
    windows = int(np.maximum(0, rows[:, 1] - rows[:, 0] - window - data.horizon + 1).sum())
    values, missing = data.values.astype(np.float64), data.missing
    every = max(1, -(-windows // most))
    return NormalEquations.of(((values, range(*part), missing) for part in rows.tolist()), window, data.horizon, every)


def solved_map(data: ForecastData, window: int) -> LinearMap:
    """The ridge regression on the training rows, with the penalty that is best on the newest windows of each series.

    On one thread of NumPy's, for every process that trains has the same weights to the last bit.
    """
    begin, end = data.cuts[:, 0], data.cuts[:, 1]
    counts = np.maximum(0, end - begin - window - data.horizon + 1)
    newest = end - counts // _HELD_OUT  # where those windows would end that are not held out
    split = newest - (window + data.horizon - 1)  # where the first one that is begins
    held_out_most = _MOST_WINDOWS // _HELD_OUT  # so that both are thinned alike
    with threadpool_limits(1):
        older = normal_equations(data, window, np.stack([begin, newest], axis=1), _MOST_WINDOWS - held_out_most)
        held_out = normal_equations(data, window, np.stack([split, end], axis=1), held_out_most)
        best = min(PENALTIES[1:], key=lambda penalty: held_out.squared_error(older.solve(penalty)))
        return ridge_map(older + held_out, best)


def combined(maps: Sequence[LinearMap], shares: Sequence[float]) -> LinearMap:
    """The weighted sum of maps, of the longest window."""
    window = max(part.window for part in maps)
    weight, bias = np.zeros((len(maps[0].bias), window)), np.zeros(len(maps[0].bias))
    for part, share in zip(maps, shares, strict=True):
        weight[:, window - part.window :] += share * part.weight
        bias += share * part.bias
    return LinearMap(weight, bias)
