"""Splits: three consecutive parts, from fractions or counts, and windows that fit into them."""

from __future__ import annotations

import pytest

from optlstm.data.splits import Splits, check_windows, rolling_origin, split_rows
from optlstm.errors import InputError


@pytest.mark.parametrize(
    ("n_rows", "splits", "ends"),
    [
        (100, [0.7, 0.1, 0.2], (70, 80, 100)),
        (17420, [0.6, 0.2, 0.2], (10452, 13936, 17420)),
        (7, [0.7, 0.15, 0.15], (5, 6, 7)),
        (10, [0.9, 0.1, 0.0], (9, 10, 10)),
        (17420, [8640, 2880, 2880], (8640, 11520, 14400)),
        (3, [1, 1, 1], (1, 2, 3)),
    ],
)
def test_parts_follow_one_another(n_rows: int, splits: list[float], ends: tuple[int, int, int]) -> None:
    first, second, third = ends
    assert split_rows(n_rows, splits) == Splits(range(first), range(first, second), range(second, third))


@pytest.mark.parametrize("n_rows", range(10, 60))
def test_fractions_use_every_row_once(n_rows: int) -> None:
    parts = split_rows(n_rows, [0.7, 0.1, 0.2])
    assert [*parts.train, *parts.validation, *parts.test] == list(range(n_rows))


@pytest.mark.parametrize(
    ("n_rows", "splits", "words"),
    [
        (100, [0.7, 0.3], ["has 2 numbers, not three"]),
        (100, [0.7, 0.1, 0.3], ["sums to 1.1, not to 1"]),
        (100, [70.0, 10.0, 20.0], ["sums to 100, not to 1", "row counts"]),
        (100, [1.2, -0.1, -0.1], ["validation is -0.1"]),
        (100, [-70, 10, 20], ["train is -70"]),
        (100, [float("nan"), 0.5, 0.5], ["train is nan"]),
        (100, [True, 0, 0], ["something else than numbers"]),
        (100, ["0.7", "0.1", "0.2"], ["something else than numbers"]),
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


def test_windows_that_just_fit() -> None:
    check_windows(split_rows(168, [120, 24, 24]), window=96, horizon=24)


def test_every_part_that_is_too_short_is_named() -> None:
    with pytest.raises(InputError) as caught:
        check_windows(split_rows(165, [119, 23, 23]), window=96, horizon=24)
    train, validation, test = caught.value.problems
    assert "train has 119 rows and needs at least 120 (space.window 96 + horizon 24)" in train
    assert "validation has 23 rows and needs at least 24" in validation
    assert "test has 23 rows and needs at least 24" in test


def test_lengths_below_one_are_named_as_the_user_knows_them() -> None:
    with pytest.raises(InputError) as caught:
        check_windows(split_rows(100, [0.7, 0.1, 0.2]), window=0, horizon=0, window_name="window")
    assert caught.value.problems == [
        "window: 0 is too short; it must be at least 1",
        "horizon: 0 is too short; it must be at least 1",
    ]


def test_a_length_below_one_comes_before_what_would_follow_from_it() -> None:
    with pytest.raises(InputError) as caught:
        check_windows(split_rows(100, [0.7, 0.1, 0.2]), window=0, horizon=50)
    assert caught.value.problems == ["space.window: 0 is too short; it must be at least 1"]


def test_rolling_origins_follow_one_another_up_to_the_test() -> None:
    whole = split_rows(100, (0.7, 0.1, 0.2))

    folds = rolling_origin(whole, 3)

    assert [fold.train for fold in folds] == [range(0, 50), range(0, 60), range(0, 70)]
    assert [fold.validation for fold in folds] == [range(50, 60), range(60, 70), range(70, 80)]
    assert folds[-1] == whole


@pytest.mark.parametrize("folds", [1, 8, 50])
def test_folds_that_leave_nothing_to_train_on_are_refused(folds: int) -> None:
    with pytest.raises(
        InputError, match=f"data.folds: {folds} folds of 10 validation rows do not fit; give 0, or 2 to 7"
    ):
        rolling_origin(split_rows(100, (0.7, 0.1, 0.2)), folds)
