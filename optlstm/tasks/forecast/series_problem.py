"""Forecasting: every column a sequence of its own, a direct multi-step forecast, MSE on the standardised scale."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from optlstm.data.windows import windows
from optlstm.errors import InputError, TrialFailed
from optlstm.tasks.forecast.series_data import ForecastData
from optlstm.tasks.plot_data import Example, Forecasts
from optlstm.training.factory import Factory
from optlstm.training.folds import FoldedProblem
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import Problem
from optlstm.training.model import ForecasterConfig, LSTMForecaster

# Windows. The result does not hang on a trial's batch_size. On a CPU as fast as more of them, and 100 MB less.
_EVALUATION_BATCH = {"cpu": 256, "cuda": 4096}
LEAST_BEFORE = 16  # input steps shown before a forecast, where the window has them


def make_problem(data: ForecastData, device: torch.device, factory: Factory | None = None) -> Problem:
    """One problem, or those of a rolling-origin validation as one."""
    if not data.folds:
        return ForecastProblem(data, device, factory)
    problems = [ForecastProblem(replace(data, splits=fold, folds=()), device, factory) for fold in data.folds]
    return FoldedForecast(problems)


class Windows(Protocol):
    """Stretches of `window` input rows and the `horizon` target rows after them.

    A batch is inputs [batch, columns, window], targets [batch, columns, horizon] and what else the network is given.
    """

    def __len__(self) -> int: ...

    def take(self, index: Tensor) -> tuple[Tensor, ...]:
        """Those of these numbers [batch]."""
        ...

    def parts(self, sequences: int) -> Iterator[tuple[Tensor, ...]]:
        """All of them in their order, about so many sequences at a time."""
        ...


@dataclass(frozen=True)
class SeriesWindows:
    """Those of one table. view: [n, columns, window + horizon]."""

    view: Tensor
    window: int

    def __len__(self) -> int:
        return len(self.view)

    def take(self, index: Tensor) -> tuple[Tensor, ...]:
        rows = self.view.index_select(0, index)  # four times as fast as view[index]
        return rows[..., : self.window], rows[..., self.window :]

    def parts(self, sequences: int) -> Iterator[tuple[Tensor, ...]]:
        for part in torch.split(self.view, max(1, sequences // self.view.shape[1])):
            yield part[..., : self.window], part[..., self.window :]


@dataclass(frozen=True)
class Place:
    """Where a window's forecast stands, and on which scale."""

    name: str
    row: int  # of its first step
    mean: float
    std: float


class FoldedForecast(FoldedProblem["ForecastProblem"]):
    """A rolling-origin validation as one problem."""

    def plot_data(self, network: nn.Module, hp: Hyperparameters) -> Forecasts:
        """Of the newest fold."""
        return self.problems[-1].plot_data(self.member(network, len(self.problems) - 1), hp)


