"""Windows and scaling against slow loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from optlstm.data.scaling import Standardizer
from optlstm.data.windows import windows
from optlstm.errors import InputError


@pytest.mark.parametrize("reach_back", [True, False])
@pytest.mark.parametrize(("window", "horizon"), [(1, 1), (4, 2), (5, 3)])
def test_windows_are_what_a_loop_would_cut(window: int, horizon: int, reach_back: bool) -> None:
    values = torch.arange(60.0).reshape(30, 2)
    targets = range(10, 20)

    cut = windows(values, targets, window, horizon, reach_back=reach_back)

    expected = []
    for first in range(30):  # the first target row
        inside = all(row in targets for row in range(first, first + horizon))
        if inside and (reach_back or first - window in targets):
            expected.append(values[first - window : first + horizon].T)
    assert torch.equal(cut, torch.stack(expected))


def test_nothing_is_copied() -> None:
    values = torch.zeros(30, 2)

    cut = windows(values, range(0, 30), 4, 2, reach_back=False)

    assert cut.untyped_storage().data_ptr() == values.untyped_storage().data_ptr()


@pytest.mark.parametrize("horizon", [24, 48, 168])
@pytest.mark.parametrize("window", [96, 336])
def test_the_ett_protocol(window: int, horizon: int) -> None:
    rows = torch.arange(17420.0)[:, None]

    train = windows(rows, range(0, 8640), window, horizon, reach_back=False)
    validation = windows(rows, range(8640, 11520), window, horizon, reach_back=True)
    test = windows(rows, range(11520, 14400), window, horizon, reach_back=True)

    assert (train.min(), train.max(), len(train)) == (0, 8639, 8640 - window - horizon + 1)
    assert (validation.min(), validation.max(), len(validation)) == (8640 - window, 11519, 2880 - horizon + 1)
    assert (test.min(), test.max(), len(test)) == (11520 - window, 14399, 2880 - horizon + 1)
    assert validation[:, 0, window].tolist() == list(range(8640, 11520 - horizon + 1))


def test_one_window_is_enough_and_none_is_an_error() -> None:
    values = torch.zeros(20, 1)

    assert len(windows(values, range(0, 6), 4, 2, reach_back=False)) == 1
    with pytest.raises(InputError, match=r"window 4 \+ horizon 2 need 6 rows, and there are 5"):
        windows(values, range(0, 5), 4, 2, reach_back=False)
    with pytest.raises(InputError, match="window 4: rows from 3 on have only 3 rows before them"):
        windows(values, range(3, 9), 4, 2, reach_back=True)


def test_standard_scores_by_column_and_back() -> None:
    values = np.array([[1.0, 5.0], [3.0, 5.0]])

    scaler = Standardizer.fit(values)

    assert scaler.mean.tolist() == [2.0, 5.0]
    assert scaler.std.tolist() == [1.0, 1.0]  # population; a constant column's is taken to be 1
    assert scaler.transform(values).tolist() == [[-1.0, 0.0], [1.0, 0.0]]
    assert scaler.inverse(scaler.transform(values)).tolist() == values.tolist()
