"""Forecasts that are linear in the window: solved exactly, not trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from optlstm.tasks.forecast.baselines import NormalEquations
from optlstm.util.arrays import Floats


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


def combined(maps: Sequence[LinearMap], shares: Sequence[float]) -> LinearMap:
    """The weighted sum of maps, of the longest window."""
    window = max(part.window for part in maps)
    weight, bias = np.zeros((len(maps[0].bias), window)), np.zeros(len(maps[0].bias))
    for part, share in zip(maps, shares, strict=True):
        weight[:, window - part.window :] += share * part.weight
        bias += share * part.bias
    return LinearMap(weight, bias)
