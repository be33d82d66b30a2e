"""What a report draws of a network's forecasts on the validation windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from optlstm.tasks.forecast.conformal import BASE, Uncalibrated
from optlstm.tasks.forecast.cross_fit import LEVELS, MOST_NUMBERS, CrossFit
from optlstm.tasks.forecast.data import ForecastData
from optlstm.tasks.forecast.windows import Windows
from optlstm.tasks.plot_data import Example, Forecasts
from optlstm.training.heads import Head, Scale
from optlstm.util.arrays import Floats

_LEAST_SHOWN = 16  # input steps before a forecast in its plot, where the window has them


@dataclass(frozen=True)
class ValidationPlots:
    """Forecasts on validation windows.

    Args:
        head: of the network; probabilistic: whether it gives quantiles.
        forecasts: windows' numbers -> inputs, targets [batch, columns, ...], and what the network gives.
        scale_of: the scale of series [batch], where the head needs it.
    """

    data: ForecastData
    head: Head
    probabilistic: bool
    windows: Windows
    forecasts: Callable[[Tensor], tuple[Tensor, ...]]
    scale_of: Callable[[Tensor], Scale | None]

    def drawn(self, batch: int) -> Forecasts:
        """The best, the median and the worst of them, errors and coverage by step. batch: sequences at a time."""
        windows, errors, kept = self.windows, [], []
        squared, absolute, count = torch.zeros(3, self.data.horizon, dtype=torch.float64)
        every = -(-len(windows) * len(self.data.columns) * self.data.horizon // MOST_NUMBERS)
        for index in windows.numbers(batch):
            _, targets, out = self.forecasts(index)
            error = (self.head.point(out, self._scale(index)) - targets).double()
            errors.append(error.square().nanmean(-1).cpu())  # [part, columns]
            squared = squared + error.square().nansum((0, 1)).cpu()
            absolute = absolute + error.abs().nansum((0, 1)).cpu()
            count = count + (~error.isnan()).sum((0, 1)).cpu()
            some = index % every == 0
            kept.append((self._uncalibrated(out[some], index[some]), targets[some].double().cpu().numpy()))
        forecasts, actual = Uncalibrated.joined([part for part, _ in kept]), np.concatenate([y for _, y in kept])
        fit = CrossFit.of(forecasts, actual, gap=-(-self.data.horizon // windows.every), every=every)
        mse = torch.cat(errors)  # [windows, columns]
        order = torch.argsort(mse.flatten(), stable=True)[: int((~mse.isnan()).sum())].tolist()  # NaN is last
        chosen: dict[int, str] = {}  # of few forecasts the median one is the best one, too
        for which, at in (("best", order[0]), ("median", order[(len(order) - 1) // 2]), ("worst", order[-1])):
            chosen.setdefault(at, which)
        return Forecasts(
            examples=tuple(self._example(which, mse, at, fit) for at, which in chosen.items()),
            by_step={
                "mse": np.asarray(squared / count, dtype=np.float64),
                "mae": np.asarray(absolute / count, dtype=np.float64),
            },
            windows=len(order),
            coverage={} if fit is None else dict(zip(LEVELS, fit.coverage, strict=True)),
            pit=None if fit is None else fit.pit,
        )

    def _example(self, which: str, mse: Tensor, at: int, fit: CrossFit | None) -> Example:
        data, windows, (number, column) = self.data, self.windows, divmod(at, mse.shape[1])
        index = torch.tensor([number], device=windows.first.device)
        first, series = (int(part) for part in windows.where(index))
        inputs, targets, out = self.forecasts(index)
        mean, std = float(data.mean[series, column]), float(data.std[series, column])
        known = torch.cat([inputs, targets], dim=2)[0, column].cpu().double().numpy() * std + mean
        shown = min(windows.window, max(2 * data.horizon, _LEAST_SHOWN))
        names = [*([data.ids[series]] if len(data.ids) > 1 else []), data.columns[column]]
        ends = {} if fit is None else fit.fan(number, self._uncalibrated(out, index))
        fan = {level: tuple(self._bounded(end[column] * std + mean) for end in pair) for level, pair in ends.items()}
        point = self.head.point(out, self._scale(index))
        return Example(
            which=which,
            column=" ".join(names if len(data.columns) > 1 else names[:1]),
            first=first + windows.window,
            before=known[windows.window - shown : windows.window],
            truth=known[windows.window :],
            forecast=point[0, column].cpu().double().numpy() * std + mean,
            mse=float(mse[number, column]),
            fan=fan,
        )

    def _scale(self, index: Tensor) -> Scale | None:
        return self.scale_of(self.windows.where(index)[1])

    def _uncalibrated(self, out: Tensor, index: Tensor) -> Uncalibrated:
        """What the network gives for windows of these numbers, on the standardised scale."""
        scale, base = self._scale(index), None
        if self.probabilistic:
            base = self.head.quantiles(out, BASE, scale).float().cpu().numpy()
        point = self.head.point(out, scale).double().cpu().numpy()
        return Uncalibrated(point, np.ones((len(point), 1, 1)), base)

    def _bounded(self, values: Floats) -> Floats:
        return np.maximum(values, 0.0) if self.head.positive or self.head.counts else values
