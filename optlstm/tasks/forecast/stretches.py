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

    The windows of each series fall into `patch` classes by where in a patch they begin. Each class is cut into
    stretches, elsewhere in every pass, since the same ones again and again are learnt by heart. One that would reach
    over an end of its class is moved inside, and has targets where its neighbour has none: a pass has those of every
    window once. A series that is too short for a stretch is padded with its first row.
    """

    windows: Windows
    patch: int
    steps: int

    @classmethod
    def of(cls, windows: Windows, patch: int) -> Stretches:
        """Those of two windows' length: before the last target, half of the steps are context, half have targets."""
        return cls(windows, patch, -(-windows.window // patch))

    def __len__(self) -> int:
        """How many there are in a pass."""
        return int(self._ends[-1])

    def shuffled(self, most: int, generator: torch.Generator) -> Tensor:
        """The numbers of a pass, or a draw of `most`: place * steps + cut, with a cut that they share."""
        places = shuffled(len(self), most, generator)
        return places * self.steps + torch.randint(self.steps, (1,), generator=generator)

    @cached_property
    def _counts(self) -> Tensor:
        """Windows of each series, [n]."""
        return torch.diff(self.windows.ends, prepend=self.windows.ends.new_zeros(1))

    @cached_property
    def _ends(self) -> Tensor:
        """How many places there are up to each series' end, [n]: in every class as many as in the largest one."""
        longest = -(-self._counts // self.patch)
        return torch.cumsum(self._counts.clamp(max=self.patch) * (1 - (1 - longest) // self.steps), dim=0)

    @cached_property
    def _padded(self) -> bool:
        """Whether some begin before their series does, or before its first window."""
        return self.windows.padded or bool((self._counts < self.patch * self.steps).any())

    def where(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Each step's window within its series, -1 for no targets, [batch, steps]; and the series, [batch]."""
        at, series, _ = self._where(index)
        return at, series

    def _where(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `where`, and the number of the window that the first step would have."""
        place, cut = index // self.steps, index % self.steps
        series = torch.searchsorted(self._ends, place, right=True)
        place = place - torch.where(series > 0, self._ends[(series - 1).clamp(min=0)], 0)
        counts, steps = self._counts[series], torch.arange(self.steps, device=index.device)
        classes = counts.clamp(max=self.patch)
        first = place % classes  # of the class
        most = (counts - 1 - first) // self.patch + 1 - self.steps  # where its last stretch begins, in patches
        begin = place // classes * self.steps - (cut + first) % self.steps
        inside = torch.minimum(begin.clamp(min=0), most)
        at = inside[:, None] + steps  # [batch, steps]
        taught = (at >= 0) & (at >= begin[:, None]) & (at < begin[:, None] + self.steps)
        at = first[:, None] + at * self.patch
        return at.masked_fill(~taught, -1), series, at[:, 0]

    def take(self, index: Tensor) -> tuple[Tensor, ...]:
        """A batch of stretches by their numbers, [batch]: see `Rows.take`."""
        at, series, begin = self._where(index)
        windows, reach = self.windows, (self.steps - 1) * self.patch
        first, rows = windows.first[series] + begin, (windows.window, windows.horizon)
        inputs, targets, *more = windows.rows.take(first, series, *rows, self._padded, self.patch, reach)
        return inputs, targets.masked_fill((at < 0)[:, None, :, None], math.nan), *more
