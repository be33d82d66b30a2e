"""Forecasting: one network for all series, windows of any series in a batch, errors on the standardised scale.

Each target column of each series is a sequence by itself; a forecast is direct, all steps of the horizon at once.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from optlstm.errors import TrialFailed
from optlstm.tasks.forecast.data import ForecastData, covariate_shape
from optlstm.tasks.forecast.errors import ErrorSums
from optlstm.tasks.forecast.linear import solved_map
from optlstm.tasks.forecast.losses import LOSSES, PROBABILISTIC, HeadSpec, mase_factors
from optlstm.tasks.forecast.plots import ValidationPlots
from optlstm.tasks.forecast.probability import MSIS_LEVEL, QuantileSums, ends
from optlstm.tasks.forecast.stretches import Stretches
from optlstm.tasks.forecast.windows import Rows, Windows, tensor
from optlstm.tasks.plot_data import Forecasts
from optlstm.training.covariates import CovariateForecaster
from optlstm.training.factory import Factory, InputSizes
from optlstm.training.folds import FoldedProblem
from optlstm.training.heads import POINT, Head, Scale
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import Problem
from optlstm.training.metric import DEFAULT_GOAL, Goal
from optlstm.training.model import LSTMForecaster
from optlstm.util.arrays import Floats, Integers

# Windows. The result does not depend on a trial's batch_size. On a CPU as fast as more of them, and 100 MB less.
_EVALUATION_BATCH = {"cpu": 256, "cuda": 4096}
_AS_WINDOWS = 4  # windows of a batch, or of an epoch, that a stretch stands for: its own are alike


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


def make_network(
    hp: Hyperparameters, horizon: int, sizes: InputSizes, head: Head = POINT
) -> LSTMForecaster | CovariateForecaster:
    """A new forecaster on the CPU: of a window [batch, window], beside covariates where there are any."""
    if not sizes:
        return LSTMForecaster(hp, horizon, head)
    return CovariateForecaster(hp, horizon, sizes, head)


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
        self._solved: dict[int, dict[str, Tensor]] = {}  # by window
        self.spec = HeadSpec.of(goal, data.levels, data.positive)
        self.head = self.spec.head()
        self._factors = None  # [series, columns, 1] of a scaled loss
        if LOSSES[self.spec.loss].scaled:
            self._factors = tensor(mase_factors(data.std, self._naive).astype(np.float32)[:, :, None], device)
        self._scales = None  # [series, columns, 2], mean and standard deviation
        if self.head.needs_scale:
            self._scales = tensor(np.stack([data.mean, data.std], axis=-1).astype(np.float32), device)

    @property
    def _naive(self) -> Floats:
        """What `mase` divides by, [series, columns]; NaN where the data do not say."""
        return np.full_like(self.data.std, np.nan) if self.data.naive is None else self.data.naive

    def network(self, hp: Hyperparameters) -> nn.Module:
        """A new forecaster on the CPU."""
        if self._factory is not None:
            return self._factory.make(hp, covariate_shape(hp, self.data.horizon, self.data.sizes, self.head.outputs))
        network = make_network(hp, self.data.horizon, self.data.sizes, self.head)
        if hp.linear_skip == "solved" and not network.head.weight.is_meta:  # meta: only its size is asked for
            if hp.window not in self._solved:  # trials share it
                self._solved[hp.window] = solved_map(self.data, hp.window).module().state_dict()
            solved = self._solved[hp.window]
            bias = self.head.bias(solved["bias"])
            network.load_state_dict({"skip.weight": solved["weight"], "head.bias": bias}, strict=False)
        return network

    def steps_per_epoch(self, hp: Hyperparameters) -> int:
        """Batches in an epoch; the last one of a pass through the windows may be smaller."""
        return self._passes(hp) * self._steps(hp)

    def _steps(self, hp: Hyperparameters) -> int:
        """Batches in a pass through the windows."""
        samples, most, size = self._samples(hp)
        return -(-min(len(samples), most) // size)

    def _passes(self, hp: Hyperparameters) -> int:
        """How often an epoch passes through the windows: more than once where they are few."""
        samples, most, _ = self._samples(hp)
        return 1 if len(samples) > most else max(1, round(self.data.epoch_steps / self._steps(hp)))

    def _samples(self, hp: Hyperparameters) -> tuple[Windows | Stretches, int, int]:
        """What training draws from, the most of them in an epoch, and how many are a batch."""
        windows = self.training_windows(hp)
        if hp.supervision == "last_step":
            return windows, self._most, hp.batch_size
        return Stretches.of(windows, hp.patch), -(-self._most // _AS_WINDOWS), max(1, hp.batch_size // _AS_WINDOWS)

    def batches(self, hp: Hyperparameters, generator: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
        """Every training window once in each pass, shuffled; or a draw, where they are too many. See `Rows.take`.

        A scaled loss has the factors [batch, columns, 1] behind them, one of counts the scale [batch, columns, 2].
        """
        samples, most, size = self._samples(hp)
        for _ in range(self._passes(hp)):
            order = samples.shuffled(most, generator)
            for index in torch.split(order.to(self.device), size):
                yield self.batch(samples, index)

    def batch(self, samples: Windows | Stretches, index: Tensor) -> tuple[Tensor, ...]:
        """The training samples of these numbers."""
        of_series = self._scales if self.head.counts else self._factors
        more = () if of_series is None else (of_series[samples.where(index)[1]],)
        return (*samples.take(index), *more)

    def loss(self, network: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """The mean of the goal's loss over the targets that are given: see `losses.LOSSES`."""
        inputs, targets, *more = batch
        factors = None if self._factors is None else more.pop()
        scale = _scale(more.pop()) if self.head.counts else None
        every_step = targets.dim() > 3  # [batch, columns, steps, horizon]
        out = forecast(network, inputs, *more, outputs=self.head.outputs, every_step=every_step)
        if factors is not None:
            factors = factors[..., None] if every_step else factors
            out, targets = out * factors, targets * factors
        return self.head.loss(out, targets, scale, missing=self._rows.missing is not None or every_step)

    def validate(self, network: nn.Module, hp: Hyperparameters) -> dict[str, float]:
        """`mse` and `mae` on the standardised scale over all validation windows, steps and columns.

        Of `rmse`, and of `smape` and `mase` in the data's units, those that decide; so of `PROBABILISTIC`, where the
        loss is of points.
        """
        squared, absolute, count = 0.0, 0.0, 0.0
        windows, in_units = self.validation_windows(hp), {"smape", "mase"} & {*self._metrics}
        sums = ErrorSums(self.data.std, self._naive, self.data.horizon) if in_units else None
        quantiles = self._quantile_sums()
        for index, targets, out in self._outputs(network, windows):
            series = windows.where(index)[1]
            scale = self.scale_of(series)
            error = (self.head.point(out, scale) - targets).double()
            if quantiles is not None:
                values = self.head.quantiles(out, quantiles.levels, scale).double()
                quantiles.add(series.cpu().numpy(), *self._in_units(series, targets, values))
            given = error if self._rows.missing is None else error[~error.isnan()]
            squared += given.square().sum().item()
            absolute += given.abs().sum().item()
            count += given.numel()
            if sums is not None:
                self._add(sums, series, targets, error)
        count = count or math.nan
        metrics = {"mse": squared / count, "mae": absolute / count}
        metrics |= {"rmse": math.sqrt(metrics["mse"])} if "rmse" in self._metrics else {}
        overall = sums.scores().overall if sums is not None else {}
        more = {name: overall[name] for name in sorted(in_units)}
        if quantiles is not None:
            scores = quantiles.scores().overall
            more |= {name: scores[name] for name in PROBABILISTIC if name in scores}
        return metrics | {name: math.nan if value is None else value for name, value in more.items()}

    def _quantile_sums(self) -> QuantileSums | None:
        """None where the loss is of points, and no metric of quantiles decides."""
        if not (self.spec.probabilistic or {*self._metrics} & {*PROBABILISTIC}):
            return None
        data = self.data
        levels = {*data.levels, *(ends(MSIS_LEVEL) if "msis" in self._metrics else ())}
        return QuantileSums(sorted(levels), data.std, self._naive, data.horizon, data.levels)

    def scale_of(self, series: Tensor) -> Scale | None:
        """That of windows of these series [batch], where the head needs it."""
        return None if self._scales is None else _scale(self._scales[series])

    def _add(self, sums: ErrorSums, series: Tensor, targets: Tensor, error: Tensor) -> None:
        """A batch of errors, in the data's units."""
        at = series.cpu().numpy()
        (actual,) = self._in_units(series, targets)
        sums.add(at, actual, actual + error.cpu().numpy() * self.data.std[at][:, :, None])

    def _in_units(self, series: Tensor, *parts: Tensor) -> list[Floats]:
        """Numbers of windows of these series, [batch, columns, ...] each, in the data's units."""
        at = series.cpu().numpy()
        arrays = [part.cpu().double().numpy() for part in parts]
        more = [(..., *(None,) * (array.ndim - 2)) for array in arrays]
        pairs = zip(arrays, more, strict=True)
        return [array * self.data.std[at][new] + self.data.mean[at][new] for array, new in pairs]

    def plot_data(self, network: nn.Module, hp: Hyperparameters) -> Forecasts:
        """Its best, median and worst forecast on the validation windows, and the error by step ahead."""
        windows = self.validation_windows(hp)

        def forecasts(index: Tensor) -> tuple[Tensor, ...]:
            inputs, targets, *more = windows.take(index)
            return inputs, targets, forecast(network, inputs, *more, outputs=self.head.outputs)

        plots = ValidationPlots(self.data, self.head, self.spec.probabilistic, windows, forecasts, self.scale_of)
        return plots.drawn(_EVALUATION_BATCH[self.device.type])

    def _outputs(self, network: nn.Module, windows: Windows) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Windows' numbers, targets [batch, columns, horizon], and what the network gives, in order."""
        for index in windows.numbers(_EVALUATION_BATCH[self.device.type]):
            inputs, targets, *more = windows.take(index)
            yield index, targets, forecast(network, inputs, *more, outputs=self.head.outputs)

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


