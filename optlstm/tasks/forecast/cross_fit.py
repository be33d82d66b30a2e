"""Intervals of the validation windows for a report: radii of one half of the windows, for those of the other half."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optlstm.tasks.forecast.conformal import Uncalibrated, highest_level, interval, least_count, quantiles, radii
from optlstm.tasks.forecast.probability import DECILES
from optlstm.util.arrays import Floats

LEVELS = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95)  # percent, whose coverage is measured
FAN = (50, 80, 90)  # that are drawn
MOST_NUMBERS = 2_000_000  # forecasts that are looked at; of more windows, every second, third, ...


@dataclass(frozen=True)
class CrossFit:
    """The radii of both halves.

    Args:
        tables: of the first and the second half, [levels, columns, horizon].
        middle: number of the window at which the second half begins.
        coverage: share of the values inside the intervals of `LEVELS`, by step, [levels, horizon].
        pit: share of the values between each two deciles, [10]: a tenth each of honest quantiles.
    """

    tables: tuple[Floats, Floats]
    middle: int
    coverage: Floats
    pit: Floats

    @classmethod
    def of(cls, forecasts: Uncalibrated, actual: Floats, gap: int, every: int) -> CrossFit | None:
        """None where they are too few.

        Args:
            forecasts, actual: of every so many windows, as of `conformal.radii`.
            gap: windows to leave out at the cut, so that no row is a target in both halves.
        """
        cut, gap = len(actual) // 2, -(-gap // every)
        halves = slice(0, max(0, cut - gap // 2)), slice(cut + (gap + 1) // 2, None)
        if min(highest_level(least_count(actual[half])) for half in halves) < LEVELS[-1]:
            return None
        first, second = (radii(forecasts[half], actual[half]) for half in halves)
        parts = [_inside(second, forecasts, actual, halves[0]), _inside(first, forecasts, actual, halves[1])]
        inside, counts = (sum(part[i] for part in parts) for i in (0, 1))
        tenths = _tenths(second, forecasts[halves[0]], actual[halves[0]])
        tenths = tenths + _tenths(first, forecasts[halves[1]], actual[halves[1]])
        with np.errstate(invalid="ignore"):
            return cls((first, second), cut * every, np.asarray(inside / counts), tenths / tenths.sum())

    def fan(self, number: int, forecast: Uncalibrated, levels: Sequence[int] = FAN) -> dict[int, tuple[Floats, Floats]]:
        """The intervals of one window by level, [columns, horizon]: radii of the half that it is not in."""
        table = self.tables[number < self.middle]
        ends = {level: interval(table, forecast, level) for level in levels}
        return {level: (low[0], high[0]) for level, (low, high) in ends.items()}


def _tenths(table: Floats, forecasts: Uncalibrated, actual: Floats) -> Floats:
    """How many values lie between each two deciles (the probability integral transform, Dawid 1984), [10].

    A value on a decile, as counts may be, counts half on either side.
    """
    deciles = quantiles(table, forecasts, DECILES)
    below = (deciles < actual[..., None]).sum(axis=-1), (deciles <= actual[..., None]).sum(axis=-1)
    given = ~np.isnan(actual)
    first, second = (np.bincount(places[given], minlength=len(DECILES) + 1) for places in below)
    return np.asarray((first + second) / 2)


def _inside(table: Floats, forecasts: Uncalibrated, actual: Floats, half: slice) -> tuple[Floats, Floats]:
    """How many values are inside by level and step, and how many there are: [levels, horizon] each."""
    ends = (interval(table, forecasts[half], level) for level in LEVELS)
    inside = [((low <= actual[half]) & (actual[half] <= high)).sum(axis=(0, 1)) for low, high in ends]
    given = (~np.isnan(actual[half])).sum(axis=(0, 1))
    return np.stack(inside), np.stack([given] * len(LEVELS))
