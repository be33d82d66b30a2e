"""Prediction intervals: the radius by its definition, the coverage by drawing."""

from __future__ import annotations

import numpy as np
import pytest

from optlstm.tasks.forecast.conformal import LEVELS, cross_coverage, highest_level, radii


def test_the_radius_is_the_smallest_that_held_in_enough_of_the_windows() -> None:
    residuals = np.arange(1.0, 100.0)[::-1].reshape(99, 1, 1)

    found = radii(residuals)[:, 0, 0]

    assert found.tolist() == [float(level) for level in LEVELS]  # rank (99 + 1) x level / 100 of 1, 2, ..., 99


@pytest.mark.parametrize(("count", "highest"), [(0, 0), (1, 50), (9, 90), (8, 88), (99, 99)])
def test_too_few_windows_give_no_high_level(count: int, highest: int) -> None:
    found = radii(np.ones((count, 1, 1)))[:, 0, 0]

    assert highest_level(count) == highest
    assert np.isfinite(found).sum() == highest


def test_exchangeable_residuals_are_covered_as_promised() -> None:
    residuals = np.abs(np.random.default_rng(0).normal(size=(4000, 2, 3))) * [1, 2, 3]

    measured = cross_coverage(residuals, gap=3)

    for level, found in measured.items():
        assert found["coverage"] == pytest.approx(int(level) / 100, abs=0.02)


def test_coverage_is_measured_on_other_windows_than_the_radii_come_from() -> None:
    calm, wild = np.ones((50, 1, 1)), np.full((50, 1, 1), 5.0)

    found = cross_coverage(np.concatenate([calm, wild]), gap=4)["90"]

    assert found == {"coverage": 0.5, "first_on_second": 0.0, "second_on_first": 1.0}


def test_halves_too_small_for_a_level_have_no_coverage() -> None:
    found = cross_coverage(np.ones((30, 1, 1)), gap=4)

    assert found["90"]["coverage"] == 1.0
    assert found["95"]["coverage"] is None
    assert cross_coverage(np.ones((3, 1, 1)), gap=4)["50"]["coverage"] is None
