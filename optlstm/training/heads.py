"""What a forecaster's numbers for each step ahead mean: a point, quantiles, or the parameters of a distribution.

A head works on `out` [..., horizon], or [..., horizon, outputs] of several numbers for each step; what stands before
the horizon does not matter. Targets are on the standardised scale, and so is all that a head gives.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

_BEFORE = 1.0  # subtracted before softplus: quantiles of untrained networks are .3 apart, on the standardised scale
_MEAN_OF = 20  # quantiles, of equal shares of the probability, whose mean stands for a forecast's mean
_LEAST_SCALE = 1e-4  # of a distribution, on the standardised scale; and the least dispersion of counts
_BEND = 4.0  # how sharply the mean of counts bends at 0, on the standardised scale
_LEAST_MEAN = 1e-6  # of counts; a mean of 0 has no likelihood
_PLACES = 1025  # of the table of Student's quantiles, evenly spaced in 1 / df

Moved = Tensor | float


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation that targets [..., horizon] were standardised by, [...] each."""

    mean: Tensor
    std: Tensor

    def beside(self, values: Tensor) -> Scale:
        """The same, so that they broadcast to `values`: [..., horizon], or [..., horizon, levels]."""
        more = (1,) * (values.dim() - self.mean.dim())
        return Scale(self.mean.reshape(*self.mean.shape, *more), self.std.reshape(*self.std.shape, *more))


@dataclass(frozen=True, kw_only=True)
class Head(ABC):
    """Numbers for each step ahead, their loss, and the forecasts that they stand for.

    Args:
        positive: no value is below zero in the data's units, and so no forecast.
        mean: the point forecast is the distribution's mean; otherwise its median.
    """

    positive: bool = False
    mean: bool = False
    counts: ClassVar[bool] = False  # whether `loss` needs the scale

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Numbers for each step ahead; of 1, `out` has no dimension for them."""

    @property
    def needs_scale(self) -> bool:
        """Whether `point` and `quantiles` need the scale."""
        return self.positive or self.counts

    @abstractmethod
    def place(self, raw: Tensor, shift: Tensor | None, level: Moved, spread: Moved) -> Tensor:
        """A network's raw numbers as `out`, of the same shape.

        Args:
            shift: what is added to the location, [..., horizon]; None: nothing.
            level, spread: what the window norm took out, [..., 1] or numbers.
        """

    def bias(self, location: Tensor) -> Tensor:
        """The bias [horizon * outputs] of a linear layer for this location [horizon]."""
        rest = location.new_zeros(len(location), self.outputs - 1)
        return torch.cat([location[:, None], rest], dim=1).flatten()

    def loss(self, out: Tensor, target: Tensor, scale: Scale | None = None, missing: bool = False) -> Tensor:
        """The mean over targets [..., horizon]. missing: those that are NaN count nothing, and have no gradient."""
        if not missing:
            return self._losses(out, target, scale).mean()
        given = ~target.isnan()
        losses = self._losses(out, torch.where(given, target, 0.0), scale)
        return torch.where(given, losses, 0.0).sum() / given.sum().clamp(min=1)

    @abstractmethod
    def _losses(self, out: Tensor, target: Tensor, scale: Scale | None) -> Tensor:
        """[..., horizon]."""

    def point(self, out: Tensor, scale: Scale | None = None) -> Tensor:
        """The point forecast, [..., horizon]."""
        if not self.mean:
            return self.quantiles(out, (0.5,), scale)[..., 0]
        return self.quantiles(out, [(i + 0.5) / _MEAN_OF for i in range(_MEAN_OF)], scale).mean(-1)

    @abstractmethod
    def quantiles(self, out: Tensor, levels: Sequence[float], scale: Scale | None = None) -> Tensor:
        """Quantiles at these levels, increasing: [..., horizon, levels]. They never cross."""

    def _bounded(self, values: Tensor, scale: Scale | None) -> Tensor:
        """Not below zero in the data's units, where no value is."""
        if not self.positive:
            return values
        assert scale is not None
        beside = scale.beside(values)
        return torch.maximum(values, -beside.mean / beside.std)


@dataclass(frozen=True, kw_only=True)
class PointHead(Head):
    """A point forecast. function: of `torch.nn.functional`, the mean loss of forecasts and targets."""

    function: str = "mse_loss"

    @property
    def outputs(self) -> int:
        return 1

    def place(self, raw: Tensor, shift: Tensor | None, level: Moved, spread: Moved) -> Tensor:
        return (raw if shift is None else raw + shift) * spread + level

    def loss(self, out: Tensor, target: Tensor, scale: Scale | None = None, missing: bool = False) -> Tensor:
        if not missing:
            return self._mean_loss(out, target)
        given = ~target.isnan()
        truth = torch.where(given, target, out.detach())  # a missing target is no error
        return self._mean_loss(out, truth) * (given.numel() / given.sum().clamp(min=1))

    def _mean_loss(self, out: Tensor, target: Tensor) -> Tensor:
        mean: Tensor = getattr(F, self.function)(out, target)
        return mean

    def _losses(self, out: Tensor, target: Tensor, scale: Scale | None) -> Tensor:
        losses: Tensor = getattr(F, self.function)(out, target, reduction="none")
        return losses

    def point(self, out: Tensor, scale: Scale | None = None) -> Tensor:
        return self._bounded(out, scale)

    def quantiles(self, out: Tensor, levels: Sequence[float], scale: Scale | None = None) -> Tensor:
        """The point forecast is all of its quantiles."""
        return self._bounded(out, scale)[..., None].expand(*out.shape, len(levels))


