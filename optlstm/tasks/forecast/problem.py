"""Forecasting many series, or one with covariates: one network for all, windows of any series in a batch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optlstm.errors import TrialFailed
from optlstm.tasks.forecast.data import Integers, PanelData
from optlstm.tasks.forecast.series_problem import FoldedForecast, ForecastProblem, Place
from optlstm.training.covariates import CovariateForecaster
from optlstm.training.factory import Factory
from optlstm.training.hparams import Hyperparameters
from optlstm.training.inputs import InputSizes
from optlstm.training.loop import Problem
from optlstm.training.model import ForecasterConfig, LSTMForecaster


def make_problem(data: PanelData, device: torch.device, factory: Factory | None = None) -> Problem:
    """One problem, or those of a rolling-origin validation as one."""
    if not data.folds:
        return PanelProblem(data, device, factory)
    return FoldedForecast([PanelProblem(replace(data, cuts=cuts, folds=()), device, factory) for cuts in data.folds])


def make_network(hp: Hyperparameters, horizon: int, sizes: InputSizes) -> nn.Module:
    """A new forecaster on the CPU; without covariates it is the one of a single series."""
    if not sizes:
        return LSTMForecaster(ForecasterConfig.of(hp, horizon=horizon))
    return CovariateForecaster(hp, horizon, sizes)


class Rows:
    """A panel's numbers on a device, and every stretch of them as a view: nothing is copied until a batch is taken."""

    def __init__(self, data: PanelData, device: torch.device) -> None:
        self.values = tensor(data.values, device)  # [rows, targets]
        self.covariates = tensor(data.covariates, device)  # [rows, columns]
        self.static = tensor(data.static, device)  # [series, columns]
        self.bare = not data.sizes

    def take(self, first: Tensor, series: Tensor, window: int, horizon: int) -> tuple[Tensor, ...]:
        """Stretches that begin at the rows `first` [n]: inputs, targets, and (with covariates) those and the static."""
        stretch = self.values.unfold(0, window + horizon, 1).index_select(0, first)  # [n, targets, window + horizon]
        both = stretch[..., :window], stretch[..., window:]
        if self.bare:
            return both
        along = self.covariates.unfold(0, window + horizon, 1).index_select(0, first)
        return (*both, along, self.static.index_select(0, series))


@dataclass(frozen=True)
class PanelWindows:
    """Windows of all series, numbered through; none reaches from one series into the next.

    first: [n], the row at which each series' first window begins; behind: [n], how many windows there are up to the
    series' end; from window to window there are `every` rows.
    """

    rows: Rows
    first: Tensor
    behind: Tensor
    every: int
    window: int
    horizon: int

    def __len__(self) -> int:
        return int(self.behind[-1])

    def where(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """(first rows, series) of windows [batch]."""
        series = torch.searchsorted(self.behind, index, right=True)
        before = torch.where(series > 0, self.behind[(series - 1).clamp(min=0)], 0)
        return self.first[series] + (index - before) * self.every, series

    def take(self, index: Tensor) -> tuple[Tensor, ...]:
        return self.rows.take(*self.where(index), self.window, self.horizon)

    def parts(self, sequences: int) -> Iterator[tuple[Tensor, ...]]:
        size = max(1, sequences // self.rows.values.shape[1])
        for start in range(0, len(self), size):
            yield self.take(torch.arange(start, min(start + size, len(self)), device=self.first.device))


class PanelProblem(ForecastProblem):
    """Many series as `optlstm.training.loop.fit` wants them. Metrics are means over all windows of all series."""

    data: Any

    def __init__(self, data: PanelData, device: torch.device, factory: Factory | None = None) -> None:
        """Copies the values to `device`, where it is not the CPU. factory: makes the networks; None: they are ours."""
        self.data, self._factory = data, factory
        self._device = device
        self._most = data.epoch_windows
        self._rows = Rows(data, device)

    def network(self, hp: Hyperparameters) -> nn.Module:
        if self._factory is not None:
            return self._factory.make(hp, self.data.shape(hp))
        return make_network(hp, self.data.horizon, self.data.sizes)

    def _train_windows(self, hp: Hyperparameters) -> PanelWindows:
        return self._between(hp, self.data.cuts[:, 0], self.data.cuts[:, 1], 1)

    def _validation(self, hp: Hyperparameters) -> PanelWindows:
        """Every window, or every second, third, ... where they are more than an epoch's."""
        data = self.data
        stop, horizon = data.cuts[:, 2], data.horizon
        whole = int(np.maximum(0, stop - data.cuts[:, 1] - horizon + 1).sum())
        return self._between(hp, data.cuts[:, 1] - hp.window, stop, -(-whole // data.epoch_windows))

    def _between(self, hp: Hyperparameters, first: Integers, stop: Integers, every: int) -> PanelWindows:
        data = self.data
        room = stop - first - hp.window - data.horizon
        counts = np.where(room >= 0, room // max(1, every) + 1, 0)
        if not counts.sum() or (hp.window > data.cuts[:, 1] - data.cuts[:, 0]).any():
            raise TrialFailed(f"window {hp.window} + horizon {data.horizon} are more rows than a series has")
        behind = torch.from_numpy(np.cumsum(counts)).to(self._device)
        begin = torch.from_numpy(np.asarray(first)).to(self._device)
        return PanelWindows(self._rows, begin, behind, max(1, every), hp.window, data.horizon)

    def _place(self, found: Any, window: int, column: int) -> Place:
        data = self.data
        first, series = (int(part) for part in found.where(torch.tensor([window], device=self._device)))
        name = data.columns[column]
        if len(data.ids) > 1:
            name = f"{data.ids[series]} {name}" if len(data.columns) > 1 else data.ids[series]
        return Place(name, first + found.window, float(data.mean[series, column]), float(data.std[series, column]))


def tensor(array: NDArray[np.float32], device: torch.device) -> Tensor:
    """The array's own memory on the CPU, a copy elsewhere; nobody writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # Ray's are not
        return torch.from_numpy(np.asarray(array)).to(device)