def forecast(network: nn.Module, inputs: Tensor, *more: Tensor, outputs: int = 1, every_step: bool = False) -> Tensor:
    """[batch, columns, window] -> [batch, columns, horizon]: each column is a sequence by itself.

    Of several outputs for each step: [batch, columns, horizon, outputs]. A custom network gives them in one row.
    every_step: the inputs are stretches, of which each step has a forecast: [batch, columns, steps, horizon].

    more: the network's other inputs, [batch, ...], the same for all columns; or of each, [batch, columns, ..., rows].
    """
    batch, columns, window = inputs.shape
    repeated = [_by_column(part, columns) for part in more]
    call = _every_step(network) if every_step else network
    out: Tensor = call(inputs.reshape(batch * columns, window), *repeated)  # [batch * columns, horizon]
    steps = (out.shape[1],) if every_step else ()
    return out.reshape(batch, columns, *steps, -1, *((outputs,) if outputs > 1 else ()))


def _every_step(network: nn.Module) -> Callable[..., Tensor]:
    """The method that forecasts after every step: see `LSTMForecaster`. Raises TrialFailed where there is none."""
    method: Callable[..., Tensor] | None = getattr(network, "every_step", None)
    if method is None:
        raise TrialFailed("space.supervision: the networks of model.factory have no method every_step; take last_step")
    return method


def _scale(pairs: Tensor) -> Scale:
    """pairs: [batch, columns, 2]."""
    return Scale(pairs[..., 0], pairs[..., 1])


def _by_column(part: Tensor, columns: int) -> Tensor:
    """[batch, ...] or [batch, columns, columns, rows] -> [batch * columns, ...]."""
    if part.dim() == 4:
        return part.flatten(0, 1)
    return part if columns == 1 else part.repeat_interleave(columns, dim=0)
