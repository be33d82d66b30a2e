"""How far the forecasts of many series are from what came: sums by series, and the metrics of all of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from optlstm.tasks.forecast.errors import NAMES, Scores, finite

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class PanelSums:
    """Sums over windows for every series, column and horizon step; float64.

    Args:
        std: [series, columns], of each series' scale.
        naive: [series, columns], what `mase` divides by: see `metrics.ErrorSums`.
    """

    def __init__(self, std: Floats, naive: Floats, horizon: int) -> None:
        self._std, self._naive = std[:, :, None], naive[:, :, None]
        shape = (*std.shape, horizon)
        self._squared, self._absolute, self._share = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self._windows = np.zeros(len(std), dtype=np.int64)

    def add(self, series: Integers, actual: Floats, forecast: Floats) -> None:
        """series [windows], in order; the others [windows, columns, horizon] in the data's units."""
        error = np.abs(actual - forecast)
        size = np.abs(actual) + np.abs(forecast)
        share = np.divide(error, size, out=np.zeros_like(error), where=size > 0)
        at = np.concatenate([[0], np.flatnonzero(np.diff(series)) + 1])
        found = series[at]
        self._squared[found] += np.add.reduceat(np.square(error), at, axis=0)
        self._absolute[found] += np.add.reduceat(error, at, axis=0)
        self._share[found] += np.add.reduceat(share, at, axis=0)
        self._windows[found] += np.diff([*at, len(series)])

    def scores(self) -> Scores:
        """Means over all windows of all series, and over columns.

        mase is the mean over series, each counting once, of those where it is defined.
        """
        total = self._windows.sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            each = self._absolute / self._windows[:, None, None] / self._naive  # [series, columns, horizon]
        defined = np.isfinite(each).all(axis=(1, 2))
        raw = {
            "mse": self._squared / np.square(self._std),
            "mae": self._absolute / self._std,
            "mse_raw": self._squared,
            "mae_raw": self._absolute,
            "smape": 200 * self._share,
        }
        found = {name: sums.sum(axis=0) / total for name, sums in raw.items()}  # [columns, horizon]
        found["mase"] = each[defined].mean(axis=0) if defined.any() else np.full_like(found["mse"], np.nan)
        return Scores(
            {name: finite(found[name].mean()) for name in NAMES},
            {name: [finite(value) for value in found[name].mean(axis=0)] for name in NAMES},
        )
