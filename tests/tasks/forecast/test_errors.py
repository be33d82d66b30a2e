"""Metrics against their definitions, written out plainly."""

from __future__ import annotations

import numpy as np
import pytest

from optlstm.tasks.forecast.errors import NAMES, ErrorSums, mean_and_spread, seasonal_scale

RNG = np.random.default_rng(0)
TRAIN = RNG.normal(5, 3, (50, 2)) * [1, 10]
ACTUAL, FORECAST = RNG.normal(5, 3, (30, 2, 4)), RNG.normal(5, 3, (30, 2, 4))


def sums(naive: np.ndarray | None = None) -> ErrorSums:
    return ErrorSums(TRAIN.std(axis=0)[None], (seasonal_scale(TRAIN, 7) if naive is None else naive)[None], 4)


def test_each_metric_is_what_its_definition_says() -> None:
    errors = sums()
    errors.add(np.zeros(11, dtype=int), ACTUAL[:11], FORECAST[:11])  # batches of any size add up to the same
    errors.add(np.zeros(19, dtype=int), ACTUAL[11:], FORECAST[11:])
    scores = errors.scores()

    gap = np.abs(ACTUAL - FORECAST)
    scaled = gap / TRAIN.std(axis=0)[:, None]
    naive = np.array([np.mean([abs(TRAIN[i, c] - TRAIN[i - 7, c]) for i in range(7, 50)]) for c in range(2)])
    expected = {
        "mse": np.mean(scaled**2, axis=(0, 1)),
        "mae": np.mean(scaled, axis=(0, 1)),
        "mse_raw": np.mean(gap**2, axis=(0, 1)),
        "mae_raw": np.mean(gap, axis=(0, 1)),
        "mase": np.mean(gap / naive[:, None], axis=(0, 1)),
        "smape": np.mean(200 * gap / (np.abs(ACTUAL) + np.abs(FORECAST)), axis=(0, 1)),
    }
    assert list(scores.overall) == list(scores.steps) == list(NAMES) == list(expected)
    for name, steps in expected.items():
        assert scores.steps[name] == pytest.approx(steps.tolist())
        assert scores.overall[name] == pytest.approx(steps.mean())


def test_what_is_not_defined_is_none_and_no_warning() -> None:
    errors = sums(naive=np.array([0.0, np.nan]))  # a constant column, and one with fewer rows than a season
    errors.add(np.zeros(3, dtype=int), np.zeros((3, 2, 4)), np.zeros((3, 2, 4)))
    scores = errors.scores()

    assert scores.overall["mase"] is None
    assert scores.steps["mase"] == [None] * 4
    assert scores.overall["smape"] == 0  # 0 forecast, 0 came: no error


def test_mean_and_spread_are_over_the_members() -> None:
    found = mean_and_spread([{"mse": 1.0, "mase": None}, {"mse": 3.0, "mase": None}])

    assert found == {"mean": {"mse": 2.0, "mase": None}, "std": {"mse": pytest.approx(2**0.5), "mase": None}}


def test_many_series_by_hand() -> None:
    errors = ErrorSums(np.array([[2.0], [1.0]]), np.array([[4.0], [np.nan]]), 2)
    actual = np.zeros((3, 1, 2))
    forecast = np.array([[[2.0, 2.0]], [[4.0, 4.0]], [[1.0, 3.0]]])

    errors.add(np.array([0, 0, 1]), actual, forecast)

    scores = errors.scores().overall
    assert scores["mse"] == pytest.approx((1 + 1 + 4 + 4 + 1 + 9) / 6)
    assert scores["mae_raw"] == pytest.approx((2 + 2 + 4 + 4 + 1 + 3) / 6)
    assert scores["mase"] == pytest.approx(3 / 4)  # of the first series, the only one where it is defined
    assert scores["smape"] == pytest.approx(200)
