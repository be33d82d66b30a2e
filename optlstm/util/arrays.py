"""The types of NumPy arrays in signatures (their shapes are in the docstrings), and row numbers of many ranges."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def row_ranges(begin: Integers, counts: Integers) -> tuple[Integers, Integers]:
    """(rows, i): the rows begin[i], ..., begin[i] + counts[i] - 1 for every i, one range after the other."""
    i = np.repeat(np.arange(len(begin)), counts)
    return np.repeat(begin - np.cumsum(counts) + counts, counts) + np.arange(int(counts.sum())), i
