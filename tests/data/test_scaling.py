"""Standard scores."""

from __future__ import annotations

import numpy as np

from optlstm.data.scaling import Standardizer


def test_standard_scores_by_column() -> None:
    values = np.array([[1.0, 5.0], [3.0, 5.0]])

    scaler = Standardizer.fit(values)

    assert scaler.mean.tolist() == [2.0, 5.0]
    assert scaler.std.tolist() == [1.0, 1.0]  # population; a constant column's is taken to be 1
    assert scaler.transform(values).tolist() == [[-1.0, 0.0], [1.0, 0.0]]
