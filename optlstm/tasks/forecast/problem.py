"""Forecasting: one network for all series, windows of any series in a batch, errors on the standardised scale.

Each target column of each series is a sequence by itself; a forecast is direct, all steps of the horizon at once.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from optlstm.errors import TrialFailed
from optlstm.tasks.forecast.data import ForecastData
from optlstm.tasks.forecast.errors import ErrorSums
from optlstm.tasks.forecast.losses import LOSSES, mase_factors
from optlstm.tasks.plot_data import Example, Forecasts
from optlstm.training.covariates import CovariateForecaster
from optlstm.training.factory import Factory, InputSizes
from optlstm.training.folds import FoldedProblem
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import Problem
from optlstm.training.metric import DEFAULT_GOAL, Goal
from optlstm.training.model import LSTMForecaster
from optlstm.util.arrays import Floats, Integers

# Windows. The result does not depend on a trial's batch_size. On a CPU as fast as more of them, and 100 MB less.
_EVALUATION_BATCH = {"cpu": 256, "cuda": 4096}
_LEAST_SHOWN = 16  # input steps before a forecast in its plot, where the window has them


def make_problem(
    data: ForecastData, device: torch.device, factory: Factory | None = None, goal: Goal = DEFAULT_GOAL
) -> Problem:
    """One problem, or those of a rolling-origin validation as one."""
    problems = fold_problems(data, device, factory, goal)
    return FoldedForecast(problems) if data.folds else problems[0]


def fold_problems(
    data: ForecastData, device: torch.device, factory: Factory | None = None, goal: Goal = DEFAULT_GOAL
) -> list[ForecastProblem]:
    """The problem of each fold; without folds, of the one split."""
    return [ForecastProblem(replace(data, cuts=c, folds=()), device, factory, goal) for c in data.folds or (data.cuts,)]


def make_network(hp: Hyperparameters, horizon: int, sizes: InputSizes) -> nn.Module:
    """A new forecaster on the CPU: of a window [batch, window], beside covariates where there are any."""
    if not sizes:
        return LSTMForecaster(hp, horizon)
    return CovariateForecaster(hp, horizon, sizes)


class Rows:
    """The series' numbers on a device; windows are views of them, and only a batch is a copy."""

    def __init__(self, data: ForecastData, device: torch.device) -> None:
        self.values = tensor(data.values, device)  # [rows, targets]
        self.covariates = tensor(data.covariates, device)  # [rows, columns]
        self.static = tensor(data.static, device)  # [series, columns]
        self.starts = torch.from_numpy(data.starts).to(device)  # [series]
        self.bare = not data.sizes

    def take(
        self, first: Tensor, series: Tensor, window: int, horizon: int, padded: bool = False
    ) -> tuple[Tensor, ...]:
        """Windows that begin at the rows `first` [n]: inputs, targets, and any covariates (by row, by series).

        padded: some begin before their series does; its first row stands for those that are missing.
        """
        length = window + horizon
        rows = first
        if padded:
            rows = torch.maximum(first[:, None] + torch.arange(length, device=first.device), self.starts[series, None])
        values = _cut(self.values, rows, length)  # [n, targets, window + horizon]
        if self.bare:
            return values[..., :window], values[..., window:]
        covariates = _cut(self.covariates, rows, length)
        return values[..., :window], values[..., window:], covariates, self.static.index_select(0, series)


