"""How far forecasts are from what came: sums that are added up batch by batch, and the metrics they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optlstm.data.scaling import Standardizer

Floats = NDArray[np.float64]
NAMES = ("mse", "mae", "mse_raw", "mae_raw", "mase", "smape")


@dataclass(frozen=True)
class Scores:
    """Each metric over all windows, columns and steps, and each by horizon step. None: it is not defined."""

    overall: dict[str, float | None]
    steps: dict[str, list[float | None]]


class ErrorSums:
    """Sums over windows, kept for every column and horizon step; float64, so that batches may come in any size.

    Args:
        scaler: of the standardised scale that `mse` and `mae` are on.
        naive: float64 [columns], in the data's units: what `mase` divides by (Hyndman and Koehler 2006), the mean
            absolute error of the seasonal naive forecast inside the training rows. See `seasonal_scale`.
    """

    def __init__(self, scaler: Standardizer, naive: Floats, horizon: int) -> None:
        self._std, self._naive = scaler.std, naive
        shape = (len(scaler.std), horizon)
        self._squared, self._absolute, self._share = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self._windows = 0

    def add(self, actual: Floats, forecast: Floats) -> None:
        """Both [windows, columns, horizon] in the data's units."""
        error = np.abs(actual - forecast)
        size = np.abs(actual) + np.abs(forecast)
        self._squared += np.square(error).sum(axis=0)
        self._absolute += error.sum(axis=0)
        self._share += np.divide(error, size, out=np.zeros_like(error), where=size > 0).sum(axis=0)
        self._windows += len(actual)

    def scores(self) -> Scores:
        """Means over windows and columns. smape is in percent, from 0 to 200, as in the M4 competition."""
        std = self._std[:, None]
        raw = {"mse": self._squared / self._windows, "mae": self._absolute / self._windows}  # [columns, horizon]
        with np.errstate(divide="ignore", invalid="ignore"):
            found = {
                "mse": raw["mse"] / np.square(std),
                "mae": raw["mae"] / std,
                "mse_raw": raw["mse"],
                "mae_raw": raw["mae"],
                "mase": raw["mae"] / self._naive[:, None],
                "smape": 200 * self._share / self._windows,
            }
        return Scores(
            {name: finite(found[name].mean()) for name in NAMES},
            {name: [finite(value) for value in found[name].mean(axis=0)] for name in NAMES},
        )


def seasonal_scale(values: Floats, season: int) -> Floats:
    """The mean absolute change over one season in `values` [rows, columns]: [columns]; NaN of fewer rows than that."""
    if len(values) <= season:
        return np.full(values.shape[1], np.nan)
    return np.asarray(np.abs(values[season:] - values[:-season]).mean(axis=0))


def mean_and_spread(each: Sequence[dict[str, float | None]]) -> dict[str, dict[str, float | None]]:
    """{mean: {metric: value}, std: {metric: value}} over several models; the sample's standard deviation."""
    mean: dict[str, float | None] = {}
    std: dict[str, float | None] = {}
    for name in each[0]:
        values = np.array([scores[name] for scores in each], dtype=np.float64)  # None becomes NaN
        mean[name] = finite(values.mean())
        std[name] = finite(values.std(ddof=1)) if len(values) > 1 else None
    return {"mean": mean, "std": std}


def finite(value: np.floating | float) -> float | None:
    """The number, or None where it is none."""
    return float(value) if np.isfinite(value) else None
