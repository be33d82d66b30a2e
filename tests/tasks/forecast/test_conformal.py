"""Prediction intervals: the radius by its definition, the coverage by drawing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from optlstm.tasks.forecast.conformal import BASE, LEVELS, Uncalibrated, highest_level, interval, quantiles, radii
from optlstm.tasks.forecast.cross_fit import LEVELS as CROSS_LEVELS
from optlstm.tasks.forecast.cross_fit import CrossFit

RNG = np.random.default_rng(0)


def points(actual: np.ndarray, scale: float | np.ndarray = 1.0) -> Uncalibrated:
    """Uncalibrated of 0."""
    return Uncalibrated(np.zeros_like(actual), np.broadcast_to(scale, actual.shape))


def test_the_radius_is_the_smallest_that_held_in_enough_of_the_windows() -> None:
    actual = np.arange(1.0, 100.0)[::-1].reshape(99, 1, 1) * np.resize([1, -1], 99)[:, None, None]

    table = radii(points(actual), actual)[:, 0, 0]

    assert table.tolist() == [float(level) for level in LEVELS]  # rank (99 + 1) x level / 100 of 1, 2, ..., 99
    assert radii(points(actual, scale=4.0), actual)[:, 0, 0].tolist() == [level / 4 for level in LEVELS]


@pytest.mark.parametrize(("count", "highest"), [(0, 0), (1, 50), (9, 90), (8, 88), (99, 99)])
def test_too_few_windows_give_no_high_level(count: int, highest: int) -> None:
    actual = np.concatenate([np.ones((count, 1, 1)), np.full((3, 1, 1), np.nan)])  # what is not known counts nothing

    assert highest_level(count) == highest
    assert np.isfinite(radii(points(actual), actual)[:, 0, 0]).sum() == highest


def test_a_quantile_is_the_end_of_an_interval_and_what_is_between_is_interpolated() -> None:
    actual = np.arange(1.0, 100.0).reshape(99, 1, 1)
    table, one = radii(points(actual), actual), points(np.zeros((1, 1, 1)), scale=2.0)

    found = quantiles(table, one, [0.9, 0.5, 0.05, 0.333])[0, 0, 0]
    np.testing.assert_allclose(found, [160, 0, -180, -66.8])
    assert [float(end[0, 0, 0]) for end in interval(table, one, 80)] == [-160, 160]
    short = radii(points(actual[:8]), actual[:8])
    assert quantiles(short, one, [0.04, 0.06]).ravel().tolist() == [-np.inf, -16]  # 8 windows allow 88 %, not 92 %


def test_quantiles_of_a_head_are_moved_to_where_they_hold_and_never_cross() -> None:
    spread = np.exp(RNG.normal(size=(4000, 1, 1)))
    actual = spread * RNG.normal(size=(4000, 2, 3))
    too_narrow = (0.3 * spread[..., None] * norm.ppf(BASE)) * np.ones((1, 2, 3, 1))
    forecasts = Uncalibrated(np.zeros_like(actual), np.ones_like(actual), too_narrow)
    table = radii(forecasts[:2000], actual[:2000])

    for level in (50, 80, 90, 97.5):
        low, high = interval(table, forecasts[2000:], level)
        assert ((low <= actual[2000:]) & (actual[2000:] <= high)).mean() == pytest.approx(level / 100, abs=0.02)
    levels = RNG.permutation(np.arange(1, 200) / 200)
    found = quantiles(table - 0.4, forecasts[2000:2100], levels)  # so that some intervals turn around
    assert (np.diff(found[..., np.argsort(levels)], axis=-1) >= 0).all()


def test_exchangeable_errors_are_covered_as_promised() -> None:
    actual = RNG.normal(size=(4000, 2, 3)) * [1, 2, 3]
    table = radii(points(actual)[:2000], actual[:2000])

    for level in (50, 80, 95):
        low, high = interval(table, points(actual)[2000:], level)
        assert ((low <= actual[2000:]) & (actual[2000:] <= high)).mean() == pytest.approx(level / 100, abs=0.02)


def test_coverage_is_measured_on_the_other_half_than_the_radii_come_from() -> None:
    calm, wild = RNG.normal(size=(2, 200, 1, 3)) * np.array([1, 5])[:, None, None, None]
    actual = np.concatenate([calm, wild])

    fit = CrossFit.of(points(actual), actual, gap=4, every=2)

    assert fit is not None
    assert fit.coverage.shape == (len(CROSS_LEVELS), 3)
    assert fit.pit.sum() == pytest.approx(1)
    np.testing.assert_allclose(fit.pit[[0, 4, 5, 9]], 0.2, atol=0.03)  # wild ones at calm ends, and the other way round
    of_level = dict(zip(CROSS_LEVELS, fit.coverage.mean(axis=1), strict=True))
    assert of_level[90] == pytest.approx((1 + 0.26) / 2, abs=0.05)  # wild radii hold all, calm ones 1.645 / 5
    narrow, wide = (fit.fan(number, points(actual[:1]))[90] for number in (2 * 200, 2 * 200 - 1))
    assert (narrow[1] - narrow[0]).mean() < 0.5 * (wide[1] - wide[0]).mean()
    assert CrossFit.of(points(actual[:30]), actual[:30], gap=4, every=1) is None
