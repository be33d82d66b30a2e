"""How large a forecast's error is to be expected, from what is known when it is made.

The logarithm of the absolute error is regressed on how restless the newest rows are, how high the forecast is, and the
season of the time that is forecast: a running scale for conformal scores (Papadopoulos et al. 2008; Lei et al. 2018).
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from optlstm.tasks.base import CardPart
from optlstm.tasks.forecast.data import ForecastData
from optlstm.util.arrays import Floats, Integers

_WAVES = 6  # sines and cosines of a season, at most
_LEAST_ROWS, _MOST_ROWS = 8, 168  # newest rows whose changes are looked at: a season, within these
_LEAST_SPREAD = 1e-3  # on the standardised scale
_LEAST_ERROR = 0.05  # of the median error: a smaller one counts as this
_HIGHEST = 10.0  # standardised level of a forecast that is told from higher ones
_PENALTY = 5.0  # windows' worth of evidence that nothing matters
_BOUNDS = (0.01, 0.99)  # quantiles of the scale that new ones do not go beyond
_FARTHEST = 5.0  # that the logarithm of a scale lies from the middle of them


class LocalScale(CardPart):
    """The regression, on the standardised scale.

    Args:
        period: of the season, in ticks (see `ticks_of`); None: there is none. origin: where one begins.
        rows: whose changes are looked at.
        weights: of each column's features.
        bounds: of the logarithm of each column's scale.
    """

    period: Annotated[float, Field(gt=0)] | None
    origin: int
    season: Annotated[int, Field(ge=1, le=2**31)]
    rows: Annotated[int, Field(ge=1, le=_MOST_ROWS)]
    weights: list[list[float]] = Field(default_factory=list)
    bounds: list[tuple[float, float]] = Field(default_factory=list)

    @model_validator(mode="after")
    def _every_feature_has_its_weight(self) -> LocalScale:
        waves = 0 if self.period is None else self._waves
        if any(len(row) != 3 + 2 * waves for row in self.weights) or any(low > high for low, high in self.bounds):
            raise ValueError("weights or bounds are not those of a local scale")
        return self

    @property
    def _waves(self) -> int:
        return min(_WAVES, self.season // 2)

    @classmethod
    def fit(
        cls,
        data: ForecastData,
        ticks: Integers,
        season: int,
        first: Integers,
        series: Integers,
        forecast: Floats,
        error: Floats,
    ) -> LocalScale:
        """The regression over windows.

        Args:
            ticks: of all rows.
            season: rows; 1: none.
            first, series: of the windows, [n], as of `of`.
            forecast, error: [n, columns, horizon]; an error that is NaN is none.
        """
        longest = int(np.argmax(np.diff([*data.starts, len(ticks)])))
        begin, stop = ([*data.starts, len(ticks)][longest + i] for i in (0, 1))
        step = (ticks[stop - 1] - ticks[begin]) / max(1, stop - begin - 1)
        period = float(step * season) if season > 1 else None
        rows = min(max(_LEAST_ROWS, season), _MOST_ROWS)
        empty = cls(period=period, origin=int(ticks[begin]), season=season, rows=rows)
        weights, bounds = [], []
        for column in range(error.shape[1]):  # by itself: the features of all together may not fit into the memory
            features = empty._features(data, ticks, first, series, forecast, slice(column, column + 1))[:, 0]
            least = _LEAST_ERROR * np.nanmedian(np.abs(error[:, column])) or _LEAST_SPREAD
            size = np.log(np.maximum(np.abs(error[:, column]), least))
            size = size - np.nanmean(size, axis=0)  # what the steps ahead differ by is not the scale's to tell
            given = ~np.isnan(size)
            inputs = features[given]  # [errors, features]
            mean, std = inputs.mean(axis=0), np.maximum(inputs.std(axis=0), 1e-6)
            inputs = (inputs - mean) / std
            gram = inputs.T @ inputs + _PENALTY * error.shape[2] * np.eye(len(mean))
            weight = np.linalg.solve(gram, inputs.T @ size[given]) / std
            weights.append(weight.tolist())
            bounds.append(tuple(np.quantile(features[given] @ weight, _BOUNDS).tolist()))
        return empty.model_copy(update={"weights": weights, "bounds": bounds})

    def of(self, data: ForecastData, ticks: Integers, first: Integers, series: Integers, forecast: Floats) -> Floats:
        """The scale of each forecast [n, columns, horizon] from the rows `first` [n] of `series` [n] on."""
        features = self._features(data, ticks, first, series, forecast)
        scale = np.einsum("nchf,cf->nch", features, np.array(self.weights))
        low, high = np.array(self.bounds).T[:, :, None]
        # Only ratios of scales matter: about the middle no exponent overflows, whatever the features' level.
        farthest = np.minimum((high - low) / 2, _FARTHEST)
        return np.asarray(np.exp(np.clip(scale - (low + high) / 2, -farthest, farthest)))

    def _features(
        self,
        data: ForecastData,
        ticks: Integers,
        first: Integers,
        series: Integers,
        forecast: Floats,
        columns: slice = slice(None),
    ) -> Floats:
        """[n, columns, horizon, features], of these columns."""
        forecast = forecast[:, columns]
        rows = np.maximum(first[:, None] - np.arange(self.rows + 1, 0, -1), data.starts[series, None])
        newest = data.values[:, columns][rows].astype(np.float64)  # [n, rows + 1, columns]
        change = np.abs(np.diff(newest, axis=1)).mean(axis=1)  # [n, columns]
        of_window = np.log(np.stack([change, newest.std(axis=1)], axis=-1) + _LEAST_SPREAD)
        shape = (*forecast.shape, 2)
        parts = [np.broadcast_to(of_window[:, :, None], shape), np.clip(forecast, -_HIGHEST, _HIGHEST)[..., None]]
        if self.period is not None:
            at = ticks[first[:, None] + np.arange(forecast.shape[2])] - self.origin  # [n, horizon]
            waves = np.arange(1, self._waves + 1)
            angles = 2 * np.pi * (at / self.period)[..., None] * waves
            season = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)[:, None]
            parts.append(np.broadcast_to(season, (*forecast.shape, season.shape[-1])))
        return np.concatenate(parts, axis=-1)
