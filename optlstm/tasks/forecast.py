"""Forecasting: every column a sequence of its own, a direct multi-step forecast, MSE on the standardised scale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from optlstm.data.windows import windows
from optlstm.errors import InputError, TrialFailed
from optlstm.tasks.forecast_data import ForecastData
from optlstm.tasks.pictures import Example, Forecasts
from optlstm.training.folds import FoldedProblem
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import Problem
from optlstm.training.model import ForecasterConfig, LSTMForecaster

_EVALUATION_BATCH = 1024  # sequences; the result does not hang on a trial's batch_size
LEAST_BEFORE = 16  # input steps shown before a forecast, where the window has them


def make_problem(data: ForecastData, device: torch.device) -> Problem:
    """One problem, or those of a rolling-origin validation as one."""
    if not data.folds:
        return ForecastProblem(data, device)
    problems = [ForecastProblem(replace(data, splits=fold, folds=()), device) for fold in data.folds]
    return FoldedForecast(problems)


class FoldedForecast(FoldedProblem["ForecastProblem"]):
    """A rolling-origin validation as one problem."""

    def pictures(self, network: nn.Module, hp: Hyperparameters) -> Forecasts:
        """Of the newest fold."""
        return self.problems[-1].pictures(self.member(network, len(self.problems) - 1), hp)


class ForecastProblem:
    """The forecasting task as `optlstm.training.loop.fit` wants it."""

    def __init__(self, data: ForecastData, device: torch.device) -> None:
        """Copies the values to `device`."""
        self.data = data
        self._device = device
        self._values = torch.tensor(np.asarray(data.values), device=device)  # [rows, columns]

    @property
    def device(self) -> torch.device:
        """Where network and batches live."""
        return self._device

    def network(self, hp: Hyperparameters) -> nn.Module:
        """A new forecaster [batch, window] -> [batch, horizon] on the CPU."""
        return LSTMForecaster(ForecasterConfig.of(hp, horizon=self.data.horizon))

    def steps_per_epoch(self, hp: Hyperparameters) -> int:
        """Batches in an epoch; the last one may be smaller."""
        return -(-len(self._train_windows(hp)) // hp.batch_size)

    def batches(self, hp: Hyperparameters, generator: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
        """Every training window once, shuffled: inputs [batch, columns, window], targets [batch, columns, horizon]."""
        view = self._train_windows(hp)  # [n, columns, window + horizon]
        order = torch.randperm(len(view), generator=generator).to(self._device)
        for index in torch.split(order, hp.batch_size):
            rows = view.index_select(0, index)  # four times as fast as view[index]
            yield rows[..., : hp.window], rows[..., hp.window :]

    def loss(self, network: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """Mean squared error on the standardised scale."""
        inputs, targets = batch
        return F.mse_loss(_forecast(network, inputs), targets)

    def validate(self, network: nn.Module, hp: Hyperparameters) -> dict[str, float]:
        """`mse` and `mae` on the standardised scale over all validation windows, steps and columns."""
        return self.score(network, hp, self.data.splits.validation)

    def score(self, network: nn.Module, hp: Hyperparameters, rows: range) -> dict[str, float]:
        """`mse` and `mae` on the standardised scale over all windows whose targets lie in `rows`; summed in float64."""
        view = self._windows(hp, rows, reach_back=True)
        squared, absolute, count = 0.0, 0.0, 0
        for part in self._parts(view):
            error = (_forecast(network, part[..., : hp.window]) - part[..., hp.window :]).double()
            squared += error.square().sum().item()
            absolute += error.abs().sum().item()
            count += error.numel()
        return {"mse": squared / count, "mae": absolute / count}

    def pictures(self, network: nn.Module, hp: Hyperparameters) -> Forecasts:
        """Its best, median and worst forecast on the validation windows, and the error by step ahead."""
        view = self._windows(hp, self.data.splits.validation, reach_back=True)
        squared, absolute = torch.zeros(2, self.data.horizon, dtype=torch.float64)
        errors = []
        for part in self._parts(view):
            error = (_forecast(network, part[..., : hp.window]) - part[..., hp.window :]).double()
            errors.append(error.square().mean(-1).cpu())  # [part, columns]
            squared, absolute = squared + error.square().sum((0, 1)).cpu(), absolute + error.abs().sum((0, 1)).cpu()
        mse = torch.cat(errors)  # [windows, columns]
        order = torch.argsort(mse.flatten(), stable=True).tolist()
        chosen = {"best": order[0], "median": order[(len(order) - 1) // 2], "worst": order[-1]}
        return Forecasts(
            examples=tuple(self._example(which, view, mse, at, network, hp) for which, at in chosen.items()),
            by_step={
                "mse": np.asarray(squared, dtype=np.float64) / len(order),
                "mae": np.asarray(absolute, dtype=np.float64) / len(order),
            },
            windows=len(order),
        )

    def _example(
        self, which: str, view: Tensor, mse: Tensor, at: int, network: nn.Module, hp: Hyperparameters
    ) -> Example:
        window, column = divmod(at, mse.shape[1])
        rows = view[window : window + 1]  # [1, columns, window + horizon]
        shown = min(hp.window, max(2 * self.data.horizon, LEAST_BEFORE))
        mean, std = self.data.scaler.mean[column], self.data.scaler.std[column]
        known = rows[0, column].cpu().double().numpy() * std + mean
        forecast = _forecast(network, rows[..., : hp.window])[0, column].cpu().double().numpy() * std + mean
        return Example(
            which=which,
            column=self.data.columns[column],
            first=self.data.splits.validation.start + window,
            before=known[hp.window - shown : hp.window],
            truth=known[hp.window :],
            forecast=forecast,
            mse=float(mse[window, column]),
        )

    def _parts(self, view: Tensor) -> tuple[Tensor, ...]:
        return torch.split(view, max(1, _EVALUATION_BATCH // view.shape[1]))

    def _train_windows(self, hp: Hyperparameters) -> Tensor:
        return self._windows(hp, self.data.splits.train, reach_back=False)

    def _windows(self, hp: Hyperparameters, rows: range, *, reach_back: bool) -> Tensor:
        try:
            return windows(self._values, rows, hp.window, self.data.horizon, reach_back=reach_back)
        except InputError as error:
            raise TrialFailed(str(error)) from error


def _forecast(network: nn.Module, inputs: Tensor) -> Tensor:
    """[batch, columns, window] -> [batch, columns, horizon]: each column is a sequence of its own."""
    batch, columns, window = inputs.shape
    out: Tensor = network(inputs.reshape(batch * columns, window))  # [batch * columns, horizon]
    return out.reshape(batch, columns, -1)