@dataclass(frozen=True, kw_only=True)
class QuantileHead(Head):
    """Quantiles at these levels, the pinball loss of each (Koenker and Bassett 1978).

    A network gives the middle one, and how far each other is from its neighbour (Gasthaus et al. 2019), so that they do
    not cross. Trained as numbers of their own and sorted they are worse: see docs/probabilities.md. Those of a custom
    network may cross; sorted they are no worse than before (Chernozhukov et al. 2010).
    """

    levels: tuple[float, ...]

    @property
    def outputs(self) -> int:
        return len(self.levels)

    def place(self, raw: Tensor, shift: Tensor | None, level: Moved, spread: Moved) -> Tensor:
        if self.outputs == 1:
            return (raw if shift is None else raw + shift) * spread + level
        middle = raw[..., self._middle] if shift is None else raw[..., self._middle] + shift
        values = middle[..., None] + F.softplus(raw - _BEFORE) @ _sums(self.outputs, self._middle, raw.device)
        return values * _at_each(spread) + _at_each(level)

    def bias(self, location: Tensor) -> Tensor:
        rows = location.new_zeros(len(location), self.outputs)
        rows[:, self._middle] = location
        return rows.flatten()

    @property
    def _middle(self) -> int:
        return len(self.levels) // 2

    def _losses(self, out: Tensor, target: Tensor, scale: Scale | None) -> Tensor:
        """Twice the mean of the pinball losses: of the median alone the absolute error, of many levels the CRPS."""
        out, tilt = self._by_level(out), tuple((2 * level - 1) / self.outputs for level in self.levels)
        # 2 * max(level * error, (level - 1) * error) = |error| + (2 * level - 1) * error
        return (target[..., None] - out).abs().mean(-1) + sum(tilt) * target - out @ _constant(tilt, out.device)

    def quantiles(self, out: Tensor, levels: Sequence[float], scale: Scale | None = None) -> Tensor:
        """Between and beyond the trained levels as of a normal distribution with the two nearest."""
        values = self._by_level(out).sort(dim=-1).values
        if {*levels} <= {*self.levels}:
            return self._bounded(values[..., [self.levels.index(level) for level in levels]], scale)
        if self.outputs == 1:
            return self._bounded(values, scale).expand(*values.shape[:-1], len(levels))
        trained, wanted = [_probit(level) for level in self.levels], [_probit(level) for level in levels]
        left = [min(max(bisect_left(trained, place) - 1, 0), self.outputs - 2) for place in wanted]
        pairs = zip(wanted, left, strict=True)
        share = [(place - trained[at]) / (trained[at + 1] - trained[at]) for place, at in pairs]
        low, high = values[..., left], values[..., [at + 1 for at in left]]
        between = low + _constant(tuple(share), out.device) * (high - low)
        return self._bounded(between.sort(dim=-1).values, scale)  # sorted: for the last bits

    def _by_level(self, out: Tensor) -> Tensor:
        """[..., horizon, levels]."""
        return out[..., None] if self.outputs == 1 else out


@dataclass(frozen=True, kw_only=True)
class NormalHead(Head):
    """Location and scale of a normal distribution; student: of Student's t, and its degrees of freedom, above 2."""

    student: bool = False

    @property
    def outputs(self) -> int:
        return 3 if self.student else 2

    def place(self, raw: Tensor, shift: Tensor | None, level: Moved, spread: Moved) -> Tensor:
        location = (raw[..., 0] if shift is None else raw[..., 0] + shift) * spread + level
        df = [2 + F.softplus(raw[..., 2])] if self.student else []
        return torch.stack([location, F.softplus(raw[..., 1]) * spread, *df], dim=-1)

    def _losses(self, out: Tensor, target: Tensor, scale: Scale | None) -> Tensor:
        """The negative log-likelihood."""
        width = out[..., 1].clamp(min=_LEAST_SCALE)
        z = (target - out[..., 0]) / width
        if not self.student:
            return 0.5 * z.square() + width.log() + 0.5 * math.log(2 * math.pi)
        df = out[..., 2].clamp(min=2.0)
        constant = torch.lgamma(df / 2) - torch.lgamma((df + 1) / 2) + 0.5 * (df * math.pi).log()
        return constant + width.log() + (df + 1) / 2 * torch.log1p(z.square() / df)

    def point(self, out: Tensor, scale: Scale | None = None) -> Tensor:
        return self._bounded(out[..., 0], scale)  # it is mean and median

    def quantiles(self, out: Tensor, levels: Sequence[float], scale: Scale | None = None) -> Tensor:
        width = out[..., 1:2].clamp(min=_LEAST_SCALE)  # [..., horizon, 1]
        values = out[..., :1] + width * self._standard(out, tuple(levels))
        return self._bounded(values, scale).sort(dim=-1).values  # sorted: for the last bits

    def _standard(self, out: Tensor, levels: tuple[float, ...]) -> Tensor:
        """Quantiles at location 0 and scale 1. Of Student's t from a table, for torch has no inverse of it."""
        if not self.student:
            return _constant(tuple(_probit(level) for level in levels), out.device)
        table = _student_table(levels).to(out)  # [_PLACES, levels]
        place = 2 * (_PLACES - 1) / out[..., 2].clamp(min=2.0)
        below = place.floor().clamp(max=_PLACES - 2)
        low, high = table[below.long()], table[below.long() + 1]
        return low + (place - below)[..., None] * (high - low)


