"""The forecasting task when its search is over: what a refit trains on, and how the test rows judge it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from optlstm.data.scaling import Standardizer
from optlstm.data.splits import Splits
from optlstm.tasks.base import Evaluation
from optlstm.tasks.forecast.baselines import Baseline, baselines
from optlstm.tasks.forecast.errors import ErrorSums, Scores, seasonal_scale
from optlstm.tasks.forecast.series_data import ForecastData, prepare
from optlstm.tasks.forecast.series_predict import Forecaster, ForecastSection
from optlstm.tasks.forecast.verdict import forecast_verdict

if TYPE_CHECKING:
    from optlstm.data.series import Series
    from optlstm.tasks.forecast.series_files import ForecastPredictor

_CALIBRATION_WINDOWS = 20_000  # residuals that are kept; of more windows, every second, third, ...
_CHUNK = 4096  # windows of a baseline at a time
_METHOD = (
    "split conformal, absolute residuals, one radius per column and horizon step, from all test windows;"
    " coverage measured crosswise: radii of one half of the test windows, tried on the other half"
)


@dataclass(frozen=True)
class ForecastEvaluator:
    """A series whose search is over (`tasks.base.Evaluator`)."""

    series: Series
    splits: Splits
    horizon: int

    def training_data(self, joined: bool) -> ForecastData:
        """Standardised by the training rows alone, also where the validation rows are trained on too."""
        prepared = prepare(self.series, self.splits, self.horizon)
        if not joined:
            return prepared
        splits = Splits(self._learnt(joined), self.splits.validation, self.splits.test)
        return ForecastData(prepared.values, prepared.columns, prepared.scaler, splits, prepared.horizon)

    def card_section(self) -> ForecastSection:
        series, time = self.series, self.series.time
        scaler = Standardizer.fit(self._train)
        naive = seasonal_scale(self._train, series.season)
        return ForecastSection(
            time=str(time.name),
            columns=list(series.columns),
            horizon=self.horizon,
            freq=series.freq,
            step=int(time[1]) - int(time[0]) if series.freq is None else None,
            season=series.season,
            mean=scaler.mean.tolist(),
            std=scaler.std.tolist(),
            naive=[float(value) if np.isfinite(value) else None for value in naive],
        )

    def evaluate(self, predictor: ForecastPredictor, joined: bool) -> Evaluation:
        forecaster, test = predictor.forecaster, self.splits.test
        first = range(test.start, test.stop - self.horizon + 1)
        ensemble, members, residuals, every = self._score(forecaster, first)
        scaled = forecaster.scaler.transform(self.series.values)
        known = baselines(scaled, self._learnt(joined), self.horizon, self.series.season, forecaster.window)
        rivals = {name: self._baseline(baseline, forecaster.scaler, first) for name, baseline in known.items()}
        return forecast_verdict(
            ensemble, members, rivals, residuals, method=_METHOD, every=every, gap=-(-self.horizon // every)
        )

    def _score(self, forecaster: Forecaster, first: range) -> tuple[Scores, list[Scores], NDArray[np.float32], int]:
        """Scores of the mean forecast and of each member; absolute residuals on the standardised scale, thinned."""
        sums = [self._sums(forecaster.scaler) for _ in range(len(forecaster.networks) + 1)]
        every, std = -(-len(first) // _CALIBRATION_WINDOWS), forecaster.scaler.std[:, None]
        residuals = []
        for part, each in forecaster.batches(self.series.values, first):
            actual = self._actual(part)
            for total, forecast in zip(sums, [each.mean(axis=0), *each], strict=True):
                total.add(actual, forecast)
            kept = np.arange(-(part.start - first.start) % every, len(part), every)
            residual = (np.abs(actual - each.mean(axis=0))[kept] / std).astype(np.float32)
            residuals.append(
                np.nextafter(residual, np.float32(np.inf))
            )  # never rounded down: the bound itself is inside
        scores = [total.scores() for total in sums]
        return scores[0], scores[1:], np.concatenate(residuals), every

    def _baseline(self, baseline: Baseline, scaler: Standardizer, first: range) -> Scores:
        sums = self._sums(scaler)
        for at in range(0, len(first), _CHUNK):
            part = first[at : at + _CHUNK]
            forecast = baseline(part)  # [n, columns, horizon], standardised
            sums.add(self._actual(part), forecast * scaler.std[:, None] + scaler.mean[:, None])
        return sums.scores()

    def _actual(self, first: range) -> NDArray[np.float64]:
        """[n, columns, horizon] of what came."""
        rows = self.series.values[first.start : first.stop - 1 + self.horizon]
        return np.lib.stride_tricks.sliding_window_view(rows, self.horizon, axis=0)

    def _sums(self, scaler: Standardizer) -> ErrorSums:
        return ErrorSums(scaler, seasonal_scale(self._train, self.series.season), self.horizon)

    @property
    def _train(self) -> NDArray[np.float64]:
        return self.series.values[self.splits.train.start : self.splits.train.stop]

    def _learnt(self, joined: bool) -> range:
        return range(self.splits.train.start, self.splits.validation.stop) if joined else self.splits.train
