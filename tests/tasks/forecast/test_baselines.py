"""Baselines against forecasts written out row by row."""

from __future__ import annotations

import numpy as np
import pytest

from optlstm.tasks.forecast import baselines as module
from optlstm.tasks.forecast.baselines import baselines, nlinear_weights

RNG = np.random.default_rng(1)
VALUES = RNG.normal(size=(80, 2)).cumsum(axis=0)
FIRST = range(60, 77)  # rows that are the first to forecast
HORIZON, SEASON, WINDOW = 4, 3, 6


def forecasts_of(
    values: np.ndarray = VALUES, train: range = range(50), first: range = FIRST, season: int = SEASON
) -> dict[str, np.ndarray]:
    """[windows, columns, horizon] by name, of one series."""
    ((_, rows, forecasts),) = baselines(lambda _: values, [train], [first], WINDOW, HORIZON, season)
    assert rows == first
    return forecasts


def test_each_baseline_forecasts_what_its_name_says() -> None:
    forecasts = forecasts_of()

    assert list(forecasts) == ["naive", "seasonal_naive", "drift", "nlinear"]
    assert {forecast.shape for forecast in forecasts.values()} == {(len(FIRST), 2, HORIZON)}
    for n, row in enumerate(FIRST):
        for h in range(HORIZON):
            slope = (VALUES[row - 1] - VALUES[0]) / (row - 1)
            np.testing.assert_allclose(forecasts["naive"][n, :, h], VALUES[row - 1])
            np.testing.assert_allclose(forecasts["seasonal_naive"][n, :, h], VALUES[row - SEASON + h % SEASON])
            np.testing.assert_allclose(forecasts["drift"][n, :, h], VALUES[row - 1] + (h + 1) * slope)


@pytest.mark.parametrize("chunk_bytes", [1, 1 << 30])
def test_nlinear_is_the_least_squares_solution(monkeypatch: pytest.MonkeyPatch, chunk_bytes: int) -> None:
    monkeypatch.setattr(module, "_CHUNK_BYTES", chunk_bytes)
    train = range(10, 50)

    forecast = forecasts_of(train=train)["nlinear"]

    inputs, targets = [], []
    for start in range(train.start, train.stop - WINDOW - HORIZON + 1):
        for column in VALUES.T:
            window, coming = column[start : start + WINDOW], column[start + WINDOW : start + WINDOW + HORIZON]
            inputs.append([*(window[:-1] - window[-1]), 1.0])
            targets.append(coming - window[-1])
    weights = np.linalg.lstsq(np.array(inputs), np.array(targets), rcond=None)[0]
    for n, row in enumerate(FIRST):
        for c, column in enumerate(VALUES.T):
            window = column[row - WINDOW : row]
            expected = np.array([*(window[:-1] - window[-1]), 1.0]) @ weights + window[-1]
            np.testing.assert_allclose(forecast[n, c], expected, atol=1e-8)


def test_nlinear_learns_from_its_rows_alone() -> None:
    changed = VALUES.copy()
    changed[50:] += 100

    np.testing.assert_array_equal(
        nlinear_weights([(VALUES, range(50), None)], WINDOW, HORIZON),
        nlinear_weights([(changed, range(50), None)], WINDOW, HORIZON),
    )


def test_a_short_series_is_as_if_its_first_row_stood_before_it() -> None:
    long, short = np.random.default_rng(2).normal(size=(40, 1)), np.arange(10.0)[:, None]
    longer = np.concatenate([np.repeat(short[:1], 5, axis=0), short])

    def forecasts(second: np.ndarray, begin: range) -> np.ndarray:
        values = [long, second]
        parts = baselines(values.__getitem__, [range(40), range(4)], [range(30, 31), begin], 8, 2, 1)
        return [by_name["nlinear"] for _, _, by_name in parts][1]

    assert np.array_equal(forecasts(short, range(4, 9)), forecasts(longer, range(9, 14)))


def test_no_forecast_sees_what_it_forecasts() -> None:
    changed = VALUES.copy()
    changed[60:] += 100

    first = range(60, 61)
    known = forecasts_of(first=first)
    for name, forecast in forecasts_of(changed, first=first).items():
        np.testing.assert_array_equal(forecast, known[name])


def test_without_a_season_there_is_no_seasonal_naive() -> None:
    assert "seasonal_naive" not in forecasts_of(season=1)
    assert "seasonal_naive" not in forecasts_of(season=FIRST.start + 1)
    assert "seasonal_naive" in forecasts_of(season=FIRST.start)


def test_of_many_series_each_is_forecast_alone_and_every_so_many_rows() -> None:
    both = (VALUES, 10 * VALUES[::-1])
    firsts = [range(60, 77, 3), range(50, 77, 3)]

    found = list(baselines(lambda i: both[i], [range(50), range(40)], firsts, WINDOW, HORIZON, SEASON))

    assert [(i, rows) for i, rows, _ in found] == [(0, firsts[0]), (1, firsts[1])]
    for i, rows, forecasts in found:
        alone = forecasts_of(both[i], first=range(rows.start, rows.stop))
        for name in ("naive", "seasonal_naive", "drift"):
            np.testing.assert_array_equal(forecasts[name], alone[name][::3])
        assert forecasts["nlinear"].shape == (len(rows), 2, HORIZON)
