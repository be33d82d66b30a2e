"""A trained forecaster: its networks on series, in batches, and as one module for export."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from optlstm.data.panel import named
from optlstm.errors import InputError
from optlstm.tasks.forecast.data import ForecastData
from optlstm.tasks.forecast.problem import Rows, forecast
from optlstm.util.arrays import Floats, Integers

_BATCH = 1024  # sequences at a time: what a core's cache likes


class Forecaster:
    """One network or several, whose mean is the forecast. window: of the network that reads the most rows."""

    def __init__(self, networks: Sequence[nn.Module], window: int, columns: int) -> None:
        self.window, self.columns = window, columns
        self.networks = [network.eval() for network in networks]

    @torch.no_grad()
    def batches(self, data: ForecastData, first: Integers, series: Integers) -> Iterator[tuple[slice, Floats]]:
        """Forecasts that begin at the rows `first` [n] of `series` [n], a batch at a time.

        Before each are `window` rows of its series, and from it on `horizon` rows, whose targets are not read.

        Yields:
            Which of them, and [members, batch, columns, horizon] in the data's units.

        Raises:
            InputError: the values are so far from those of training that a forecast is no finite number.
        """
        rows, size = Rows(data, torch.device("cpu")), max(1, _BATCH // self.columns)
        for at in range(0, len(first), size):
            part = slice(at, min(at + size, len(first)))
            of = series[part]
            begin = torch.from_numpy(first[part] - self.window)
            inputs, _, *more = rows.take(begin, torch.from_numpy(of), self.window, data.horizon)
            each = torch.stack([forecast(network, inputs, *more) for network in self.networks]).double().numpy()
            forecasts = each * data.std[of][:, :, None] + data.mean[of][:, :, None]
            wrong = np.flatnonzero(~np.isfinite(forecasts).all(axis=(0, 2, 3)))
            if len(wrong):
                names = list(dict.fromkeys(data.ids[i] for i in of[wrong]))
                where = f" of {len(names)} series ({named(names)})"
                where = where if names != [""] else f" from row {first[part][wrong[0]] + 1} on"
                raise InputError(
                    f"data: no finite forecast{where}; values there are too far from those of the training rows"
                )
            yield part, forecasts


class ForecastGraph(nn.Module):
    """All in one module: float64 [batch, window, columns] -> [batch, horizon, columns], in the data's units."""

    def __init__(self, networks: Sequence[nn.Module], mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        scaled = ((x - self.mean) / self.std).float().transpose(1, 2)  # [batch, columns, window]
        flat = scaled.reshape(-1, scaled.shape[2])
        each = [network(flat).double() for network in self.networks]  # [batch * columns, horizon] each
        mean = torch.stack(each).mean(dim=0).reshape(-1, scaled.shape[1], each[0].shape[1])
        return mean.transpose(1, 2) * self.std + self.mean
