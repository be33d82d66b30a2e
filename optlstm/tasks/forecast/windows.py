"""Windows of series: views of their rows, of which only a batch is a copy."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from optlstm.tasks.forecast.data import ForecastData


class Rows:
    """The series' numbers on a device; windows are views of them, and only a batch is a copy."""

    def __init__(self, data: ForecastData, device: torch.device) -> None:
        self.values = tensor(data.values, device)  # [rows, targets]
        self.covariates = tensor(data.covariates, device)  # [rows, columns]
        self.static = tensor(data.static, device)  # [series, columns]
        self.starts = torch.from_numpy(data.starts).to(device)  # [series]
        self.missing = None if data.missing is None else torch.from_numpy(data.missing).to(device)  # [rows, targets]
        self.bare, self.masked = not data.sizes, data.masked

    def take(
        self,
        first: Tensor,
        series: Tensor,
        window: int,
        horizon: int,
        padded: bool = False,
        patch: int | None = None,
        reach: int = 0,
    ) -> tuple[Tensor, ...]:
        """Windows that begin at the rows `first` [n]: inputs, targets, and any covariates (by row, by series).

        Targets that are missing are NaN. Where networks read that, covariates are of each target column by itself,
        [n, targets, columns, window + horizon]; otherwise all targets are NaN behind an input that was interpolated: it
        was made from them.

        padded: some begin before their series does; its first row stands for those that are missing.
        patch: `reach` more rows are inputs, and there are targets after the window and each `patch` of those rows: [n,
            targets, steps, horizon].
        """
        length = window + reach + horizon
        rows = first
        if padded:
            rows = torch.maximum(first[:, None] + torch.arange(length, device=first.device), self.starts[series, None])
        values = _cut(self.values, rows, length)  # [n, targets, length]
        inputs, targets = values[..., : length - horizon], values[..., window:]
        if patch is not None:
            targets = targets.unfold(-1, horizon, patch)
        gaps = None if self.missing is None else _cut(self.missing, rows, length)  # [n, targets, length]
        if gaps is not None:
            gone, last = gaps[..., window:], gaps[..., window - 1 : window]
            if patch is not None:
                gone, last = gone.unfold(-1, horizon, patch), gaps[..., window - 1 : length - horizon : patch, None]
            targets = targets.masked_fill(gone if self.masked else gone | last, math.nan)
        if self.bare:
            return inputs, targets
        covariates = _cut(self.covariates, rows, length)
        if self.masked and gaps is not None:
            same = covariates[:, None].expand(-1, gaps.shape[1], -1, -1)
            covariates = torch.cat([same, gaps[:, :, None].to(same.dtype)], dim=2)
        return inputs, targets, covariates, self.static.index_select(0, series)


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
        if len(self.ends) > 1 or not self.rows.bare or self.rows.missing is not None:
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

    def shuffled(self, most: int, generator: torch.Generator) -> Tensor:
        """The numbers of a pass: each once, or a draw of `most`, where there are more."""
        return shuffled(len(self), most, generator)

    def numbers(self, sequences: int) -> Iterator[Tensor]:
        """All of their numbers in order, those of about so many sequences at a time."""
        count, size = len(self), max(1, sequences // self.rows.values.shape[1])
        for start in range(0, count, size):
            yield torch.arange(start, min(start + size, count), device=self.first.device)

    def batches(self, sequences: int) -> Iterator[tuple[Tensor, ...]]:
        """All of them in order, about so many sequences at a time."""
        for index in self.numbers(sequences):
            yield self.take(index)


def shuffled(count: int, most: int, generator: torch.Generator) -> Tensor:
    """The numbers below `count` in random order; or `most` draws of them, where they are more."""
    if count <= most:
        return torch.randperm(count, generator=generator)
    return torch.randint(count, (most,), generator=generator)


def _cut(values: Tensor, rows: Tensor, length: int) -> Tensor:
    """[rows, columns] -> [n, columns, length]. rows: the first one of each window [n], or all of them [n, length]."""
    if rows.dim() > 1:
        return values[rows].transpose(1, 2)
    # index_select is four times as fast as an index in brackets.
    return values.unfold(0, length, 1).index_select(0, rows)


def tensor(array: NDArray[np.float32], device: torch.device) -> Tensor:
    """The array's memory on the CPU, a copy elsewhere; nobody writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # Ray's are not
        return torch.from_numpy(np.asarray(array)).to(device)
