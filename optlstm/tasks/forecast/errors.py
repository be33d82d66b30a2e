"""Errors of forecasts: sums that are added up batch by batch, and the metrics computed from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optlstm.util.arrays import Floats, Integers

NAMES = ("mse", "mae", "mse_raw", "mae_raw", "mase", "smape")


@dataclass(frozen=True)
class Scores:
    """Metrics over all windows, columns and steps, and by horizon step. None: not defined."""

    overall: dict[str, float | None]
    steps: dict[str, list[float | None]]


class ErrorSums:
    """Sums over windows for every series, column and horizon step; float64, so that batches may have any size.

    Args:
        std: float64 [series, columns], of the standardised scale that `mse` and `mae` are on.
        naive: float64 [series, columns], in the data's units: what `mase` divides by (Hyndman and Koehler 2006), the
            mean absolute error of the seasonal naive forecast inside the training rows. See `seasonal_scale`.
    """

    def __init__(self, std: Floats, naive: Floats, horizon: int) -> None:
        self._std, self._naive = std[:, :, None], naive[:, :, None]
        shape = (*std.shape, horizon)
        self._squared, self._absolute, self._share = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self._counts = np.zeros(shape, dtype=np.int64)

    def add(self, series: Integers, actual: Floats, forecast: Floats) -> None:
        """series [windows], in order; the others [windows, columns, horizon] in the data's units.

        Where `actual` is NaN there is no truth, and nothing is counted.
        """
        given = ~np.isnan(actual)
        if not given.all():
            actual, forecast = np.where(given, actual, 0.0), np.where(given, forecast, 0.0)
        error = np.abs(actual - forecast)
        size = np.abs(actual) + np.abs(forecast)
        share = np.divide(error, size, out=np.zeros_like(error), where=size > 0)
        at = np.concatenate([[0], np.flatnonzero(np.diff(series)) + 1])  # where each series begins
        present = series[at]
        self._squared[present] += np.add.reduceat(np.square(error), at, axis=0)
        self._absolute[present] += np.add.reduceat(error, at, axis=0)
        self._share[present] += np.add.reduceat(share, at, axis=0)
        self._counts[present] += np.add.reduceat(given, at, axis=0, dtype=np.int64)

    def scores(self) -> Scores:
        """Means over all windows of all series, and over columns; of the targets that are given.

        mase is the unweighted mean over the series where it is defined. smape is in percent, from 0 to
        200, as in the M4 competition.
        """
        counts = self._counts.sum(axis=0)  # [columns, horizon]
        with np.errstate(divide="ignore", invalid="ignore"):
            scaled = self._absolute / self._counts / self._naive  # [series, columns, horizon]
        nothing = self._counts == 0
        some = ~nothing.all(axis=(1, 2), keepdims=True)  # of the series
        defined = (np.isfinite(scaled) | (nothing & some)).all(axis=(1, 2))
        sums = {
            "mse": self._squared / np.square(self._std),
            "mae": self._absolute / self._std,
            "mse_raw": self._squared,
            "mae_raw": self._absolute,
            "smape": 200 * self._share,
        }
        with np.errstate(divide="ignore", invalid="ignore"):
            means = {name: total.sum(axis=0) / counts for name, total in sums.items()}  # [columns, horizon]
        means["mase"] = mean_of_given(scaled[defined])
        return Scores(
            {name: finite(float(mean_of_given(means[name].reshape(-1)))) for name in NAMES},
            {name: [finite(value) for value in mean_of_given(means[name])] for name in NAMES},
        )


def mean_of_given(values: Floats) -> Floats:
    """The mean over the first dimension of what is not NaN; NaN where there is nothing."""
    given = ~np.isnan(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(given, values, 0.0).sum(axis=0) / given.sum(axis=0))


def seasonal_scale(values: Floats, season: int) -> Floats:
    """The mean absolute change over one season in `values` [rows, columns]: [columns]; NaN for too few rows.

    Changes from or to a missing value, NaN, are left out.
    """
    if len(values) <= season:
        return np.full(values.shape[1], np.nan)
    return mean_of_given(np.abs(values[season:] - values[:-season]))


def mean_and_spread(members: Sequence[dict[str, float | None]]) -> dict[str, dict[str, float | None]]:
    """{mean: {metric: value}, std: {metric: value}} over several networks; std is the sample's."""
    mean: dict[str, float | None] = {}
    std: dict[str, float | None] = {}
    for name in members[0]:
        values = np.array([scores[name] for scores in members], dtype=np.float64)  # None becomes NaN
        mean[name] = finite(values.mean())
        std[name] = finite(values.std(ddof=1)) if len(values) > 1 else None
    return {"mean": mean, "std": std}


def students(quantile: float, free: int) -> float:
    """Student's quantile for a normal one (Abramowitz and Stegun 26.7.5): of a spread that few numbers have shown.

    Args:
        free: Degrees of freedom.
    """
    z, n = quantile, max(1, free)
    return z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)


def finite(value: np.floating | float) -> float | None:
    """The number, or None where it is NaN or infinite."""
    return float(value) if np.isfinite(value) else None
