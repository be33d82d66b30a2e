"""Scores of forecasts that need no tuning on the test rows: errors, and intervals calibrated as the model's are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from optlstm.tasks.forecast import conformal
from optlstm.tasks.forecast.calibrate import every_window, widening
from optlstm.tasks.forecast.conformal import Uncalibrated
from optlstm.tasks.forecast.errors import ErrorSums, Scores
from optlstm.tasks.forecast.prepared import PreparedSeries
from optlstm.tasks.forecast.probability import DECILES, LEVELS, QuantileSums
from optlstm.tasks.forecast.rivals import chosen_rivals, rival_forecasts
from optlstm.util.arrays import Floats, Integers

_UNCALIBRATED = ("drift",)  # one that nobody would ask for intervals
_NUMBERS = 200_000  # forecasts at a time that have `LEVELS` quantiles each
SEASONAL = "seasonal_quantiles"


class Parts(NamedTuple):
    """A batch of forecasts in the data's units: of series [n], true values and forecasts [n, columns, horizon]."""

    series: Integers
    actual: Floats
    forecasts: dict[str, Floats]


class BaselineScores:
    """The baselines of a task.

    Args:
        window: rows that NLinear reads.
        joined: those that learn, learn from training and validation rows.
    """

    def __init__(self, task: PreparedSeries, window: int, joined: bool) -> None:
        self._task, self._window = task, window
        self._scales, self._naive = task.scales(), task.naive()
        cuts = task.cuts
        self._train, self._test = cuts[:, [0, 2 if joined else 1]], cuts[:, 2:]

    def scores(self, folds: tuple[Integers, ...]) -> dict[str, Scores]:
        """By name. folds: cuts whose validation rows calibrate intervals, as they do the model's; none: no intervals.

        The empirical quantiles of the season have metrics of quantiles alone.
        """
        task, radii = self._task, self._radii(folds)
        errors: dict[str, ErrorSums] = {}
        ranges: dict[str, QuantileSums] = {}
        for series, actual, forecasts in self._forecasts(self._train, self._test, 1):
            for name, forecast in forecasts.items():
                errors.setdefault(name, self._errors()).add(series, actual, forecast)
                if name in radii:
                    ready = Uncalibrated(forecast, self._scales[1][series][:, :, None], positive=task.config.positive)
                    add_in_parts(
                        ranges.setdefault(name, self._ranges()), series, actual, calibrated(radii[name], ready)
                    )
        scores = {name: total.scores() for name, total in errors.items()}
        if folds and task.season > 1:
            ranges[SEASONAL] = self._seasonal()
        for name, sums in ranges.items():
            scores[name] = merged(scores.get(name), sums.scores())
        return scores

    def rivals(self) -> dict[str, Scores]:
        """As `scores`, of the statistical forecasts, which have no intervals."""
        task, panel, sums = self._task, self._task.panel, dict[str, ErrorSums]()
        rivals = chosen_rivals(len(panel.ids) * len(panel.columns))
        bounds = np.column_stack([self._train, self._test]) - panel.starts[:-1, None]
        for i, (start, learnt, test, end) in enumerate(bounds.tolist()):
            first = range(test, end - task.horizon + 1)
            at = np.array(first) + panel.starts[i]
            for name, rival in rivals.items():
                values = panel.inputs[panel.rows(i)]
                forecasts = rival_forecasts(rival, values, range(start, learnt), first, task.horizon, task.season)
                actual = panel.truth(at, task.horizon)
                sums.setdefault(name, self._errors()).add(np.full(len(at), i), actual, forecasts)
        return {name: total.scores() for name, total in sums.items()}

    def _radii(self, folds: tuple[Integers, ...]) -> dict[str, Floats]:
        """[levels, columns, horizon] by name."""
        horizon, std, kept = self._task.horizon, self._scales[1], dict[str, list[Floats]]()
        windows = int(sum(np.maximum(0, cuts[:, 2] - cuts[:, 1] - horizon + 1).sum() for cuts in folds))
        every = every_window(windows, std.shape[1] * horizon)
        for cuts in folds:
            for series, actual, forecasts in self._forecasts(cuts[:, :2], cuts[:, 1:3], every):
                for name in forecasts.keys() - set(_UNCALIBRATED):
                    kept.setdefault(name, []).append((actual - forecasts[name]) / std[series][:, :, None])
        errors = {name: np.concatenate(parts) for name, parts in kept.items()}
        if not folds:
            return {}
        rows = np.max([cuts[:, 2] for cuts in folds], axis=0) - np.min([cuts[:, 1] for cuts in folds], axis=0)
        wider, ready = widening(float(rows.sum()) / horizon), np.ones((1, 1, 1))
        return {name: wider * conformal.radii(Uncalibrated(np.zeros_like(e), ready), e) for name, e in errors.items()}

    def _seasonal(self) -> QuantileSums:
        """The quantiles of the rows of the same season in what baselines learn from."""
        panel, season, horizon, sums = self._task.panel, self._task.season, self._task.horizon, self._ranges()
        for i, ((start, learnt), (test, end)) in enumerate(zip(self._train.tolist(), self._test.tolist(), strict=True)):
            table = seasonal_quantiles(panel.values[start:learnt], season)  # [season, columns, levels]
            first = np.arange(test, end - horizon + 1)
            places = (first[:, None] - start + np.arange(horizon)) % season
            add_in_parts(sums, np.full(len(first), i), panel.truth(first, horizon), _of_places(table, places))
        return sums

    def _forecasts(self, train: Integers, target: Integers, every: int) -> Iterator[Parts]:
        """train, target, every: as of `PreparedSeries.baselines`."""
        mean, std = self._scales
        for i, first, forecasts in self._task.baselines(train, target, self._window, every):
            raw = {name: values * std[i][:, None] + mean[i][:, None] for name, values in forecasts.items()}
            yield Parts(np.full(len(first), i), self._task.panel.truth(first, self._task.horizon), raw)

    def _errors(self) -> ErrorSums:
        return ErrorSums(self._scales[1], self._naive, self._task.horizon)

    def _ranges(self) -> QuantileSums:
        return QuantileSums(LEVELS, self._scales[1], self._naive, self._task.horizon, DECILES)


