"""Calibration of a forecaster by windows that its networks were not trained on; and what suits it best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from optlstm.tasks.forecast import conformal
from optlstm.tasks.forecast.conformal import BASE, Uncalibrated, highest_level, least_count
from optlstm.tasks.forecast.data import ForecastData
from optlstm.tasks.forecast.errors import mean_of_given, students
from optlstm.tasks.forecast.forecaster import Forecaster, Forecasts
from optlstm.tasks.forecast.local_scale import LocalScale
from optlstm.tasks.forecast.losses import LOSSES, HeadSpec
from optlstm.tasks.forecast.probability import INTERVALS, interval_score
from optlstm.util.arrays import Floats, Integers

Method = Literal["constant", "local", "quantiles"]
METHODS: dict[Method, str] = {
    "constant": "one radius per column and horizon step",
    "local": "a radius per column and horizon step, times the error to be expected there",
    "quantiles": "the head's quantiles, moved by a radius per column and horizon step",
}
_MOST_WINDOWS = 20_000  # of more, every second, third, ...
_MOST_NUMBERS = 4_000_000
LEAST_SPREAD = 0.05  # of the coverage of some windows
_LEAST_GAIN = 0.01  # of the usual method's score: less is not worth another one
WIDER = 0.75  # of radii of one window
CHANCE = 2.0  # standard errors: what is further off than these has other reasons


@dataclass(frozen=True)
class Rows:
    """What a local scale reads of series. ticks: of all rows; season: rows, 1: none."""

    data: ForecastData
    ticks: Integers
    season: int


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """Forecasts of windows, in the data's units.

    Args:
        first, series: [n], the first row that each window forecasts, and its series.
        point: [n, columns, horizon].
        base: quantiles at the levels `BASE`, where the head has them, [n, columns, horizon, levels].
    """

    first: Integers
    series: Integers
    point: Floats
    base: NDArray[np.floating] | None = None

    @classmethod
    def of(cls, forecaster: Forecaster, batch: Forecasts, first: Integers, series: Integers) -> Predicted:
        """A batch of forecasts from the rows `first` of `series` on."""
        base = None if batch.quantiles is None else forecaster.mean(batch.quantiles)
        return cls(first=first[batch.part], series=series[batch.part], point=forecaster.mean(batch.points), base=base)


@dataclass(frozen=True, kw_only=True)
class HeldOut(Predicted):
    """Forecasts of windows that no network was trained on, beside what came.

    Args:
        actual: [n, columns, horizon], NaN where it is not known.
    """

    actual: Floats

    @property
    def independent(self) -> float:
        """How many windows would have as many target rows if none overlapped: the others say little more."""
        horizon: int = self.actual.shape[2]
        covered = np.zeros(int(self.first.max(initial=0)) + horizon, dtype=bool)
        for step in range(horizon):
            covered[self.first + step] = True
        return int(np.count_nonzero(covered)) / horizon

    def __getitem__(self, part: slice | Integers) -> HeldOut:
        picked: dict[str, Any] = {name: None if v is None else v[part] for name, v in vars(self).items()}
        return HeldOut(**picked)

    @classmethod
    def joined(cls, parts: Sequence[HeldOut]) -> HeldOut:
        """One after the other."""
        names = [name for name, value in vars(parts[0]).items() if value is not None]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


@dataclass(frozen=True)
class Bounds:
    """What values can be: as of `Uncalibrated`."""

    positive: bool = False
    whole: bool = False

    @classmethod
    def of(cls, head: HeadSpec) -> Bounds:
        """Those of a head's forecasts."""
        counts = LOSSES[head.loss].counts
        return cls(head.positive or counts, counts)


@dataclass(frozen=True)
class Calibration:
    """What makes a forecaster's quantiles and intervals.

    Args:
        radii: [levels, columns, horizon]: see `conformal`.
        local: the scale of the method `local`.
    """

    method: Method
    radii: Floats
    local: LocalScale | None = None
    bounds: Bounds = Bounds()

    @property
    def levels(self) -> Sequence[float]:
        """Of the quantiles that a head is asked for."""
        return BASE if self.method == "quantiles" else ()

    @classmethod
    def of(cls, method: Method, rows: Rows, windows: HeldOut, bounds: Bounds) -> Calibration:
        """By these windows."""
        local = None
        if method == "local":
            point = standardised(windows.point, rows.data, windows.series)
            error = standardised(windows.actual, rows.data, windows.series) - point
            local = LocalScale.fit(rows.data, rows.ticks, rows.season, windows.first, windows.series, point, error)
        fitted = cls(method, np.empty(0), local, bounds)
        radii = conformal.radii(fitted.forecasts(rows, windows), windows.actual)
        return replace(fitted, radii=radii if method == "quantiles" else radii * widening(windows.independent))

    def forecasts(self, rows: Rows, windows: Predicted) -> Uncalibrated:
        """Forecasts of windows, ready for `conformal.interval` and `conformal.quantiles`."""
        scale = rows.data.std[windows.series][:, :, None]
        if self.local is not None:
            point = standardised(windows.point, rows.data, windows.series)
            scale = scale * self.local.of(rows.data, rows.ticks, windows.first, windows.series, point)
        base = windows.base if self.method == "quantiles" else None
        return Uncalibrated(windows.point, scale, base, self.bounds.positive, self.bounds.whole)


