"""The linear part of a forecaster, solved before the network is trained: a ridge regression from window to forecast."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from optlstm.tasks.forecast.data import ForecastData

_PENALTIES = (0.01, 0.1, 1.0, 10.0)  # as shares of the inputs' mean square
_HELD_OUT = 5  # the newest one in so many of each series' windows chooses the penalty
_MOST_WINDOWS = 50_000  # to solve it on; of more, every second, third, ...
_CHUNK = 4096  # windows at a time


@torch.no_grad()
def solved_skip(data: ForecastData, window: int) -> Tensor:
    """The weights [horizon, window] of least squared error on the training rows, with a ridge penalty; float32.

    Inputs and targets are relative to the window's last value, as in NLinear (Zeng et al. 2022), and no window's level
    changes them: each row of weights sums to 1. The penalty is the best of a few on the newest windows, which are left
    out for it. Torch computes it, on as many threads as the training: the last bits depend on their number.
    """
    begin, end = data.cuts[:, 0], data.cuts[:, 1]
    counts = np.maximum(0, end - begin - window - data.horizon + 1)
    split = begin + counts - counts // _HELD_OUT
    every = max(1, -(-int(counts.sum()) // _MOST_WINDOWS))
    values = torch.from_numpy(np.asarray(data.values)).double()  # [rows, columns]
    older = _Products.of(values, zip(begin, split, strict=True), window, data.horizon, every)
    newest = _Products.of(values, zip(split, begin + counts, strict=True), window, data.horizon, every)
    best = min(_PENALTIES, key=lambda penalty: newest.squared_error(older.solve(penalty)))
    weights = torch.zeros(window, data.horizon, dtype=torch.float64)
    weights[:-1] = (older + newest).solve(best)
    weights[-1] = 1.0 - weights.sum(dim=0)
    return weights.T.float().contiguous()


@dataclass(frozen=True)
class _Products:
    """The normal equations: inner [window - 1, window - 1] and outer [window - 1, horizon] products, float64."""

    inner: Tensor
    outer: Tensor

    @classmethod
    def of(cls, values: Tensor, parts: Iterable[tuple[int, int]], window: int, horizon: int, every: int) -> _Products:
        """Summed over windows.

        Args:
            values: [rows, columns].
            parts: of each series, the rows at which windows begin, the last one excluded.
            every: rows from window to window.
        """
        inner = torch.zeros(window - 1, window - 1, dtype=torch.float64)
        outer = torch.zeros(window - 1, horizon, dtype=torch.float64)
        chunk = max(1, _CHUNK // values.shape[1]) * every
        for first, stop in parts:
            for start in range(int(first), int(stop), chunk):
                rows = values[start : min(start + chunk, int(stop)) + window + horizon - 1]
                cut = rows.unfold(0, window + horizon, every).reshape(-1, window + horizon)
                cut = cut - cut[:, window - 1 : window]
                inputs, targets = cut[:, : window - 1], cut[:, window:]
                inner.addmm_(inputs.T, inputs)
                outer.addmm_(inputs.T, targets)
        return cls(inner, outer)

    def __add__(self, other: _Products) -> _Products:
        return _Products(self.inner + other.inner, self.outer + other.outer)

    def solve(self, penalty: float) -> Tensor:
        """The weights [window - 1, horizon]; 0 where there is nothing to learn from."""
        inputs = len(self.inner)
        ridge = penalty * float(self.inner.diagonal().mean()) if inputs else 0.0
        identity = torch.eye(inputs, dtype=torch.float64)
        solution: Tensor = torch.linalg.solve(self.inner + (ridge + 1e-9) * identity, self.outer)  # inputs may be all 0
        return solution

    def squared_error(self, weights: Tensor) -> float:
        """Of a forecast by these weights, less that of repeating the last value."""
        return float(((self.inner @ weights - 2 * self.outer) * weights).sum())
