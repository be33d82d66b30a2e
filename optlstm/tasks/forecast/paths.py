"""Joint paths over the horizon: calibrated quantiles, in the order in which calibration windows had them.

The ranks of a calibration window's errors, step by step and column by column, are an empirical copula: a path takes the
ranks of one such window, and at each the calibrated quantile of the forecast. So it depends on its steps and columns as
the windows do, and each step by itself is distributed as the quantiles say (the Schaake shuffle: Clark et al. 2004).
"""

from __future__ import annotations

import numpy as np

from optlstm.tasks.forecast.conformal import BASE, Uncalibrated, interval
from optlstm.util.arrays import Floats

_MOST_PATHS = 1000  # that are kept
_MOST_NUMBERS = 1_000_000
_QUARTILES = tuple(BASE.index(level) for level in (0.25, 0.5, 0.75))


def ranks(forecasts: Uncalibrated, actual: Floats) -> Floats:
    """The ranks of true values within their forecasts, in (0, 1), of windows that lack none: [paths, columns, horizon].

    Of many windows evenly spread ones.
    """
    whole = ~np.isnan(actual).any(axis=(1, 2))
    center, spread = forecasts.point, forecasts.scale
    if forecasts.base is not None:
        low, center, high = (forecasts.base[..., i].astype(np.float64) for i in _QUARTILES)
        spread = high - low + 1e-6 * forecasts.scale
    errors = ((actual - center) / spread)[whole]
    count = len(errors)
    places = np.argsort(np.argsort(errors, axis=0, kind="stable"), axis=0, kind="stable")
    most = min(_MOST_PATHS, max(1, _MOST_NUMBERS // actual[0].size))
    return np.asarray((places[:: max(1, -(-count // most))] + 0.5) / max(1, count))


def drawn_paths(radii: Floats, forecast: Uncalibrated, ranks: Floats, samples: int, seed: int) -> Floats:
    """Paths of one window, [samples, columns, horizon]; each calibration window before any twice.

    Args:
        radii: [levels, columns, horizon]: ranks beyond the highest level that is finite are drawn in to it.
        forecast: of one window.
        ranks: see `ranks`.
    """
    generator = np.random.default_rng(seed)
    rounds = [generator.permutation(len(ranks)) for _ in range(-(-samples // len(ranks)))]
    chosen = ranks[np.concatenate(rounds)[:samples]]
    highest = int(np.isfinite(radii).all(axis=(1, 2)).sum())
    ends = [interval(radii, forecast, percent) for percent in range(highest + 1)]
    values = np.stack([*(low[0] for low, _ in ends[::-1]), *(high[0] for _, high in ends[1:])])  # by level
    place = np.clip(highest + 100 * (2 * chosen - 1), 0, 2 * highest)  # between the values of whole percents
    below = np.minimum(place.astype(np.int64), max(0, 2 * highest - 1))
    low, high = (np.take_along_axis(values, at, axis=0) for at in (below, np.minimum(below + 1, 2 * highest)))
    paths = np.asarray(low + (place - below) * (high - low))
    return np.round(paths) if forecast.whole else paths
