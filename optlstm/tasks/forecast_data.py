"""What a forecasting task's workers need of its data. No torch: the driver prepares it, and trains nothing itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from optlstm.data.scaling import Standardizer

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


def prepare(series: Series, splits: Splits, horizon: int) -> ForecastData:
    """Standardise every column by the training rows alone."""
    scaler = Standardizer.fit(series.values[splits.train.start : splits.train.stop])
    values = scaler.transform(series.values).astype(np.float32)
    return ForecastData(values, tuple(series.columns), scaler, splits, horizon)