class ForecastProblem:
    """The forecasting task as `optlstm.training.loop.fit` wants it."""

    def __init__(self, data: ForecastData, device: torch.device, factory: Factory | None = None) -> None:
        """Copies the values to `device`. factory: makes the networks; None: they are ours."""
        self.data, self._factory = data, factory
        self._device = device
        self._most = sys.maxsize  # windows in an epoch
        self._values = torch.tensor(np.asarray(data.values), device=device)  # [rows, columns]

    @property
    def device(self) -> torch.device:
        """Where network and batches live."""
        return self._device

    def network(self, hp: Hyperparameters) -> nn.Module:
        """A new forecaster [batch, window] -> [batch, horizon] on the CPU."""
        if self._factory is not None:
            return self._factory.make(hp, self.data.shape(hp))
        return LSTMForecaster(ForecasterConfig.of(hp, horizon=self.data.horizon))

    def steps_per_epoch(self, hp: Hyperparameters) -> int:
        """Batches in an epoch; the last one may be smaller."""
        return -(-min(len(self._train_windows(hp)), self._most) // hp.batch_size)

    def batches(self, hp: Hyperparameters, generator: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
        """Every training window once, shuffled: inputs [batch, columns, window], targets [batch, columns, horizon]."""
        found = self._train_windows(hp)
        for index in torch.split(self._order(len(found), generator), hp.batch_size):
            yield found.take(index)

    def loss(self, network: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """Mean squared error on the standardised scale."""
        inputs, targets, *more = batch
        return F.mse_loss(forecast(network, inputs, *more), targets)

    def validate(self, network: nn.Module, hp: Hyperparameters) -> dict[str, float]:
        """`mse` and `mae` on the standardised scale over all validation windows, steps and columns."""
        squared, absolute, count = 0.0, 0.0, 0
        for inputs, targets, *more in self._validation(hp).parts(_EVALUATION_BATCH[self._device.type]):
            error = (forecast(network, inputs, *more) - targets).double()
            squared += error.square().sum().item()
            absolute += error.abs().sum().item()
            count += error.numel()
        return {"mse": squared / count, "mae": absolute / count}

    def plot_data(self, network: nn.Module, hp: Hyperparameters) -> Forecasts:
        """Its best, median and worst forecast on the validation windows, and the error by step ahead."""
        found = self._validation(hp)
        squared, absolute = torch.zeros(2, self.data.horizon, dtype=torch.float64)
        errors = []
        for inputs, targets, *more in found.parts(_EVALUATION_BATCH[self._device.type]):
            error = (forecast(network, inputs, *more) - targets).double()
            errors.append(error.square().mean(-1).cpu())  # [part, columns]
            squared, absolute = squared + error.square().sum((0, 1)).cpu(), absolute + error.abs().sum((0, 1)).cpu()
        mse = torch.cat(errors)  # [windows, columns]
        order = torch.argsort(mse.flatten(), stable=True).tolist()
        chosen = {"best": order[0], "median": order[(len(order) - 1) // 2], "worst": order[-1]}
        return Forecasts(
            examples=tuple(self._example(which, found, mse, at, network, hp) for which, at in chosen.items()),
            by_step={
                "mse": np.asarray(squared, dtype=np.float64) / len(order),
                "mae": np.asarray(absolute, dtype=np.float64) / len(order),
            },
            windows=len(order),
        )

    def _example(
        self, which: str, found: Windows, mse: Tensor, at: int, network: nn.Module, hp: Hyperparameters
    ) -> Example:
        window, column = divmod(at, mse.shape[1])
        inputs, targets, *more = found.take(torch.tensor([window], device=self._device))
        shown = min(hp.window, max(2 * self.data.horizon, LEAST_BEFORE))
        place = self._place(found, window, column)
        known = torch.cat([inputs, targets], dim=2)[0, column].cpu().double().numpy() * place.std + place.mean
        said = forecast(network, inputs, *more)[0, column].cpu().double().numpy() * place.std + place.mean
        return Example(
            which=which,
            column=place.name,
            first=place.row,
            before=known[hp.window - shown : hp.window],
            truth=known[hp.window :],
            forecast=said,
            mse=float(mse[window, column]),
        )

    def _place(self, found: Windows, window: int, column: int) -> Place:
        scaler, first = self.data.scaler, self.data.splits.validation.start
        return Place(self.data.columns[column], first + window, float(scaler.mean[column]), float(scaler.std[column]))

    def _order(self, count: int, generator: torch.Generator) -> Tensor:
        """An epoch's windows, shuffled."""
        if count <= self._most:
            return torch.randperm(count, generator=generator).to(self._device)
        return torch.randint(count, (self._most,), generator=generator).to(self._device)

    def _train_windows(self, hp: Hyperparameters) -> Windows:
        return self._windows(hp, self.data.splits.train, reach_back=False)

    def _validation(self, hp: Hyperparameters) -> Windows:
        return self._windows(hp, self.data.splits.validation, reach_back=True)

    def _windows(self, hp: Hyperparameters, rows: range, *, reach_back: bool) -> Windows:
        try:
            view = windows(self._values, rows, hp.window, self.data.horizon, reach_back=reach_back)
        except InputError as error:
            raise TrialFailed(str(error)) from error
        return SeriesWindows(view, hp.window)


def forecast(network: nn.Module, inputs: Tensor, *more: Tensor) -> Tensor:
    """[batch, columns, window] -> [batch, columns, horizon]: each column is a sequence of its own.

    more: what the network is given beside it, [batch, ...] each, the same for all columns.
    """
    batch, columns, window = inputs.shape
    each = [part if columns == 1 else part.repeat_interleave(columns, dim=0) for part in more]
    out: Tensor = network(inputs.reshape(batch * columns, window), *each)  # [batch * columns, horizon]
    return out.reshape(batch, columns, -1)
