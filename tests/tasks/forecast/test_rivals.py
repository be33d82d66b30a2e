"""Statistical forecasts: those of statsmodels at the end of the rows they are fitted to, and followed from there on."""

from __future__ import annotations

import logging
import re
import warnings

import numpy as np
import pytest

from optlstm.errors import InputError
from optlstm.tasks.forecast import rivals
from optlstm.tasks.forecast.rivals import chosen_rivals, rival_forecasts
from optlstm.util.extras import install

HORIZON, FITTED, FIRST = 5, range(60), range(60, 76)
RIVALS = chosen_rivals(1)


def series(kind: str, rows: int = 80) -> np.ndarray:
    random, row = np.random.default_rng(3), np.arange(rows)
    season = np.sin(2 * np.pi * row / 4)
    return {
        "additive": 0.1 * row + 3 * season + 0.2 * random.normal(size=rows),
        "multiplied": np.exp(0.02 * row) * (5 + 2 * season) + 0.05 * random.normal(size=rows),
        "walk": 1e6 + np.cumsum(random.normal(size=rows)),
        "zeros": (row % 7 == 0) * 1.0,
    }[kind]


def forecasts(name: str, values: np.ndarray, season: int = 4) -> np.ndarray:
    return rival_forecasts(RIVALS[name], values[:, None], FITTED, FIRST, HORIZON, season)[:, 0]


@pytest.mark.parametrize("kind", ["additive", "multiplied", "walk", "zeros"])
@pytest.mark.parametrize("name", RIVALS)
def test_no_forecast_depends_on_later_rows(name: str, kind: str) -> None:
    values = series(kind)
    later = values.copy()
    later[65:] = np.roll(later[65:], 3)

    out, other = forecasts(name, values), forecasts(name, later)

    assert out.shape == (len(FIRST), HORIZON)
    assert np.isfinite(out).all()
    np.testing.assert_array_equal(out[:6], other[:6])
    assert (out[6:] != other[6:]).any(axis=1).all()


@pytest.mark.parametrize("name", RIVALS)
def test_a_season_and_a_trend_are_forecast(name: str) -> None:
    for kind in ("additive", "multiplied"):
        values = series(kind)
        actual = np.stack([values[first : first + HORIZON] for first in FIRST])

        errors = np.square(forecasts(name, values) - actual).mean()

        assert errors < 0.1 * np.square(values[np.array(FIRST) - 1, None] - actual).mean()


def test_they_are_those_of_statsmodels() -> None:
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel
    from statsmodels.tsa.forecasting.theta import ThetaModel

    values = series("multiplied")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theta = ThetaModel(values[:60], period=4, method="multiplicative").fit().forecast(HORIZON)
        forms = [
            {"trend": trend, "damped_trend": damped} for trend, damped in ((None, False), ("add", False), ("add", True))
        ]
        scale = np.abs(values[:60]).mean()
        models = [
            ETSModel(values[:60] / scale, seasonal="mul", seasonal_periods=4, **form).fit(disp=False) for form in forms
        ]

    np.testing.assert_allclose(forecasts("theta", values)[0], theta)
    nearest = min(np.abs(model.forecast(HORIZON) * scale - forecasts("ets", values)[0]).max() for model in models)
    assert nearest < 1e-9


def test_what_cannot_be_fitted_repeats_its_last_value() -> None:
    flat, short = np.full(80, 3.5), np.arange(80.0)

    np.testing.assert_array_equal(forecasts("ets", flat), 3.5)
    out = rival_forecasts(RIVALS["theta"], short[:, None], range(9), range(9, 20), 2, 4)
    np.testing.assert_array_equal(out[:, 0], np.repeat(short[8:19, None], 2, axis=1))
    late = np.concatenate([[np.nan] * 20, series("additive")])
    np.testing.assert_array_equal(
        rival_forecasts(RIVALS["theta"], late[:, None], range(80), range(80, 96), HORIZON, 4)[:, 0],
        forecasts("theta", series("additive")),
    )


def test_many_series_have_fewer_rivals_and_none_is_there_without_the_extra(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level(logging.WARNING):
        assert [*chosen_rivals(100)] == ["ets", "theta"]
        assert [*chosen_rivals(101)] == ["theta"]
    assert caplog.messages == ["--rivals: ets is left out: it is fitted to 100 series at most, and here are 101"]

    monkeypatch.setattr(rivals, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=re.escape(f"needs statsmodels: {install('rivals')}")):
        rivals.check_installed()