@dataclass(frozen=True, kw_only=True)
class CountHead(Head):
    """The mean of a Poisson distribution of counts; dispersed: of a negative binomial one, and its dispersion.

    The variance is mean + dispersion * mean² (NB2; Salinas et al. 2020). Counts are not standardised: the mean is the
    softplus of the location, in the data's units.
    """

    dispersed: bool = False
    counts: ClassVar[bool] = True

    @property
    def outputs(self) -> int:
        return 2 if self.dispersed else 1

    def place(self, raw: Tensor, shift: Tensor | None, level: Moved, spread: Moved) -> Tensor:
        location = self._location(raw)
        location = (location if shift is None else location + shift) * spread + level
        return torch.stack([location, F.softplus(raw[..., 1])], dim=-1) if self.dispersed else location

    def _losses(self, out: Tensor, target: Tensor, scale: Scale | None) -> Tensor:
        """The negative log-likelihood."""
        assert scale is not None
        mean, beside = self._mean(out, scale), scale.beside(target)
        count = (target * beside.std + beside.mean).round().clamp(min=0.0)
        if not self.dispersed:
            return mean - torch.xlogy(count, mean) + torch.lgamma(count + 1)
        size = 1 / out[..., 1].clamp(min=_LEAST_SCALE)
        ways = torch.lgamma(count + size) - torch.lgamma(size) - torch.lgamma(count + 1)
        return size * torch.log1p(mean / size) - torch.xlogy(count, mean / (size + mean)) - ways

    def point(self, out: Tensor, scale: Scale | None = None) -> Tensor:
        assert scale is not None
        if not self.mean:
            return super().point(out, scale)
        beside = scale.beside(self._location(out))
        return (self._mean(out, scale) - beside.mean) / beside.std

    def quantiles(self, out: Tensor, levels: Sequence[float], scale: Scale | None = None) -> Tensor:
        """Counts, on the standardised scale. They are computed on the CPU: SciPy inverts the distribution."""
        from scipy.special import nbdtrik, pdtrik

        assert scale is not None
        mean = self._mean(out, scale).detach().double().cpu().numpy()[..., None]
        if self.dispersed:
            size = 1 / out[..., 1:].clamp(min=_LEAST_SCALE).detach().double().cpu().numpy()
            places = nbdtrik(levels, size, size / (size + mean))
        else:
            places = pdtrik(levels, mean)
        counts = torch.from_numpy(places).ceil().clamp(min=0.0)
        beside = scale.beside(counts)
        return ((counts - beside.mean.cpu().double()) / beside.std.cpu().double()).to(out)

    def _location(self, out: Tensor) -> Tensor:
        return out[..., 0] if self.dispersed else out

    def _mean(self, out: Tensor, scale: Scale) -> Tensor:
        """In the data's units."""
        location = self._location(out)
        beside = scale.beside(location)
        return beside.std * F.softplus(location + beside.mean / beside.std, beta=_BEND) + _LEAST_MEAN


POINT = PointHead()


def _probit(level: float) -> float:
    """The quantile of the standard normal distribution."""
    return NormalDist().inv_cdf(level)


def _at_each(value: Moved) -> Moved:
    return value[..., None] if isinstance(value, Tensor) else value


@cache
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """On its device once: a copy in every step would make an accelerator wait."""
    return torch.tensor(values, device=device)


@cache
def _sums(outputs: int, middle: int, device: torch.device) -> Tensor:
    """[outputs, outputs]: distances between neighbours -> distances from the middle one, negative below it."""
    above = torch.ones(outputs, outputs).triu()
    above[: middle + 1] = 0.0
    below = torch.ones(outputs, outputs).tril()
    below[middle:] = 0.0
    return (above - below).to(device)


@cache
def _student_table(levels: tuple[float, ...]) -> Tensor:
    """Quantiles of Student's t, float32 [_PLACES, levels], for 1 / df from 0 (the normal distribution) to 1/2."""
    import numpy as np
    from scipy.special import ndtri, stdtrit

    inverse = np.linspace(0, 0.5, _PLACES)[1:, None]
    table = np.concatenate([np.atleast_2d(ndtri(levels)), stdtrit(1 / inverse, levels)])
    return torch.from_numpy(table.astype(np.float32))
