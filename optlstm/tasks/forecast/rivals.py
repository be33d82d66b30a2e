"""Statistical forecasts of one series at a time, of the extra `rivals`: exponential smoothing and Theta.

Each is fitted once, to the newest training rows, and then follows the series with these params: a forecast depends on
no later row (but for whether a season may multiply, which takes positive values alone).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np

from optlstm.errors import InputError
from optlstm.util.arrays import Floats, Integers
from optlstm.util.extras import install

_MOST_ROWS = 2000  # that are fitted, the newest; more take long and say little more
_LONGEST_SEASON = 24  # of exponential smoothing: it has an initial state for each of its rows
_MOST_SERIES = {"ets": 100, "theta": 2000}  # of several columns each counts
_TRENDS = ((None, False), ("add", False), ("add", True))  # and whether it is damped
_LEAST_ROWS = 12  # that are fitted; of fewer, or where all are alike, the last value is repeated
_LEAST_SHARE = 1e-4  # of the newest value in a level: Theta's drift divides by it

# (values of which the first `fitted` are fitted, fitted, rows before each forecast, horizon, season) -> forecasts
Rival = Callable[[Floats, int, Integers, int, int], Floats]
_log = logging.getLogger(__name__)


def check_installed() -> None:
    """Raises InputError without the extra."""
    if find_spec("statsmodels") is None:
        raise InputError(f"--rivals: needs statsmodels: {install('rivals')}")


def chosen_rivals(series: int) -> Mapping[str, Rival]:
    """Those that are not left out, which is logged, for so many series."""
    for name, most in _MOST_SERIES.items():
        if series > most:
            _log.warning(
                "--rivals: %s is left out: it is fitted to %d series at most, and here are %d", name, most, series
            )
    return {name: rival for name, rival in _RIVALS.items() if series <= _MOST_SERIES[name]}


def rival_forecasts(rival: Rival, values: Floats, learn: range, first: range, horizon: int, season: int) -> Floats:
    """[windows, columns, horizon], in the units of `values` [rows, columns], of which only the first may be NaN.

    Args:
        learn: rows to fit, the newest of them.
        first: rows at which forecasts begin.
        season: 1: none.
    """
    begin = max(learn.start, learn.stop - max(_MOST_ROWS, 4 * season))
    columns = []
    for column in values[begin : first[-1]].T:
        known = column[int(np.isnan(column).sum()) :]
        missing = begin + len(column) - len(known)
        fitted, at = learn.stop - missing, np.array(first) - missing
        if fitted < _LEAST_ROWS or np.ptp(known[:fitted]) == 0:
            columns.append(np.repeat(known[at - 1, None], horizon, axis=1))
        else:
            columns.append(rival(known, fitted, at, horizon, season))
    return np.stack(columns, axis=1)


def _ets(values: Floats, fitted: int, at: Integers, horizon: int, season: int) -> Floats:
    """Exponential smoothing with additive errors: of 9 combinations of trend and season that of the lowest AICc."""
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    seasons: list[str | None] = [None]
    if 1 < season <= _LONGEST_SEASON and fitted >= 3 * season:
        seasons += ["add", "mul"] if values.min() > 0 else ["add"]
    scale = float(np.abs(values[:fitted]).mean()) or 1.0

    def model(rows: int, form: tuple[Any, ...], initial: str) -> Any:
        (trend, damped), seasonal = form
        return ETSModel(
            values[:rows] / scale, trend=trend, damped_trend=damped, seasonal=seasonal,
            seasonal_periods=season if seasonal else None, initialization_method=initial,
        )  # fmt: skip

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a fit has not converged: another form is better then
        tried = [(trend, seasonal) for trend in _TRENDS for seasonal in seasons]
        scores = [model(fitted, form, "heuristic").fit(disp=False).aicc for form in tried]
        form = tried[int(np.nanargmin(scores))]
        params = model(fitted, form, "estimated").fit(disp=False).params
        states = model(len(values), form, "estimated").smooth(params)
        phi = dict(zip(states.model.param_names, params, strict=True)).get("damping_trend", 1.0)
    ahead = np.arange(1, horizon + 1)
    forecasts = np.repeat(np.asarray(states.level)[at - 1, None], horizon, axis=1)
    if form[0][0]:
        forecasts += np.asarray(states.slope)[at - 1, None] * np.cumsum(phi**ahead)
    if form[1]:
        seasonal = np.asarray(states.season)[at[:, None] - 1 + ahead - season * -(-ahead // season)]
        forecasts = forecasts * seasonal if form[1] == "mul" else forecasts + seasonal
    return np.asarray(forecasts * scale)


def _theta(values: Floats, fitted: int, at: Integers, horizon: int, season: int) -> Floats:
    """The Theta method (Assimakopoulos and Nikolopoulos 2000), seasons taken out where a test finds them."""
    from scipy.signal import lfilter  # 0.7 s
    from statsmodels.tsa.forecasting.theta import ThetaModel

    seasonal = season > 1 and fitted >= 2 * season
    multiply = float(values.min()) > 0
    method = "multiplicative" if multiply else "additive"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the optimiser
        model = ThetaModel(values[:fitted], period=season if seasonal else 1, deseasonalize=seasonal, method=method)
        fit = model.fit(disp=False)
        cycle = np.asarray(fit.forecast_components(season)["seasonal"])  # of the rows behind those that are fitted
    pattern = cycle[(np.arange(len(values) + horizon) - fitted) % season]
    plain = values / pattern[: len(values)] if multiply else values - pattern[: len(values)]
    share, drift = max(float(fit.params["alpha"]), _LEAST_SHARE), float(fit.params["b0"])
    level = lfilter([share], [1.0, share - 1.0], plain, zi=[(1 - share) * plain[0]])[0]
    ahead = np.arange(horizon)
    lag = 1 / share - (1 - share) ** at[:, None] / share
    forecasts = level[at - 1, None] + 0.5 * drift * (ahead + lag)
    seasons = pattern[at[:, None] + ahead]
    return np.asarray(forecasts * seasons if multiply else forecasts + seasons)


_RIVALS: Mapping[str, Rival] = {"ets": _ets, "theta": _theta}
