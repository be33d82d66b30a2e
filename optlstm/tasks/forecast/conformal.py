"""Conformal calibration: how far a forecast's quantiles are moved so that intervals hold as often as they promise.

An interval is what lies between two quantiles of the forecast, plus and minus a radius; a point forecast is all of its
quantiles (Papadopoulos et al. 2002; Lei et al. 2018; of quantiles Romano et al. 2019). The radius of level L, for every
column and horizon step, is the smallest that would have held in a share of (n + 1) / n x L of n calibration windows,
in units of a scale: the training rows' standard deviation, or a local one. That is exact where calibration windows and
new ones are exchangeable. Windows of a series are not: they overlap, and series drift. So the reported coverage is
measured on later windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from optlstm.tasks.forecast.probability import ends
from optlstm.util.arrays import Floats

LEVELS = tuple(range(1, 100))  # percent
_ROUNDING = 1e-4  # of radii: they are saved in float32
BASE = (0.005, 0.025, *(k / 20 for k in range(1, 20)), 0.975, 0.995)  # levels of a head's quantiles that are moved


@dataclass(frozen=True)
class Uncalibrated:
    """Forecasts of windows before any calibration, in the data's units.

    Args:
        point: [n, columns, horizon].
        scale: what radii are multiplied with, [n, columns, horizon or 1].
        base: quantiles of a probabilistic head at the levels `BASE`, [n, columns, horizon, levels]; None: there are
            none, and the point forecast is all of them.
        positive: no value is below zero, and so no end of an interval. whole: all are whole numbers.
    """

    point: Floats
    scale: Floats
    base: NDArray[np.floating] | None = None
    positive: bool = False
    whole: bool = False

    def __getitem__(self, part: slice) -> Uncalibrated:
        base = None if self.base is None else self.base[part]
        return replace(self, point=self.point[part], scale=self.scale[part], base=base)

    @classmethod
    def joined(cls, parts: Sequence[Uncalibrated]) -> Uncalibrated:
        """One after the other."""
        bases = [part.base for part in parts if part.base is not None]
        point, scale = (np.concatenate([getattr(part, name) for part in parts]) for name in ("point", "scale"))
        return cls(point, scale, np.concatenate(bases) if bases else None, parts[0].positive, parts[0].whole)

    def between(self, percent: float) -> tuple[Floats, Floats]:
        """The ends of the central interval, [n, columns, horizon] each."""
        if self.base is None:
            return self.point, self.point
        low, high = (self._at(level) for level in ends(percent))
        return low, high

    def _at(self, level: float) -> Floats:
        assert self.base is not None
        right = int(np.clip(np.searchsorted(BASE, level), 1, len(BASE) - 1))
        share = np.clip((level - BASE[right - 1]) / (BASE[right] - BASE[right - 1]), 0.0, 1.0)
        return np.asarray(self.base[..., right - 1] * (1 - share) + self.base[..., right] * share, dtype=np.float64)


def radii(forecasts: Uncalibrated, actual: Floats) -> Floats:
    """The radii [levels, columns, horizon] of windows whose true values `actual` are known; infinite where too few.

    A true value that is NaN is none. Radii of quantiles may be below zero: the interval was too wide.
    """
    table = np.empty((len(LEVELS), *actual.shape[1:]))
    scores = None
    for i, level in enumerate(LEVELS):
        if scores is None or forecasts.base is not None:
            low, high = forecasts.between(level)
            scores = np.maximum(low - actual, actual - high)
            scores = np.sort(scores / forecasts.scale, axis=0)  # NaN is last
            count = np.count_nonzero(~np.isnan(scores), axis=0)  # [columns, horizon]
        rank = np.ceil((count + 1) * level / 100).astype(np.int64)
        at = np.clip(rank, 1, max(1, len(scores)))[None] - 1
        table[i] = np.inf
        if len(scores):
            table[i] = np.where(rank <= count, np.take_along_axis(scores, at, axis=0)[0], np.inf)
    return table


def least_count(actual: Floats) -> int:
    """Of true values of a column and step, the fewest."""
    return int(np.count_nonzero(~np.isnan(actual), axis=0).min())


def highest_level(count: int) -> int:
    """The highest level that `count` calibration windows allow; 0: none."""
    return max((level for level in LEVELS if math.ceil((count + 1) * level / 100) <= count), default=0)


def interval(table: Floats, forecasts: Uncalibrated, percent: float) -> tuple[Floats, Floats]:
    """The ends of the calibrated interval, [n, columns, horizon] each; infinite above the highest level of `table`.

    percent: from 0 to 99; between whole percents the radius is interpolated.
    """
    below = min(int(percent), LEVELS[-1] - 1)
    share = percent - below
    radius = table[below] if share == 1 else np.zeros_like(table[0]) if below == 0 else table[below - 1]
    if 0 < share < 1:
        radius = radius * (1 - share) + table[below] * share
    moved = radius * forecasts.scale
    low, high = forecasts.between(percent)
    low, high = low - moved, high + moved
    if forecasts.base is not None:  # a radius below zero may make the ends change places
        low, high = np.minimum(low, high), np.maximum(low, high)
    if forecasts.whole:  # the interval of whole numbers inside holds the same values
        inside = np.ceil(low - _ROUNDING), np.floor(high + _ROUNDING)
        middle = np.round((low + high) / 2)
        low, high = (np.where(inside[0] <= inside[1], end, middle) for end in inside)
    return (np.maximum(low, 0.0), np.maximum(high, 0.0)) if forecasts.positive else (low, high)


def quantiles(table: Floats, forecasts: Uncalibrated, levels: Sequence[float]) -> Floats:
    """The calibrated quantiles [n, columns, horizon, levels], which do not cross: each is the end of an interval."""
    values = np.empty((*forecasts.point.shape, len(levels)))
    for i, level in enumerate(levels):
        percent = round(100 * abs(2 * level - 1), 6)
        values[..., i] = interval(table, forecasts, percent)[int(level > 0.5)]
    order = np.argsort(levels)
    if forecasts.base is not None:
        values[..., order] = np.sort(values, axis=-1)
    return values