def add_in_parts(sums: QuantileSums, series: Integers, actual: Floats, of_part: Callable[[slice], Floats]) -> None:
    """Add a batch whose quantiles would not fit into the memory at once. of_part: those of some of its windows."""
    size = max(1, _NUMBERS // actual[0].size) if len(actual) else 1
    for at in range(0, len(series), size):
        part = slice(at, at + size)
        sums.add(series[part], actual[part], of_part(part))


def calibrated(radii: Floats, forecasts: Uncalibrated) -> Callable[[slice], Floats]:
    """The quantiles at `LEVELS` of some of these forecasts, for `add_in_parts`."""
    return lambda part: conformal.quantiles(radii, forecasts[part], LEVELS)


def _of_places(table: Floats, places: Integers) -> Callable[[slice], Floats]:
    return lambda part: np.swapaxes(table[places[part]], 1, 2)  # [n, columns, horizon, levels]


def seasonal_quantiles(values: Floats, season: int) -> Floats:
    """The quantiles at `LEVELS` of the rows [rows, columns] at each place of a season, [season, columns, levels].

    A place without any value has the quantiles of all rows.
    """
    columns = values.shape[1]
    cycles = -(-len(values) // season)
    whole = np.full((cycles * season, columns), np.nan)
    whole[: len(values)] = values
    by_place = _quantiles(whole.reshape(cycles, season, columns))
    return np.where(np.isnan(by_place), _quantiles(values[:, None]), by_place)


def _quantiles(values: Floats) -> Floats:
    """Those of the first dimension of [n, places, columns], NaN left out: [places, columns, levels]."""
    ordered, count = np.sort(values, axis=0), np.count_nonzero(~np.isnan(values), axis=0)
    place = np.maximum(count - 1, 0)[..., None] * np.array(LEVELS)  # linear, as NumPy's quantiles
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(count - 1, 0)[..., None])
    low, high = (np.take_along_axis(ordered[..., None], at[None], axis=0)[0] for at in (below, above))
    return np.asarray(low + (place - below) * (high - low))


def merged(errors: Scores | None, ranges: Scores) -> Scores:
    """The metrics of point forecasts and of quantiles."""
    if errors is None:
        return ranges
    return Scores(errors.overall | ranges.overall, errors.steps | ranges.steps)
