"""Stretches of training windows: what a network reads that is taught after every step, not after the last one alone.

A step's state serves all windows that it is a part of, where each window computes it anew (forking sequences: Wen et
al. 2017, arXiv 1711.11053).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from optlstm.tasks.forecast.windows import Windows, shuffled


@dataclass(frozen=True)
class Stretches:
    """`steps` windows of a series in one view, each a patch of rows after the one before; numbered through.

    The windows of each series fall into `patch` classes by where in a patch they begin. Each class is cut into parts of
    `steps` windows, and a stretch begins at random in its part, in another place in every pass, since the same ones
    again and again would be learnt by heart; it ends with the class's last window at the latest. A series that is too
    short for a stretch is padded with its first row, and there are no targets before its first window.
    """

    windows: Windows
    patch: int
    steps: int

    @classmethod
    def of(cls, windows: Windows, patch: int) -> Stretches:
        """Those of two windows' length: before the last target, half of the steps are context, half have targets."""
        return cls(windows, patch, -(-windows.window // patch))

    def __len__(self) -> int:
        """The parts of all classes."""
        return int(self._ends[-1])

    def shuffled(self, most: int, generator: torch.Generator) -> Tensor:
        """The numbers of a pass: one stretch of each part, or a draw of `most`. The number is part * steps + place."""
        parts = shuffled(len(self), most, generator)
        return parts * self.steps + torch.randint(self.steps, (len(parts),), generator=generator)

    @cached_property
    def _counts(self) -> Tensor:
        """Windows of each series, [n]."""
        return torch.diff(self.windows.ends, prepend=self.windows.ends.new_zeros(1))

    @cached_property
    def _ends(self) -> Tensor:
        """How many parts there are up to each series' end, [n]: of every class as many as the largest one has."""
        return torch.cumsum(self._counts.clamp(max=self.patch) * -(-self._counts // (self.patch * self.steps)), dim=0)

    @cached_property
    def _padded(self) -> bool:
        """Whether some begin before their series does, or before its first window."""
        return self.windows.padded or bool((self._counts < self.patch * self.steps).any())

    def where(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """(number of the first window within its series, below 0 where that is too short; series) of stretches."""
        part, place = index // self.steps, index % self.steps
        series = torch.searchsorted(self._ends, part, right=True)
        part = part - torch.where(series > 0, self._ends[(series - 1).clamp(min=0)], 0)
        counts, patch = self._counts[series], self.patch
        classes = counts.clamp(max=patch)
        start = part % classes  # the class's first window
        begin = start + (part // classes * self.steps + place) * patch
        last = start + (counts - 1 - start) // patch * patch - (self.steps - 1) * patch
        return torch.minimum(begin, last), series

    def take(self, index: Tensor) -> tuple[Tensor, ...]:
        """A batch of stretches by their numbers, [batch]: see `Rows.take`."""
        begin, series = self.where(index)
        windows, reach = self.windows, (self.steps - 1) * self.patch
        first, rows = windows.first[series] + begin, (windows.window, windows.horizon)
        inputs, targets, *more = windows.rows.take(first, series, *rows, self._padded, self.patch, reach)
        if self._padded:
            number = begin[:, None] + torch.arange(0, reach + 1, self.patch, device=begin.device)  # [batch, steps]
            targets = targets.masked_fill((number < 0)[:, None, :, None], math.nan)
        return inputs, targets, *more
