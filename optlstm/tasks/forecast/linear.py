"""Forecasts that are linear in the window: solved exactly, not trained."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from optlstm.tasks.forecast.baselines import LINEAR_WINDOWS, NormalEquations
from optlstm.tasks.forecast.data import ForecastData
from optlstm.training.heads import POINT, Head, QuantileHead
from optlstm.util.arrays import Floats, Integers

PENALTIES = (0.0, 0.01, 0.1, 1.0, 10.0)  # of the ridge regressions, as shares of the inputs' mean square
_HELD_OUT = 5  # one window in so many, the newest, chooses a penalty
_MOST_RESIDUALS = 2_000  # of each step, for quantiles
_MOST_WINDOWS = 50_000  # to solve a linear skip on: it is done in every process that trains


class LinearForecaster(nn.Module):
    """A window [batch, window] -> its next rows [batch, horizon]: a matrix and a constant, nothing to train.

    It reads no covariates. With quantiles of its residuals (`residuals` [columns, horizon, levels]) it gives quantiles,
    [batch, horizon, levels]; the batch has the columns of a window one after the other.
    """

    def __init__(self, window: int, horizon: int, out: Head = POINT, columns: int = 1) -> None:
        super().__init__()
        self.weight: Tensor
        self.bias: Tensor
        self.out = out
        if isinstance(out, QuantileHead):
            self.residuals: Tensor
            self.register_buffer("residuals", torch.zeros(columns, horizon, out.outputs))
        self.register_buffer("weight", torch.zeros(horizon, window))
        self.register_buffer("bias", torch.zeros(horizon))

    def forward(self, x: Tensor, *covariates: Tensor) -> Tensor:
        """x [batch, window] -> [batch, horizon], both on the same scale. Of a longer x the newest rows are read."""
        point = nn.functional.linear(x[:, -self.weight.shape[1] :], self.weight, self.bias)
        if not isinstance(self.out, QuantileHead):
            return point
        by_column = point.reshape(-1, *self.residuals.shape[:2], 1) + self.residuals
        return by_column.flatten(0, 1) if self.out.outputs > 1 else by_column.flatten(0, 1)[..., 0]


@dataclass(frozen=True)
class LinearMap:
    """forecast = weight @ window + bias: weight [horizon, window], bias [horizon], float64.

    residuals: [columns, horizon, levels], the quantiles of what came less the forecast; None: they are not known.
    """

    weight: Floats
    bias: Floats
    residuals: Floats | None = None

    @property
    def window(self) -> int:
        return len(self.weight[0])

    def module(self, out: Head = POINT) -> LinearForecaster:
        """As a network, in float32. out: what it gives; quantiles need residuals."""
        network = LinearForecaster(
            self.window, len(self.bias), out, 1 if self.residuals is None else len(self.residuals)
        )
        if self.residuals is not None:
            network.residuals.copy_(torch.from_numpy(self.residuals))
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
    """The weighted sum of maps, of the longest window; so of the quantiles of their residuals."""
    window = max(part.window for part in maps)
    weight, bias = np.zeros((len(maps[0].bias), window)), np.zeros(len(maps[0].bias))
    for part, share in zip(maps, shares, strict=True):
        weight[:, window - part.window :] += share * part.weight
        bias += share * part.bias
    known = [share * part.residuals for part, share in zip(maps, shares, strict=True) if part.residuals is not None]
    return LinearMap(weight, bias, np.sum(known, axis=0) if known else None)


def with_residuals(solution: LinearMap, data: ForecastData, levels: Sequence[float]) -> LinearMap:
    """With the quantiles of its residuals in windows of the training rows, evenly spread."""
    window, length = solution.window, solution.window + data.horizon
    begin, stop = data.cuts[:, 0], data.cuts[:, 1] - length + 1
    count = int(np.maximum(0, stop - begin).sum())
    if not count:
        return replace(solution, residuals=np.zeros((len(data.columns), data.horizon, len(levels))))
    every = -(-count * len(data.columns) // _MOST_RESIDUALS)
    first = np.concatenate([np.arange(*pair, every) for pair in zip(begin.tolist(), stop.tolist(), strict=True)])
    rows = first[:, None] + np.arange(length)  # [windows, length]
    values = data.values[rows].astype(np.float64).swapaxes(1, 2)  # [windows, columns, length]
    residuals = values[..., window:] - values[..., :window] @ solution.weight.T - solution.bias
    if data.missing is not None:
        residuals[data.missing[rows[:, window:]].swapaxes(1, 2)] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of steps without any value
        quantile = np.nanquantile if data.missing is not None else np.quantile
        table = np.nan_to_num(quantile(residuals, levels, axis=0))  # [levels, columns, horizon]
    return replace(solution, residuals=np.moveaxis(table, 0, -1))
