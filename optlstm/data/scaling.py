"""Standard scores, column by column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optlstm.errors import InputError
from optlstm.util.arrays import Floats

_SMALLEST = 1e-150  # of a deviation; the squares of smaller ones are 0


def check_deviation(std: Floats, values: Floats, subject: str) -> None:
    """Raises InputError where values differ, and by so little that they would be trained on as constant.

    Args:
        std: of the columns of `values` [rows, columns], in which NaN is a gap.
    """
    small = std < _SMALLEST
    if np.any(small) and np.any(small & (np.nanmax(values, axis=0) > np.nanmin(values, axis=0))):
        raise InputError(
            f"data: {subject}: its values differ by less than {_SMALLEST:g}, too little to be standardised;"
            " multiply them by a constant"
        )


@dataclass(frozen=True, eq=False)
class Standardizer:
    """Takes each column's mean away and divides by its standard deviation. mean, std: float64 [columns]."""

    mean: Floats
    std: Floats

    @classmethod
    def fit(cls, values: Floats, subject: str) -> Standardizer:
        """From rows [rows, columns]: population standard deviation; that of a constant column is taken to be 1.

        Args:
            values: NaN is a gap, and counts nowhere.
            subject: What the rows are, for messages.

        Raises:
            InputError: They differ by too little, or a column has none.
        """
        missing = np.isnan(values)
        if missing.all(axis=0).any():
            raise InputError(f"data: {subject}: a column has no value; leave it out, or give it one")
        mean_of, std_of = (np.nanmean, np.nanstd) if missing.any() else (np.mean, np.std)
        std = std_of(values, axis=0, dtype=np.float64)
        check_deviation(std, values, subject)
        return cls(mean_of(values, axis=0, dtype=np.float64), np.where(std > 0, std, 1.0))

    def transform(self, values: Floats) -> Floats:
        """The data's units -> standardised scale; the last dimension counts the columns."""
        return (values - self.mean) / self.std
