"""Errors of quantiles and of prediction intervals, added up batch by batch; float64, in the data's units.

A value that is NaN is not known, and counts nothing. Of several columns each metric is the mean over the columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optlstm.tasks.forecast.errors import Scores, finite, mean_of_given
from optlstm.util.arrays import Floats, Integers

QUANTILE_ERRORS = ("wql", "crps", "pinball", "calibration")
PROBABILISTIC = (*QUANTILE_ERRORS, "msis")
MSIS_LEVEL = 95  # percent, as in the M4 competition
_MSIS_BOUNDS = (0.025, 0.975)


class QuantileSums:
    """Errors of quantiles at these levels.

    wql: the weighted quantile loss of GluonTS and AutoGluon, the mean over the levels of 2 * sum(pinball) / sum(|y|).
    pinball: the mean pinball loss of all levels, on the standardised scale (Koenker and Bassett 1978).
    crps: twice that, the continuous ranked probability score by quantiles (Gneiting and Raftery 2007).
    calibration: the mean over the levels of |share of values that are not above the quantile - level|.

    Args:
        std: [series, columns], of the standardised scale.
    """

    def __init__(self, levels: Sequence[float], std: Floats, horizon: int) -> None:
        self.levels = np.asarray(levels, dtype=np.float64)
        self._std = std[:, :, None]
        shape = (*std.shape, horizon)
        self._pinball, self._size, self._counts = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self._covered = np.zeros((*shape[1:], len(levels)))  # [columns, horizon, levels]

    def add(self, series: Integers, actual: Floats, quantiles: Floats) -> None:
        """series [windows], in order; actual [windows, columns, horizon]; quantiles [..., levels]."""
        given = ~np.isnan(actual)
        error = np.where(given, actual, 0.0)[..., None] - np.where(given[..., None], quantiles, 0.0)
        pinball = np.maximum(self.levels * error, (self.levels - 1) * error).mean(axis=-1)
        present, total = _by_series(series)
        self._pinball[present] += total(pinball)
        self._size[present] += total(np.abs(np.where(given, actual, 0.0)))
        self._counts[present] += total(given.astype(np.float64))
        self._covered += ((error <= 0) & given[..., None]).sum(axis=0)

    def scores(self) -> Scores:
        """Of `QUANTILE_ERRORS`, over all windows of all series."""
        pinball, size, counts = (part.sum(axis=0) for part in (self._pinball, self._size, self._counts))
        scaled = (self._pinball / self._std).sum(axis=0)  # [columns, horizon]

        def metrics(axis: tuple[int, ...]) -> dict[str, Any]:
            """axis: the dimensions of [columns, horizon] that are added up."""

            def ratio(above: Floats, below: Floats) -> Floats:
                with np.errstate(divide="ignore", invalid="ignore"):
                    return np.asarray(above.sum(axis=axis) / below.sum(axis=axis))

            share = ratio(self._covered, counts[..., None])
            mean = ratio(scaled, counts)
            off = np.abs(share - self.levels).mean(axis=-1)
            return {"wql": 2 * ratio(pinball, size), "crps": 2 * mean, "pinball": mean, "calibration": off}

        return _scores(metrics((1,)), metrics(()))


class IntervalSums:
    """Errors of one prediction interval.

    coverage: the share of values inside it, its bounds included. width: its mean, on the standardised scale. msis: the
    mean scaled interval score (Gneiting and Raftery 2007), each series' divided by `naive`, as in the M4 competition.

    Args:
        level: of the interval, in percent.
        std, naive: [series, columns], see `errors.ErrorSums`.
    """

    def __init__(self, level: int, std: Floats, naive: Floats, horizon: int) -> None:
        self._level, self._std, self._naive = level, std[:, :, None], naive[:, :, None]
        shape = (*std.shape, horizon)
        self._inside, self._width, self._score, self._counts = (np.zeros(shape) for _ in range(4))

    def add(self, series: Integers, actual: Floats, low: Floats, high: Floats) -> None:
        """series [windows], in order; the others [windows, columns, horizon]."""
        given, present_total = ~np.isnan(actual), _by_series(series)
        actual, low, high = (np.where(given, part, 0.0) for part in (actual, low, high))
        present, total = present_total
        outside = np.maximum(low - actual, 0.0) + np.maximum(actual - high, 0.0)
        self._inside[present] += total(((low <= actual) & (actual <= high) & given).astype(np.float64))
        self._width[present] += total(high - low)
        self._score[present] += total(high - low + 2 / (1 - self._level / 100) * outside)
        self._counts[present] += total(given.astype(np.float64))

    def scores(self) -> Scores:
        """`coverage_80` and `width_80` of level 80; at level 95 `msis` too."""
        counts = self._counts.sum(axis=0)  # [columns, horizon]
        width = (self._width / self._std).sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            scaled = self._score / self._counts / self._naive  # [series, columns, horizon]
        nothing = self._counts == 0
        some = ~nothing.all(axis=(1, 2), keepdims=True)
        defined = (np.isfinite(scaled) | (nothing & some)).all(axis=(1, 2))
        msis = mean_of_given(scaled[defined])  # [columns, horizon]

        def metrics(axis: tuple[int, ...]) -> dict[str, Any]:
            with np.errstate(divide="ignore", invalid="ignore"):
                covered = self._inside.sum(axis=0).sum(axis=axis) / counts.sum(axis=axis)
                wide = width.sum(axis=axis) / counts.sum(axis=axis)
            named = {f"coverage_{self._level}": covered, f"width_{self._level}": wide}
            by_column = np.array([mean_of_given(row) for row in msis]) if axis else msis
            return named | ({"msis": by_column} if self._level == MSIS_LEVEL else {})

        return _scores(metrics((1,)), metrics(()))


class ProbabilisticSums:
    """Errors of quantile forecasts: those of `PROBABILISTIC` that are named.

    levels: of the quantiles that `add` takes: those that the errors are means over, and the bounds that msis needs.
    """

    def __init__(self, levels: Sequence[float], std: Floats, naive: Floats, horizon: int, names: Sequence[str]) -> None:
        self._names = names
        self.levels = tuple(sorted({*levels, *(_MSIS_BOUNDS if "msis" in names else ())}))
        self._trained = [self.levels.index(level) for level in levels]
        self._quantiles = QuantileSums(levels, std, horizon)
        self._interval = IntervalSums(MSIS_LEVEL, std, naive, horizon) if "msis" in names else None

    def add(self, series: Integers, actual: Floats, quantiles: Floats) -> None:
        """series [windows], in order; actual [windows, columns, horizon]; quantiles [..., levels]."""
        self._quantiles.add(series, actual, quantiles[..., self._trained])
        if self._interval is not None:
            low, high = (quantiles[..., self.levels.index(bound)] for bound in _MSIS_BOUNDS)
            self._interval.add(series, actual, low, high)

    def scores(self) -> dict[str, float | None]:
        """By name."""
        scores = self._quantiles.scores().overall
        scores |= self._interval.scores().overall if self._interval is not None else {}
        return {name: scores[name] for name in self._names}


def _by_series(series: Integers) -> tuple[Integers, Any]:
    """The series that are present, in order, and what adds up their windows: [windows, ...] -> [present, ...]."""
    at = np.concatenate([[0], np.flatnonzero(np.diff(series)) + 1])

    def total(values: NDArray[np.float64]) -> Floats:
        return np.add.reduceat(values, at, axis=0)

    return series[at], total


def _scores(overall: dict[str, Floats], steps: dict[str, Floats]) -> Scores:
    """overall: [columns]; steps: [columns, horizon]."""
    return Scores(
        {name: finite(float(mean_of_given(values))) for name, values in overall.items()},
        {name: [finite(value) for value in mean_of_given(values)] for name, values in steps.items()},
    )