@dataclass(frozen=True)
class Windows:
    """Windows of all series, numbered through; none reaches from one series into the next.

    Args:
        first: [n], the row at which each series' first window begins.
        ends: [n], how many windows there are up to each series' end.
        every: rows from window to window.
        padded: whether some begin before their series does.
    """

    rows: Rows
    first: Tensor
    ends: Tensor
    every: int
    window: int
    horizon: int
    padded: bool = False

    def __len__(self) -> int:
        return int(self.ends[-1])

    @cached_property
    def _view(self) -> Tensor | None:
        """[n, targets, window + horizon] of the one series without covariates, where it is one: 10 µs less a batch."""
        if len(self.ends) > 1 or not self.rows.bare:
            return None
        return self.rows.values[int(self.first) :].unfold(0, self.window + self.horizon, self.every)

    def where(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """(first rows, series) of windows [batch]."""
        if len(self.ends) == 1:  # a search would take longer than the batch
            return self.first + index * self.every, torch.zeros_like(index)
        series = torch.searchsorted(self.ends, index, right=True)
        before = torch.where(series > 0, self.ends[(series - 1).clamp(min=0)], 0)
        return self.first[series] + (index - before) * self.every, series

    def take(self, index: Tensor) -> tuple[Tensor, ...]:
        """A batch of windows by their numbers, [batch]: see `Rows.take`."""
        if self._view is not None:
            values = self._view.index_select(0, index)
            return values[..., : self.window], values[..., self.window :]
        return self.rows.take(*self.where(index), self.window, self.horizon, self.padded)

    def numbers(self, sequences: int) -> Iterator[Tensor]:
        """All of their numbers in order, those of about so many sequences at a time."""
        count, size = len(self), max(1, sequences // self.rows.values.shape[1])
        for start in range(0, count, size):
            yield torch.arange(start, min(start + size, count), device=self.first.device)

    def batches(self, sequences: int) -> Iterator[tuple[Tensor, ...]]:
        """All of them in order, about so many sequences at a time."""
        for index in self.numbers(sequences):
            yield self.take(index)


class FoldedForecast(FoldedProblem["ForecastProblem"]):
    """A rolling-origin validation as one problem."""

    def plot_data(self, network: nn.Module, hp: Hyperparameters) -> Forecasts:
        """Those of the newest fold."""
        newest = self.problems[-1].plot_data(self.member(network, len(self.problems) - 1), hp)
        return replace(newest, last_fold=True)


class ForecastProblem:
    """Forecasting as `optlstm.training.loop.Problem`. Metrics are means over all windows of all series."""

    def __init__(
        self, data: ForecastData, device: torch.device, factory: Factory | None = None, goal: Goal = DEFAULT_GOAL
    ) -> None:
        """Copies the values to `device`, where it is not the CPU. factory: of custom networks."""
        self.data, self.device, self._factory, self._metrics = data, device, factory, goal.metrics
        self._most = data.epoch_windows or sys.maxsize
        self._rows = Rows(data, device)
        loss = LOSSES[goal.loss or next(iter(LOSSES))]
        self._mean_loss: Callable[[Tensor, Tensor], Tensor] = getattr(functional, loss.function)
        self._factors = None  # [series, columns, 1] of a scaled loss
        if loss.scaled:
            self._factors = tensor(mase_factors(data.std, self._naive).astype(np.float32)[:, :, None], device)

    @property
    def _naive(self) -> Floats:
        """What `mase` divides by, [series, columns]; NaN where the data do not say."""
        return np.full_like(self.data.std, np.nan) if self.data.naive is None else self.data.naive

    def network(self, hp: Hyperparameters) -> nn.Module:
        """A new forecaster on the CPU."""
        if self._factory is not None:
            return self._factory.make(hp, self.data.shape(hp))
        return make_network(hp, self.data.horizon, self.data.sizes)

    def steps_per_epoch(self, hp: Hyperparameters) -> int:
        """Batches in an epoch; the last one of a pass through the windows may be smaller."""
        return self._passes(hp) * self._steps(hp)

    def _steps(self, hp: Hyperparameters) -> int:
        """Batches in a pass through the windows."""
        return -(-min(len(self.training_windows(hp)), self._most) // hp.batch_size)

    def _passes(self, hp: Hyperparameters) -> int:
        """How often an epoch passes through the windows: more than once where they are few."""
        if len(self.training_windows(hp)) > self._most:
            return 1
        return max(1, round(self.data.epoch_steps / self._steps(hp)))

    def batches(self, hp: Hyperparameters, generator: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
        """Every training window once in each pass, shuffled; or a draw, where they are too many. See `Rows.take`.

        A scaled loss has the factors [batch, columns, 1] behind them.
        """
        windows = self.training_windows(hp)
        count = len(windows)
        for _ in range(self._passes(hp)):
            if count <= self._most:
                order = torch.randperm(count, generator=generator)
            else:
                order = torch.randint(count, (self._most,), generator=generator)
            for index in torch.split(order.to(self.device), hp.batch_size):
                factors = () if self._factors is None else (self._factors[windows.where(index)[1]],)
                yield (*windows.take(index), *factors)

    def loss(self, network: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """The mean of the goal's loss: see `losses.LOSSES`."""
        if self._factors is None:
            inputs, targets, *more = batch
            return self._mean_loss(forecast(network, inputs, *more), targets)
        inputs, targets, *more, factors = batch
        return self._mean_loss(forecast(network, inputs, *more) * factors, targets * factors)

    def validate(self, network: nn.Module, hp: Hyperparameters) -> dict[str, float]:
        """`mse` and `mae` on the standardised scale over all validation windows, steps and columns.

        Of `rmse`, and of `smape` and `mase` in the data's units, those that decide.
        """
        squared, absolute, count = 0.0, 0.0, 0
        windows, in_units = self.validation_windows(hp), {"smape", "mase"} & {*self._metrics}
        sums = ErrorSums(self.data.std, self._naive, self.data.horizon) if in_units else None
        for index, targets, error in self._errors(network, windows):
            squared += error.square().sum().item()
            absolute += error.abs().sum().item()
            count += error.numel()
            if sums is not None:
                self._add(sums, windows.where(index)[1], targets, error)
        metrics = {"mse": squared / count, "mae": absolute / count}
        metrics |= {"rmse": math.sqrt(metrics["mse"])} if "rmse" in self._metrics else {}
        overall = sums.scores().overall if sums is not None else {}
        return metrics | {name: math.nan if (value := overall[name]) is None else value for name in sorted(in_units)}

    def _add(self, sums: ErrorSums, series: Tensor, targets: Tensor, error: Tensor) -> None:
        """A batch of errors, in the data's units."""
        at = series.cpu().numpy()
        mean, std = self.data.mean[at][:, :, None], self.data.std[at][:, :, None]
        actual = targets.cpu().double().numpy() * std + mean
        sums.add(at, actual, actual + error.cpu().numpy() * std)

    def plot_data(self, network: nn.Module, hp: Hyperparameters) -> Forecasts:
        """Its best, median and worst forecast on the validation windows, and the error by step ahead."""
        windows, errors = self.validation_windows(hp), []
        squared, absolute = torch.zeros(2, self.data.horizon, dtype=torch.float64)
        for _, _, error in self._errors(network, windows):
            errors.append(error.square().mean(-1).cpu())  # [part, columns]
            squared, absolute = squared + error.square().sum((0, 1)).cpu(), absolute + error.abs().sum((0, 1)).cpu()
        mse = torch.cat(errors)  # [windows, columns]
        order = torch.argsort(mse.flatten(), stable=True).tolist()
        chosen: dict[int, str] = {}  # of few forecasts the median one is the best one, too
        for which, at in (("best", order[0]), ("median", order[(len(order) - 1) // 2]), ("worst", order[-1])):
            chosen.setdefault(at, which)
        return Forecasts(
            examples=tuple(self._example(which, windows, mse, at, network) for at, which in chosen.items()),
            by_step={
                "mse": np.asarray(squared, dtype=np.float64) / len(order),
                "mae": np.asarray(absolute, dtype=np.float64) / len(order),
            },
            windows=len(order),
        )

    def _errors(self, network: nn.Module, windows: Windows) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Windows' numbers, targets, and forecasts less targets, float64 [batch, columns, horizon], in order."""
        for index in windows.numbers(_EVALUATION_BATCH[self.device.type]):
            inputs, targets, *more = windows.take(index)
            yield index, targets, (forecast(network, inputs, *more) - targets).double()

    def _example(self, which: str, windows: Windows, mse: Tensor, at: int, network: nn.Module) -> Example:
        data, (number, column) = self.data, divmod(at, mse.shape[1])
        index = torch.tensor([number], device=self.device)
        first, series = (int(part) for part in windows.where(index))
        inputs, targets, *more = windows.take(index)
        mean, std = float(data.mean[series, column]), float(data.std[series, column])
        known = torch.cat([inputs, targets], dim=2)[0, column].cpu().double().numpy() * std + mean
        shown = min(windows.window, max(2 * data.horizon, _LEAST_SHOWN))
        names = [*([data.ids[series]] if len(data.ids) > 1 else []), data.columns[column]]
        return Example(
            which=which,
            column=" ".join(names if len(data.columns) > 1 else names[:1]),
            first=first + windows.window,
            before=known[windows.window - shown : windows.window],
            truth=known[windows.window :],
            forecast=forecast(network, inputs, *more)[0, column].cpu().double().numpy() * std + mean,
            mse=float(mse[number, column]),
        )

    def training_windows(self, hp: Hyperparameters) -> Windows:
        """Every window whose rows are all training rows; raises TrialFailed where there is none.

        Of many series, a shorter one has windows that begin before it does, and half of its inputs or more.
        """
        begin, end = self.data.cuts[:, 0], self.data.cuts[:, 1]
        if len(begin) > 1:
            inputs = end - begin - self.data.horizon  # of the series' longest window
            begin = begin - np.where(inputs < hp.window, hp.window - np.maximum(1, inputs // 2), 0)
        return self._windows(hp, begin, end, 1)

    def validation_windows(self, hp: Hyperparameters) -> Windows:
        """Every window whose targets are validation rows, or every second, third, ... where they are too many."""
        data = self.data
        return self._windows(hp, data.cuts[:, 1] - hp.window, data.cuts[:, 2], data.validation_step)

    def _windows(self, hp: Hyperparameters, first: Integers, stop: Integers, every: int) -> Windows:
        """Windows that begin at `first` [n] or later and end at `stop` [n], in each series."""
        data, rows = self.data, stop - first
        last = rows - hp.window - data.horizon  # where the last window begins
        counts = np.where(last >= 0, last // every + 1, 0)
        training = int((data.cuts[:, 1] - data.cuts[:, 0]).max())
        if not counts.sum() or hp.window > training:
            needed = f"window {hp.window} + horizon {data.horizon} need {hp.window + data.horizon} rows"
            where = " in the longest series" if len(data.ids) > 1 else ""
            raise TrialFailed(f"{needed}, and there are {training}{where}")
        ends = torch.from_numpy(np.cumsum(counts)).to(self.device)
        begin = torch.from_numpy(np.asarray(first)).to(self.device)
        padded = bool((first < data.starts).any())
        return Windows(self._rows, begin, ends, every, hp.window, data.horizon, padded)


def _cut(values: Tensor, rows: Tensor, length: int) -> Tensor:
    """[rows, columns] -> [n, columns, length]. rows: the first one of each window [n], or all of them [n, length]."""
    if rows.dim() > 1:
        return values[rows].transpose(1, 2)
    # index_select is four times as fast as an index in brackets.
    return values.unfold(0, length, 1).index_select(0, rows)


def forecast(network: nn.Module, inputs: Tensor, *more: Tensor) -> Tensor:
    """[batch, columns, window] -> [batch, columns, horizon]: each column is a sequence by itself.

    more: the network's other inputs, [batch, ...], the same for all columns.
    """
    batch, columns, window = inputs.shape
    repeated = [part if columns == 1 else part.repeat_interleave(columns, dim=0) for part in more]
    out: Tensor = network(inputs.reshape(batch * columns, window), *repeated)  # [batch * columns, horizon]
    return out.reshape(batch, columns, -1)


def tensor(array: NDArray[np.float32], device: torch.device) -> Tensor:
    """The array's memory on the CPU, a copy elsewhere; nobody writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # Ray's are not
        return torch.from_numpy(np.asarray(array)).to(device)
