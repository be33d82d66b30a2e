"""Prediction intervals: split conformal, for every column and horizon step.

An interval is the forecast plus and minus a radius; the radius of level L is the smallest that held in a share of
(n + 1) / n x L of n calibration windows (Papadopoulos et al. 2002; Lei et al. 2018, for absolute residuals). That is
exact where calibration windows and new ones are exchangeable. Windows of a series are not: they overlap, and series
drift. So the reported coverage is measured on other windows than those of the radii.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from optlstm.util.arrays import Floats

LEVELS = tuple(range(1, 100))  # percent
REPORTED = (50, 80, 90, 95)


def radii(residuals: NDArray[np.floating]) -> Floats:
    """Absolute residuals [windows, columns, horizon] -> radii [levels, columns, horizon]; infinite where too few.

    A residual that is NaN is none.
    """
    count = np.count_nonzero(~np.isnan(residuals), axis=0)  # [columns, horizon]
    ordered = np.sort(residuals, axis=0)  # NaN is last
    table = np.full((len(LEVELS), *residuals.shape[1:]), np.inf)
    for i, level in enumerate(LEVELS):
        rank = np.ceil((count + 1) * level / 100).astype(np.int64)
        enough = rank <= count
        at = np.where(enough, rank - 1, 0)[None]
        if enough.any():
            table[i] = np.where(enough, np.take_along_axis(ordered, at, axis=0)[0], np.inf)
    return table


def least_count(residuals: NDArray[np.floating]) -> int:
    """Of residuals of a column and step, the fewest."""
    return int(np.count_nonzero(~np.isnan(residuals), axis=0).min())


def highest_level(count: int) -> int:
    """The highest level that `count` calibration windows allow; 0: none."""
    return max((level for level in LEVELS if math.ceil((count + 1) * level / 100) <= count), default=0)


def cross_coverage(residuals: NDArray[np.floating], gap: int) -> dict[str, dict[str, float | None]]:
    """Coverage by level, measured crosswise (Vovk 2015): radii of one half of the windows, tested on the other.

    The halves follow each other in time; `gap` windows between them are left out, so that no row is a target in
    both. `coverage` is the mean of both directions, over windows, columns and steps.

    Args:
        residuals: absolute, [windows, columns, horizon], oldest first.
        gap: windows to leave out at the cut: the horizon, or fewer where `residuals` were thinned out.
    """
    middle = len(residuals) // 2
    first, second = residuals[: max(0, middle - gap // 2)], residuals[middle + (gap + 1) // 2 :]
    measured: dict[str, dict[str, float | None]] = {}
    for level in REPORTED:
        forwards, backwards = _coverage(first, second, level), _coverage(second, first, level)
        both = None if forwards is None or backwards is None else (forwards + backwards) / 2
        measured[str(level)] = {"coverage": both, "first_on_second": forwards, "second_on_first": backwards}
    return measured


def _coverage(calibration: NDArray[np.floating], test: NDArray[np.floating], level: int) -> float | None:
    given = ~np.isnan(test)
    if not given.any() or level > highest_level(least_count(calibration)):
        return None
    return float((test <= radii(calibration)[LEVELS.index(level)])[given].mean())