def choose_method(rows: Rows, windows: HeldOut, gap: int, bounds: Bounds) -> tuple[Method, dict[str, float]]:
    """The method of the smaller interval score, where chance does not explain the difference; and the scores.

    The score of an interval is its width and what the values outside cost (`interval_score`), on the standardised
    scale, here the mean of 80 % and 90 %. It is measured crosswise: radii of one half of the windows, tried on the
    other. The usual method, the head's quantiles or a constant radius, has fewer parameters to fit, and few windows
    often favour another one by chance: its mean gain must be above two standard errors, of blocks of windows.

    Args:
        windows: oldest first.
        gap: windows to leave out at the cut, so that no row is a target in both halves; a block has as many.
    """
    middle = len(windows.first) // 2
    halves = windows[: max(0, middle - gap // 2)], windows[middle + (gap + 1) // 2 :]
    usual: Method = "constant" if windows.base is None else "quantiles"
    if min(highest_level(least_count(half.actual)) for half in halves) < max(INTERVALS):
        return usual, {}
    methods: tuple[Method, ...] = ("constant", "local", *(("quantiles",) if windows.base is not None else ()))
    scores = {
        method: np.concatenate(
            [_scores(Calibration.of(method, rows, a, bounds), rows, b) for a, b in (halves, halves[::-1])]
        )
        for method in methods
    }
    blocks = max(1, len(scores[usual]) // max(1, gap))
    better = [method for method in methods if _is_better(scores[method], scores[usual], blocks)]
    means = {str(method): float(np.nanmean(of_windows)) for method, of_windows in scores.items()}
    return min(better, key=lambda method: means[method], default=usual), means


def _is_better(scores: Floats, usual: Floats, blocks: int) -> bool:
    """Whether scores of windows [n] are lower than the usual ones by more than chance explains."""
    gains = np.array([float(mean_of_given(part)) for part in np.array_split(usual - scores, blocks)])
    gains = gains[~np.isnan(gains)]
    if len(gains) < 2:
        return False
    error = float(np.std(gains, ddof=1)) / math.sqrt(len(gains))
    least = max(students(CHANCE, len(gains) - 1) * error, _LEAST_GAIN * float(mean_of_given(usual)))
    return float(gains.mean()) > least


def least_coverage(inside: Floats, level: int, blocks: int) -> float:
    """The lowest share of values inside that chance alone explains.

    Windows that overlap miss together: the standard error follows from the shares of blocks of them, about a horizon
    long each.

    Args:
        inside: of each window the share inside, oldest first, [n]; NaN where no value is known.
        level: of the interval, percent.
    """
    shares = [float(np.nanmean(block)) for block in np.array_split(inside, blocks) if not np.isnan(block).all()]
    promised = level / 100
    spread = max(LEAST_SPREAD, float(np.std(shares, ddof=1))) if len(shares) > 1 else math.sqrt(promised - promised**2)
    return max(0.0, promised - students(CHANCE, len(shares) - 1) * spread / math.sqrt(len(shares)))


def _scores(calibration: Calibration, rows: Rows, windows: HeldOut) -> Floats:
    """The interval score of each window, [n]; NaN where nothing is known."""
    forecasts, std = calibration.forecasts(rows, windows), rows.data.std[windows.series][:, :, None]
    intervals = ((p, *conformal.interval(calibration.radii, forecasts, p)) for p in INTERVALS)
    of_levels = [interval_score(windows.actual, low, high, p) / std for p, low, high in intervals]
    return np.asarray(mean_of_given(np.mean(of_levels, axis=0).reshape(len(std), -1).T))


def widening(independent: float) -> float:
    """What radii about a point are multiplied by, for their windows are few: so many that do not overlap.

    The model was chosen on these windows, and a series drifts, so that later errors are larger. With this factor
    intervals of other series than those of docs/accuracy.md held what they promise (docs/probabilities.md).
    """
    return 1 + WIDER / max(1.0, independent)


def every_window(count: int, numbers: int) -> int:
    """One of how many windows is kept. numbers: in a window's forecast."""
    most = min(_MOST_WINDOWS, max(1, _MOST_NUMBERS // numbers))
    return max(1, -(-count // most))


def standardised(values: Floats, data: ForecastData, series: Integers) -> Floats:
    """[n, columns, horizon] in the data's units, on the scale of each series."""
    return (values - data.mean[series][:, :, None]) / data.std[series][:, :, None]
