"""Seasons that show in the values of a series: patterns that repeat, as those of noise and of random walks do not.

A series less its moving average over one season is cut into cycles. In a season of that length the cycles are alike.
Without one they are not, however smooth the series is: at equal places of two cycles, a random walk less its moving
average is uncorrelated. An analysis of variance of the cycles' mean and their differences from it tells which it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy import fft, special

from optlstm.util.arrays import Floats

_MOST_ROWS = 1 << 13  # of a series, the newest
_SHORTEST = 3  # rows: what alternates is no season
_CANDIDATES = 30  # highest peaks of an autocorrelation
_LEAST_SHARE = 0.1  # of the variance, the moving average left out, that a season explains
_AS_GOOD = 0.8  # of the best share: then the shorter season is taken, of which the longer one is a multiple
_LEVEL = 1e-4  # of the tests of all lengths together (Bonferroni)
_LEVEL_OF_NAMED = 1e-3  # where one length is asked for
_WHISKER = 3.0  # interquartile ranges outside the quartiles, to which outliers are moved


def find_season(series: Sequence[Floats]) -> int:
    """The season that half of these series or more have, in rows; 1 where there is none."""
    seasons = Counter(_season(_newest(values, _MOST_ROWS)) for values in series)
    del seasons[1]
    length, votes = max(seasons.items(), key=lambda item: (item[1], -item[0]), default=(1, 0))
    return length if 2 * votes >= len(series) else 1


def shows(series: Sequence[Floats], season: int, within: int) -> bool:
    """Whether half of these series or more have a season of this length, beside the shorter one `within`."""
    votes = 0
    for values in series:
        rest = _less_season(_newest(values, max(_MOST_ROWS, 8 * season)), within)
        share, p = _strength(rest, season, least=2)
        votes += share >= _LEAST_SHARE and p < _LEVEL_OF_NAMED
    return votes > 0 and 2 * votes >= len(series)


def _newest(values: Floats, rows: int) -> Floats:
    """The newest rows, less their mean; missing ones are left out."""
    newest = values[-rows:]
    newest = newest[~np.isnan(newest)]
    return np.asarray(newest - newest.mean() if len(newest) and np.ptp(newest) > 0 else np.zeros(len(newest)))


def _season(values: Floats) -> int:
    lengths = _peaks(values) if len(values) >= 4 * _SHORTEST else []
    level = _LEVEL / max(1, len(lengths))
    significant = {length: share for length in lengths if (share := _significant(values, length, level))}
    if not significant:
        return 1
    best = max(significant, key=lambda length: (significant[length], -length))
    enough, part = _AS_GOOD * significant[best], best
    while part:
        best = part
        parts = (round(best / count) for count in range(min(_CANDIDATES, best // _SHORTEST), 1, -1))
        part = next((part for part in parts if _significant(values, part, level) >= enough), 0)
    return best


def _significant(values: Floats, season: int, level: float) -> float:
    """The share of variance that a season explains; 0 where that may be chance, or is little.

    Of a curved trend any cycles are alike: a season explains more than a length beside it.
    """
    share, p = _strength(values, season)
    if p >= level or share < _LEAST_SHARE:
        return 0.0
    beside = _strength(values, 3 * season // 4)[0] if season > 2 else 0.0
    return share if share > 2 * beside else 0.0


def _peaks(values: Floats) -> list[int]:
    """Lengths worth a test: the highest peaks of the autocorrelation, of the values less a line and their changes."""
    lags: set[int] = set()
    line = np.polynomial.Polynomial.fit(rows := np.arange(len(values)), values, 1)(rows)
    for part in (values - line, np.diff(values)):
        size = fft.next_fast_len(2 * len(part))
        spectrum = np.abs(fft.rfft(part - part.mean(), size)) ** 2 if len(part) else np.zeros(1)
        correlation = fft.irfft(spectrum, size)[: len(values) // 4 + 2]
        peaks = 1 + np.flatnonzero((correlation[1:-1] > correlation[:-2]) & (correlation[1:-1] >= correlation[2:]))
        peaks = peaks[(peaks > _SHORTEST - 1) & (correlation[peaks] > 0)]
        lags.update(peaks[np.argsort(-correlation[peaks], kind="stable")[:_CANDIDATES]].tolist())
    return sorted(lags)


def _strength(values: Floats, season: int, least: int = 3) -> tuple[float, float]:
    """The share of variance that the cycles' mean explains, and how likely so much is without a season.

    Args:
        least: cycles, beside the one that the moving average takes.
    """
    cycles = _cycles(_clipped(_less_average(values, season)), season)
    count, mean = len(cycles), cycles.mean(axis=0) if len(cycles) else 0.0
    rest, total = cycles - mean, float(np.square(cycles).sum())
    if count < least or total <= 1e-18 * float(np.square(values).sum()):
        return 0.0, 1.0
    within = float(np.square(rest).sum()) / (count - 1)
    if within <= 1e-12 * total:
        return 1.0, 0.0
    # Smooth cycles differ in fewer ways than they have rows: by the largest share of a frequency in their spectrum.
    power = np.square(np.abs(fft.rfft(rest, axis=1))).mean(axis=0)[1:]
    weights = np.where(2 * np.arange(1, len(power) + 1) == season, 1.0, 2.0)
    freedom = float(weights @ power / power.max())
    ratio = max(0.0, (total - within * (count - 1)) / within)
    p = special.fdtrc(freedom, freedom * (count - 1), ratio)  # of the F distribution
    return 1 - within * count / total, float(p)


def _less_average(values: Floats, season: int) -> Floats:
    """Less the centred moving average over a season (2 x m for an even one); half a season is lost at each end."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    average = (sums[season:] - sums[:-season]) / season
    if season % 2 == 0:
        average = (average[1:] + average[:-1]) / 2
    half = season // 2
    return np.asarray(values[half : half + len(average)] - average)


def _cycles(values: Floats, season: int) -> Floats:
    """Whole cycles up to the newest row, [cycles, season], each less its mean."""
    count = len(values) // season
    cycles = values[len(values) - count * season :].reshape(count, season)
    return np.asarray(cycles - cycles.mean(axis=1, keepdims=True))


def _clipped(values: Floats) -> Floats:
    """Outliers moved to the whiskers: a few would decide otherwise. Where half of the values are alike, as they are."""
    if not len(values):
        return values
    low, high = np.quantile(values, [0.25, 0.75])
    reach = _WHISKER * (high - low)
    return np.clip(values, low - reach, high + reach) if reach > 0 else values


def _less_season(values: Floats, season: int) -> Floats:
    """Less the mean pattern of a season."""
    cycles = _cycles(_less_average(values, season), season) if season > 1 else np.empty((0, 1))
    if not len(cycles):
        return values
    first = season // 2 + (len(values) - 2 * (season // 2)) % season  # a row at which a cycle begins
    return np.asarray(values - np.roll(cycles.mean(axis=0), first)[np.arange(len(values)) % season])
