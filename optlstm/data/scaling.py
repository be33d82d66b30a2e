"""Standard scores, column by column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optlstm.util.arrays import Floats


@dataclass(frozen=True, eq=False)
class Standardizer:
    """Takes each column's mean away and divides by its standard deviation. mean, std: float64 [columns]."""

    mean: Floats
    std: Floats

    @classmethod
    def fit(cls, values: Floats) -> Standardizer:
        """From rows [rows, columns]: population standard deviation; that of a constant column is taken to be 1."""
        std = values.std(axis=0, dtype=np.float64)
        return cls(values.mean(axis=0, dtype=np.float64), np.where(std > 0, std, 1.0))

    def transform(self, values: Floats) -> Floats:
        """The data's units -> standardised scale; the last dimension counts the columns."""
        return (values - self.mean) / self.std
