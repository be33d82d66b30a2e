"""Splits: three consecutive parts, from fractions or counts."""

from __future__ import annotations

import pytest

from optlstm.data.splits import split_rows
from optlstm.errors import InputError


@pytest.mark.parametrize(
    ("n_rows", "splits", "rows"),
    [
        (100, [0.7, 0.1, 0.2], (70, 10, 20)),
        (17420, [0.6, 0.2, 0.2], (10452, 3484, 3484)),
        (7, [0.7, 0.15, 0.15], (5, 1, 1)),
        (10, [0.9, 0.1, 0.0], (9, 1, 0)),
        (17420, [8640, 2880, 2880], (8640, 2880, 2880)),
        (3, [1, 1, 1], (1, 1, 1)),
    ],
)
def test_rows_of_the_three_parts(n_rows: int, splits: list[float], rows: tuple[int, int, int]) -> None:
    assert split_rows(n_rows, splits) == rows


@pytest.mark.parametrize("n_rows", range(10, 60))
def test_fractions_use_every_row_once(n_rows: int) -> None:
    parts = split_rows(n_rows, [0.7, 0.1, 0.2])
    assert sum(parts) == n_rows
    assert min(parts) >= 1


@pytest.mark.parametrize(
    ("n_rows", "splits", "least", "rows"),
    [
        (108, [0.7, 0.1, 0.2], 12, (74, 12, 22)),  # monthly car sales, a year ahead
        (1000, [0.7, 0.1, 0.2], 12, (700, 100, 200)),
        (100, [0.7, 0.1, 0.2], 24, (52, 24, 24)),
        (100, [0.9, 0.1, 0.0], 24, (76, 24, 0)),
        (90, [0.7, 0.1, 0.2], 24, (63, 9, 18)),  # less than half would be left to train on
        (96, [0.7, 0.1, 0.2], 24, (67, 10, 19)),
        (100, [80, 10, 10], 24, (80, 10, 10)),  # numbers are taken as they are
    ],
)
def test_a_fraction_is_a_horizon_at_least_where_half_of_the_rows_are_left(
    n_rows: int, splits: list[float], least: int, rows: tuple[int, int, int]
) -> None:
    assert split_rows(n_rows, splits, least) == rows


@pytest.mark.parametrize(
    ("n_rows", "splits", "words"),
    [
        (100, [0.7, 0.3], ["has 2 numbers, not three"]),
        (100, [0.7, 0.1, 0.3], ["sums to 1.1, not to 1"]),
        (100, [70.0, 10.0, 20.0], ["sums to 100, not to 1", "row counts"]),
        (100, [1.2, -0.1, -0.1], ["validation is -0.1"]),
        (100, [-70, 10, 20], ["train is -70"]),
        (100, [float("nan"), 0.5, 0.5], ["train is nan"]),
        (100, [True, 0, 0], ["something other than numbers"]),
        (100, ["0.7", "0.1", "0.2"], ["something other than numbers"]),
        (100, [80, 20, 20], ["80 + 20 + 20 = 120 rows asked for, and the data has 100"]),
        (10, [0.98, 0.01, 0.01], ["validation gets none of the 10 rows", "test gets none of the 10 rows"]),
        (100, [0, 50, 50], ["train gets none of the 100 rows"]),
    ],
)
def test_refused_splits(n_rows: int, splits: list[float], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        split_rows(n_rows, splits)
    assert str(caught.value).startswith("data.splits: ")
    for word in words:
        assert word in str(caught.value)


def test_two_wrong_shares_are_two_problems() -> None:
    with pytest.raises(InputError) as caught:
        split_rows(100, [2.0, -0.5, -0.5])
    assert len(caught.value.problems) == 2
