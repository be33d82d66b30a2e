"""Metrics of quantile forecasts: sums that are added up batch by batch, as `errors.ErrorSums` for point forecasts.

pinball_10   mean pinball loss of the level 0.1 (Koenker and Bassett 1978), standardised scale
wql          weighted quantile loss, as GluonTS and AutoGluon define it: 2 x pinball loss over the sum of absolute
             values, in the data's units, mean over levels
crps         continuous ranked probability score: the integral of 2 x pinball loss over the levels (Gneiting
             and Raftery 2007), standardised scale; of a point forecast it is the mae
msis         mean scaled interval score at 95 % of the M4 competition (Makridakis et al. 2020), scaled as mase
coverage_80  share of true values inside the central interval of 80 %
width_80     mean width of that interval, standardised scale
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from optlstm.tasks.forecast.errors import Scores, finite, mean_of_given
from optlstm.util.arrays import Floats, Integers

DECILES = tuple(k / 10 for k in range(1, 10))  # AutoGluon's default levels
INTERVALS = (80, 90)  # percent, whose coverage and width are measured
MSIS_LEVEL = 95  # percent, as in the M4 competition
LEVELS = tuple(sorted({k / 20 for k in range(1, 20)} | {0.025, 0.975}))  # those that every metric here needs

_ORDER = ("wql", "crps", "msis", "coverage", "width", "pinball")


def ends(percent: float) -> tuple[float, float]:
    """The levels of the quantiles that a central interval lies between."""
    tail = round(0.5 - percent / 200, 6)
    return tail, round(1 - tail, 6)


def level_name(level: float) -> str:
    """`10` of 0.1, `2.5` of 0.025."""
    return f"{round(100 * level, 6):g}"


def pinball(actual: Floats, quantile: Floats, level: float) -> Floats:
    """The pinball loss of each forecast quantile of one level."""
    error = actual - quantile
    return np.maximum(level * error, (level - 1) * error)


def interval_score(actual: Floats, low: Floats, high: Floats, percent: float) -> Floats:
    """Width, and 2 / (1 - level) times how far the value lies outside (Winkler 1972; Gneiting and Raftery 2007)."""
    outside = np.maximum(low - actual, 0.0) + np.maximum(actual - high, 0.0)
    return np.asarray(high - low + outside * 200 / (100 - percent))


class QuantileSums:
    """Sums over windows of quantile forecasts, in float64, so that batches may have any size.

    Args:
        levels: of the quantiles, increasing, in (0, 1). An interval is measured where both its ends are among them.
        std: [series, columns], of the standardised scale.
        naive: [series, columns], in the data's units: what `msis` divides by, as `mase`.
        scored: the levels of `pinball_*` and `wql`; None: all.
    """

    def __init__(
        self, levels: Sequence[float], std: Floats, naive: Floats, horizon: int, scored: Sequence[float] | None = None
    ) -> None:
        self.levels, self._std, self._naive = tuple(levels), std, naive[:, :, None]
        self._scored = [i for i, level in enumerate(self.levels) if scored is None or level in scored]
        places = {round(level, 6): i for i, level in enumerate(self.levels)}
        pairs = {percent: ends(percent) for percent in (*INTERVALS, MSIS_LEVEL)}
        self._pairs = {p: (places[a], places[b]) for p, (a, b) in pairs.items() if a in places and b in places}
        columns = std.shape[1]
        self._loss, self._loss_raw = np.zeros((2, len(self.levels), columns, horizon))
        self._size, self._count = np.zeros((2, columns, horizon))
        self._inside = {percent: np.zeros((columns, horizon)) for percent in self._pairs}
        self._width = {percent: np.zeros((columns, horizon)) for percent in self._pairs}
        self._msis, self._msis_count = np.zeros((2, len(std), columns, horizon))

    def add(self, series: Integers, actual: Floats, quantiles: Floats) -> None:
        """Add a batch, in the data's units.

        Args:
            series: [windows], in order.
            actual: [windows, columns, horizon]; where it is NaN there is no truth, and nothing is counted.
            quantiles: [windows, columns, horizon, levels].
        """
        given = ~np.isnan(actual)
        known = np.where(given, actual, 0.0)
        std = self._std[series][:, :, None]
        for i, level in enumerate(self.levels):
            loss = np.where(given, pinball(known, quantiles[..., i], level), 0.0)
            self._loss_raw[i] += loss.sum(axis=0)
            self._loss[i] += (loss / std).sum(axis=0)
        self._size += np.abs(known).sum(axis=0)
        self._count += given.sum(axis=0)
        for percent, (a, b) in self._pairs.items():
            low, high = quantiles[..., a], quantiles[..., b]
            self._inside[percent] += (given & (low <= known) & (known <= high)).sum(axis=0)
            self._width[percent] += np.where(given, (high - low) / std, 0.0).sum(axis=0)
        if MSIS_LEVEL in self._pairs:
            a, b = self._pairs[MSIS_LEVEL]
            score = interval_score(known, quantiles[..., a], quantiles[..., b], MSIS_LEVEL)
            at = np.concatenate([[0], np.flatnonzero(np.diff(series)) + 1])  # where each series begins
            self._msis[series[at]] += np.add.reduceat(np.where(given, score, 0.0), at, axis=0)
            self._msis_count[series[at]] += np.add.reduceat(given, at, axis=0, dtype=np.int64)

    def scores(self) -> Scores:
        """Means over all windows of all series, and over columns; msis over the series where it is defined."""
        overall: dict[str, float | None] = {}
        steps: dict[str, list[float | None]] = {}
        with np.errstate(divide="ignore", invalid="ignore"):
            for name, (total, count) in self._ratios().items():
                whole = total.sum(axis=1) / count.sum(axis=1)  # [columns]
                overall[name] = finite(float(mean_of_given(whole)))
                steps[name] = [finite(value) for value in mean_of_given(total / count)]
            if MSIS_LEVEL in self._pairs:
                means = self._msis / self._msis_count / self._naive  # [series, columns, horizon]
                defined = (np.isfinite(self._naive) & (self._naive > 0)).all(axis=(1, 2))
                by_step = mean_of_given(means[defined])  # [columns, horizon]
                overall["msis"] = finite(float(mean_of_given(by_step.reshape(-1))))
                steps["msis"] = [finite(value) for value in mean_of_given(by_step)]
        names = sorted(overall, key=lambda name: _ORDER.index(name.split("_")[0]))
        return Scores({name: overall[name] for name in names}, {name: steps[name] for name in names})

    def _ratios(self) -> dict[str, tuple[Floats, Floats]]:
        """By metric what is added up, and what it is divided by, [columns, horizon] each."""
        edges = np.array([0.0, *(np.array(self.levels[1:]) + self.levels[:-1]) / 2, 1.0])
        share = np.diff(edges)[:, None, None]  # of the levels from 0 to 1 that each one stands for
        ratios = {"wql": (2 * self._loss_raw[self._scored].mean(axis=0), self._size)}
        ratios["crps"] = (2 * (share * self._loss).sum(axis=0), self._count)
        for percent in (p for p in self._pairs if p in INTERVALS):
            # An interval without an end covers nothing that could be promised.
            bounded = np.where(np.isfinite(self._width[percent]), self._inside[percent], np.nan)
            ratios[f"coverage_{percent}"] = (bounded, self._count)
            ratios[f"width_{percent}"] = (self._width[percent], self._count)
        names = {i: f"pinball_{level_name(self.levels[i])}" for i in self._scored}
        return ratios | {name: (self._loss[i], self._count) for i, name in names.items()}
