"""Metrics of quantile forecasts against their definitions, written out plainly."""

from __future__ import annotations

import numpy as np
import pytest

from optlstm.tasks.forecast.probability import DECILES, LEVELS, QuantileSums, ends

RNG = np.random.default_rng(0)
ACTUAL = RNG.normal(2, 3, (30, 2, 4)) * np.array([1, 10])[:, None]
QUANTILES = np.sort(RNG.normal(2, 3, (30, 2, 4, len(LEVELS))), axis=-1) * np.array([1, 10])[:, None, None]
STD, NAIVE = np.array([[2.0, 5.0], [1.0, 3.0]]), np.array([[4.0, 6.0], [2.0, np.nan]])
SERIES = np.repeat([0, 1], [18, 12])


def added(values: np.ndarray, quantiles: np.ndarray) -> QuantileSums:
    sums = QuantileSums(LEVELS, STD, NAIVE, 4, DECILES)
    for part in (slice(0, 7), slice(7, 30)):  # batches of any size add up to the same
        sums.add(SERIES[part], values[part], quantiles[part])
    return sums


def test_each_metric_is_what_its_definition_says() -> None:
    actual, scores = ACTUAL, added(ACTUAL, QUANTILES).scores()

    def of_level(level: float) -> np.ndarray:
        return QUANTILES[..., LEVELS.index(level)]

    def loss(level: float) -> np.ndarray:
        below = actual < of_level(level)
        return np.where(below, (1 - level) * (of_level(level) - actual), level * (actual - of_level(level)))

    std = STD[SERIES][:, :, None]
    assert scores.overall["pinball_30"] == pytest.approx((loss(0.3) / std).mean())
    assert scores.steps["pinball_30"] == pytest.approx((loss(0.3) / std).mean(axis=(0, 1)).tolist())
    by_column = [np.mean([2 * loss(q)[:, c].sum() / np.abs(actual[:, c]).sum() for q in DECILES]) for c in (0, 1)]
    assert scores.overall["wql"] == pytest.approx(np.mean(by_column))
    for percent in (80, 90):
        low, high = map(of_level, ends(percent))
        inside = (low <= actual) & (actual <= high)
        assert scores.overall[f"coverage_{percent}"] == pytest.approx(inside.mean())
        assert scores.steps[f"width_{percent}"] == pytest.approx(((high - low) / std).mean(axis=(0, 1)).tolist())
    low, high = map(of_level, ends(95))
    score = high - low + 40 * np.where(actual < low, low - actual, 0) + 40 * np.where(actual > high, actual - high, 0)
    assert scores.overall["msis"] == pytest.approx((score[SERIES == 0] / NAIVE[0][:, None]).mean())  # of one series


def test_the_crps_is_an_integral_over_the_levels_and_the_mae_of_a_point_forecast() -> None:
    point = np.repeat(RNG.normal(2, 3, (30, 2, 4, 1)), len(LEVELS), axis=-1)
    mae = (np.abs(ACTUAL - point[..., 0]) / STD[SERIES][:, :, None]).mean()
    assert added(ACTUAL, point).scores().overall["crps"] == pytest.approx(mae)

    fine = np.arange(1, 200) / 200  # of a uniform forecast from 0 to 1 the CRPS of the value 0.5 is 1/12
    for levels in (LEVELS, tuple(fine)):
        sums = QuantileSums(levels, np.ones((1, 1)), np.ones((1, 1)), 1)
        sums.add(np.zeros(1, dtype=int), np.full((1, 1, 1), 0.5), np.array(levels)[None, None, None])
        assert sums.scores().overall["crps"] == pytest.approx(1 / 12, rel=0.02)


def test_missing_values_count_in_no_metric_and_unbounded_quantiles_have_none() -> None:
    kept = np.arange(30) % 2 == 0
    given = np.where(kept[:, None, None], ACTUAL, np.nan)
    half = QuantileSums(LEVELS, STD, NAIVE, 4, DECILES)
    half.add(SERIES[kept], ACTUAL[kept], QUANTILES[kept])
    assert added(given, QUANTILES).scores().overall == pytest.approx(half.scores().overall)

    wide = QUANTILES.copy()
    wide[..., [0, 1]], wide[..., [-2, -1]] = -np.inf, np.inf  # the levels below 10 % and above 90 %
    scores = added(ACTUAL, wide).scores().overall
    assert [name for name, value in scores.items() if value is None] == ["crps", "msis", "coverage_90", "width_90"]
