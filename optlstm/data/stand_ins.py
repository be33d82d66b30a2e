"""Values that stand for a gap: those that `data.missing` names, and those that look like one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from optlstm.data.file_format import FileOptions
from optlstm.util.arrays import Floats
from optlstm.util.format import quoted

_LOOK_SO = (99.0, 99.9, 99.99, 999.0, 999.9, 999.99, 9999.0, 9999.9, 9999.99, 99999.0, 999999.0)
_NEGATIVE = (*(-value for value in _LOOK_SO), -200.0, -32767.0, -32768.0)
_LEAST, _LEAST_SHARE = 3, 1e-3  # how often a value stands in a column that may stand for a gap


def empty_cells(column: pd.Series, numbers: Floats, options: FileOptions) -> npt.NDArray[np.bool_]:
    """Which cells of a column are empty, or hold a value that stands for a gap: there, `numbers` become NaN, [rows]."""
    empty: npt.NDArray[np.bool_] = column.isna().to_numpy()
    if options.missing_numbers:
        empty = empty | np.isin(numbers, options.missing_numbers)
    if options.missing_texts and not pd.api.types.is_numeric_dtype(column):
        empty = empty | column.astype("str").isin(options.missing_texts).to_numpy()
    numbers[empty] = np.nan
    return empty


def likely_stand_in(file: str, columns: Sequence[object], numbers: Floats) -> list[str]:
    """A line on a number at the edge of a column's range that often stands for a gap, and does so often here.

    numbers: [rows], or [rows, columns].
    """
    if not numbers.size or np.isnan(numbers).all():
        return []
    for edge, known in ((np.nanmin(numbers), _NEGATIVE), (np.nanmax(numbers), _LOOK_SO)):
        if edge not in known:
            continue
        others = numbers[(numbers != edge) & ~np.isnan(numbers)]
        count = numbers.size - others.size - int(np.isnan(numbers).sum())
        near = others[(others - edge / 2) * edge > 0]  # beyond half of it: it may be one of many
        if count >= max(_LEAST, _LEAST_SHARE * numbers.size) and others.size and not near.size:
            which = f"column {quoted(columns[0])}" if len(columns) == 1 else f"{len(columns)} columns"
            remedy = f"if it stands for a missing value, --set data.missing={edge:g}"
            return [f"data: {edge:g} stands {count:,} times in {which} of {file}, far from all else; {remedy}"]
    return []
