"""A trained forecaster: its networks on series, in batches, and as one module for export."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from optlstm.data.panel import named
from optlstm.errors import InputError
from optlstm.tasks.forecast.data import ForecastData
from optlstm.tasks.forecast.linear import LinearForecaster
from optlstm.tasks.forecast.problem import forecast
from optlstm.tasks.forecast.windows import Rows
from optlstm.training.covariates import CovariateForecaster
from optlstm.training.heads import POINT, Head, Scale
from optlstm.training.model import LSTMForecaster
from optlstm.util.arrays import Floats, Integers

_BATCH = 1024  # sequences at a time: what a core's cache likes


@dataclass(frozen=True)
class Forecasts:
    """Forecasts of some windows, in the data's units.

    Args:
        part: of the windows asked for.
        points: [members, batch, columns, horizon].
        quantiles: [members, batch, columns, horizon, levels]; they never cross. None where none are asked for.
    """

    part: slice
    points: Floats
    quantiles: Floats | None


class Forecaster:
    """One or more networks, whose mean is the forecast, and whose quantiles' means are its quantiles (Vincent 1912).

    Args:
        window: the most rows that one of them reads.
        weights: of the mean, one for each network; none: all the same.
        head: what the networks give; a linear forecast has its own.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        window: int,
        columns: int,
        weights: Sequence[float] = (),
        head: Head = POINT,
    ) -> None:
        self.window, self.columns, self.head = window, columns, head
        self.networks = [network.eval() for network in networks]
        self.heads = [network.out if isinstance(network, LinearForecaster) else head for network in networks]
        self.weights = tuple(weights)

    def mean(self, by_member: Floats) -> Floats:
        """The forecast [batch, columns, horizon(, levels)] of the networks' [members, batch, columns, ...]."""
        if not self.weights:
            return np.asarray(by_member.mean(axis=0))
        # One after the other: a matrix product's last bits may depend on the size of the batch.
        return np.asarray(sum(weight * part for weight, part in zip(self.weights, by_member, strict=True)))

    def standardised(self, inputs: Tensor, more: Sequence[Tensor], series: Tensor) -> Tensor:
        """The mean's point forecast [batch, columns, horizon] on the standardised scale, with gradients.

        Args:
            series: [batch], of a head that reads the scale; here all are on their own.
        """
        ones = torch.ones(len(series), self.columns, dtype=torch.float64)
        scale = Scale(torch.zeros_like(ones), ones)
        parts = [
            head.point(forecast(network, inputs, *more, outputs=head.outputs), scale)
            for head, network in zip(self.heads, self.networks, strict=True)
        ]
        weights = self.weights or [1 / len(parts)] * len(parts)
        return torch.stack([weight * part for weight, part in zip(weights, parts, strict=True)]).sum(dim=0)

    def batches(self, data: ForecastData, first: Integers, series: Integers) -> Iterator[tuple[slice, Floats]]:
        """Point forecasts, as `forecasts` gives them: the part of `first`, and [members, batch, columns, horizon]."""
        for batch in self.forecasts(data, first, series):
            yield batch.part, batch.points

    @torch.no_grad()
    def forecasts(
        self, data: ForecastData, first: Integers, series: Integers, levels: Sequence[float] = ()
    ) -> Iterator[Forecasts]:
        """Forecasts that begin at the rows `first` [n] of `series` [n], a batch at a time.

        Its series has `window` rows before such a row, or is padded with its first one; and `horizon` from it on, whose
        targets are not read.

        Args:
            levels: of the quantiles, increasing.

        Raises:
            InputError: the values are so far from those of training that a forecast is no finite number.
        """
        rows, size = Rows(data, torch.device("cpu")), max(1, _BATCH // self.columns)
        for at in range(0, len(first), size):
            part = slice(at, min(at + size, len(first)))
            position = series[part]
            begin = first[part] - self.window
            padded = bool((begin < data.starts[position]).any())
            at_series = torch.from_numpy(position)
            inputs, _, *more = rows.take(torch.from_numpy(begin), at_series, self.window, data.horizon, padded)
            scale = Scale(*(torch.from_numpy(part[position]) for part in (data.mean, data.std)))
            pairs = [
                (head, forecast(network, inputs, *more, outputs=head.outputs))
                for head, network in zip(self.heads, self.networks, strict=True)
            ]
            points = torch.stack([head.point(out, scale) for head, out in pairs]).double().numpy()
            forecasts = self._in_units(points, data, position, whole=self.head.counts and not self.head.mean)
            wrong = np.flatnonzero(~np.isfinite(forecasts).all(axis=(0, 2, 3)))
            if len(wrong):
                names = list(dict.fromkeys(data.ids[i] for i in position[wrong]))
                where = f" of {len(names)} series ({named(names)})"
                where = where if names != [""] else f" from row {first[part][wrong[0]] + 1} on"
                raise InputError(
                    f"data: no finite forecast{where}; values there are too far from those of the training rows"
                )
            quantiles = None
            if levels:
                quantiles = torch.stack([head.quantiles(out, levels, scale) for head, out in pairs]).double().numpy()
                quantiles = self._in_units(quantiles, data, position, whole=self.head.counts)
            yield Forecasts(part, forecasts, quantiles)

    def _in_units(self, scaled: Floats, data: ForecastData, series: Integers, whole: bool) -> Floats:
        """[members, batch, columns, ...] of these series [batch]. whole: they are counts."""
        more = (..., *(None,) * (scaled.ndim - 3))
        values = scaled * data.std[series][more] + data.mean[series][more]
        if whole:
            values = np.round(values)
        return np.maximum(values, 0.0) if self.head.positive or self.head.counts else values


def read_newest(network: nn.Module, window: int) -> None:
    """Let a custom network see no more than its own window, where another one reads a longer one. Ours see to it."""
    if not isinstance(network, LSTMForecaster | CovariateForecaster):
        network.register_forward_pre_hook(partial(_newest, window))


def _newest(window: int, _network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """inputs: x [batch, rows], and where there are any the covariates [batch, columns, rows + horizon], and static."""
    x, *more = inputs
    older = x.shape[1] - window
    return (x[:, older:], *(part[:, :, older:] if part.dim() == 3 else part for part in more))


class ForecastGraph(nn.Module):
    """All in one module: float64 [batch, window, columns] -> [batch, horizon, columns], in the data's units.

    levels: of quantiles that it gives beside, [batch, horizon, columns, levels]; none: the forecast alone.
    """

    def __init__(
        self, forecaster: Forecaster, mean: Sequence[float], std: Sequence[float], levels: Sequence[float] = ()
    ) -> None:
        super().__init__()
        self.networks, self.heads, self.levels = nn.ModuleList(forecaster.networks), forecaster.heads, tuple(levels)
        count = len(forecaster.networks)
        weights = torch.tensor(forecaster.weights or [1 / count] * count, dtype=torch.float64)
        self.weights: Tensor
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("weights", weights)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        scaled = ((x - self.mean) / self.std).float().transpose(1, 2)  # [batch, columns, window]
        scale = Scale(self.mean[None], self.std[None])
        pairs = [
            (head, forecast(network, scaled, outputs=head.outputs))
            for head, network in zip(self.heads, self.networks, strict=True)
        ]
        point = self._mean([head.point(out, scale) for head, out in pairs])
        if not self.levels:
            return point
        return point, self._mean([head.quantiles(out, self.levels, scale) for head, out in pairs])

    def _mean(self, parts: list[Tensor]) -> Tensor:
        """[batch, columns, horizon(, levels)] of each network -> [batch, horizon, columns(, levels)]."""
        stacked = torch.stack([part.double() for part in parts])
        levels = (1,) * (stacked.dim() - 4)
        mean = (self.weights.reshape(-1, 1, 1, 1, *levels) * stacked).sum(dim=0).transpose(1, 2)
        values = mean * self.std.reshape(-1, *levels) + self.mean.reshape(-1, *levels)
        return values.clamp(min=0.0) if self.heads[0].positive else values
