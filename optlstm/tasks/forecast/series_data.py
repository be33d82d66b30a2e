"""What a forecasting task's workers need of its data. No torch: the driver prepares it, and trains nothing itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from optlstm.data.scaling import Standardizer
from optlstm.training.factory import Shape
from optlstm.training.hparams import Hyperparameters

if TYPE_CHECKING:  # they bring pandas, which a worker has no use for
    from optlstm.data.series import Series
    from optlstm.data.splits import Splits


@dataclass(frozen=True, eq=False)
class ForecastData:
    """All that a worker needs of the data. values: float32 [rows, columns], standardised; it may be a memmap."""

    values: NDArray[np.float32]
    columns: tuple[str, ...]
    scaler: Standardizer
    splits: Splits
    horizon: int
    folds: tuple[Splits, ...] = ()  # of a rolling-origin validation; without them `splits` alone

    def shape(self, hp: Hyperparameters) -> Shape:
        """Of the networks: each column is a sequence of its own."""
        return window_shape(hp, self.horizon)


def window_shape(hp: Hyperparameters, horizon: int) -> Shape:
    """A window to a horizon."""
    return Shape({"window": hp.window}, horizon)


def prepare(series: Series, splits: Splits, horizon: int, folds: tuple[Splits, ...] = ()) -> ForecastData:
    """Standardise every column by the training rows alone; with folds by the first's, which every fold trains on."""
    known = folds[0].train if folds else splits.train
    scaler = Standardizer.fit(series.values[known.start : known.stop])
    values = scaler.transform(series.values).astype(np.float32)
    return ForecastData(values, tuple(series.columns), scaler, splits, horizon, folds)
