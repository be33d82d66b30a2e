"""Whether a model still does what its test promised, on the rows that came since."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from optlstm.data.frequency import ticks_of
from optlstm.errors import InputError
from optlstm.models.model import Model
from optlstm.tasks.forecast.calibrate import LEAST_SPREAD, Predicted, Rows
from optlstm.tasks.forecast.conformal import interval
from optlstm.tasks.forecast.errors import students
from optlstm.tasks.forecast.newer import NewerSeries, newer_series
from optlstm.tasks.forecast.predictor import ForecastPredictor
from optlstm.util.arrays import Floats, Integers, row_ranges
from optlstm.util.format import listed, many, told_apart

_LEVEL = 90  # percent, of the interval whose coverage is checked
_BOUND = 3.0  # standard errors, were the spread known; a normal's quantile, of which Student's is made
_TELLING = 2 / 3  # of a level: a lower bound of what its interval holds says nothing
_SHIFT, _LEAST_BLOCKS = 5.0, 4  # deviations of the means of as many rows; how many of those there must be


@dataclass(frozen=True)
class Check:
    """The rows since against the test, JSON.

    Args:
        rows: that came since.
        error: mean absolute error on the standardised scale: since, promised, and the highest that is in bounds.
        coverage: of the 90 % interval: since, and the lowest in bounds (None: too few forecasts to say); None: there is
            no interval.
        shifts: inputs whose level since is far from what the model was trained on, in their training deviations.
        problems: what is out of bounds, a line each.
        unjudged: what there are too few rows for, a line each.
    """

    rows: int
    windows: int
    error: dict[str, float]
    coverage: dict[str, float | None] | None
    shifts: dict[str, float]
    problems: list[str] = field(default_factory=list)
    unjudged: list[str] = field(default_factory=list)

    def stored(self) -> dict[str, Any]:
        return asdict(self)


def check(model: Model, data: Path) -> Check:
    """Hold the model's forecasts of the rows that came since its last ones against its test.

    The spread of a mean error over as many windows follows from the test's own windows, in blocks of a horizon, as
    errors of windows that overlap go together.

    Raises:
        InputError: The model is not of forecasts, the file does not fit or lacks rows of the test, or too few rows have
            come.
    """
    predictor = model.predictor
    if not isinstance(predictor, ForecastPredictor):
        raise InputError("check: is for forecasts, and this model classifies")
    if not model.card.test.metrics:
        raise InputError("check: the model was not tested (data.splits), so it promised nothing")
    series = newer_series(predictor, model.card.data, data)
    assert series.new is not None
    end, horizon = series.cuts[:, 3], series.horizon
    tested, window = max(horizon, int(model.card.data["splits"][2]) // len(end)), predictor.forecaster.window
    before_new = int((series.panel.known - series.new).max())
    # Windows are padded where rows are gone, and the errors of those promise too little.
    lacks_test = series.first is not None and before_new < tested + window
    tested_from = np.maximum(series.cuts[:, 0], end - series.new - tested)
    before = None if lacks_test else _compared(predictor, series, tested_from, end - series.new)
    if before is None:
        have = f"{many(before_new, 'row')} up to the model's last{' in its longest series' * (len(end) > 1)}"
        raise InputError(
            f"data: {data.name} has {have}, and check reads {tested + window}: {tested} of the model's test and"
            f" {window} before them; give it a longer file"
        )
    since = _compared(predictor, series, end - series.new, end)
    if since is None:
        rows = int(series.new.max())
        raise InputError(
            f"data: {many(rows, 'row')} since the model's last, and a forecast has {horizon}; wait for more"
        )
    promised, now = float(np.nanmean(before.error)), float(np.nanmean(since.error))
    limit = promised + _margin(before.error, len(since.error), horizon)
    coverage, stretches = _coverage(since, before, horizon), _stretches(series)
    result = Check(
        rows=int(series.new.sum()),
        windows=len(since.error),
        error={"since": now, "promised": promised, "limit": limit},
        coverage=coverage,
        shifts=_shifts(series) if stretches >= _LEAST_BLOCKS else {},
    )
    return replace(result, problems=_problems(result), unjudged=_unjudged(result, series, stretches))


@dataclass(frozen=True)
class _Compared:
    """Forecasts of windows beside what came, the oldest first, [windows, columns, horizon].

    Args:
        error: absolute, on the standardised scale.
        inside: whether the value is in the interval; None: there is none.
    """

    error: Floats
    inside: Floats | None


def _compared(predictor: ForecastPredictor, series: NewerSeries, begin: Integers, end: Integers) -> _Compared | None:
    """Forecasts from the rows from `begin` [n] on, whose targets end before `end` [n]; None where there are none."""
    first, at = row_ranges(begin, np.maximum(0, end - begin - series.horizon + 1))
    if not len(first):
        return None
    calibration, errors, insides = predictor.calibration, [], []
    rows = Rows(series.data(), ticks_of(series.panel.time), series.season)
    levels = calibration.levels if calibration is not None else ()
    for batch in predictor.forecaster.forecasts(series.data(), first, at, levels):
        windows = Predicted.of(predictor.forecaster, batch, first, at)
        truth = series.panel.truth(windows.first, series.horizon)
        errors.append(np.abs(truth - windows.point) / series.data().std[windows.series][:, :, None])
        if calibration is not None and np.isfinite(calibration.radii[_LEVEL - 1]).all():
            low, high = interval(calibration.radii, calibration.forecasts(rows, windows), _LEVEL)
            insides.append(((low <= truth) & (truth <= high)).astype(np.float64))
    order = np.argsort(rows.ticks[first], kind="stable")
    return _Compared(np.concatenate(errors)[order], np.concatenate(insides)[order] if insides else None)


def _margin(errors: Floats, windows: int, horizon: int, least: float = 0.0) -> float:
    """How far the mean of so many successive windows may be off, by the means of the test's blocks of a horizon.

    least: of the spread of a block.
    """
    means = np.nanmean(errors.reshape(len(errors), -1), axis=1)
    block = min(horizon, max(1, len(means) // 4))
    blocks = [float(means[i : i + block].mean()) for i in range(0, len(means) - block + 1, block)]
    spread = max(least, float(np.std(blocks, ddof=1)) if len(blocks) > 1 else float(means.std()))
    error = spread * math.sqrt(1 / max(1.0, windows / block) + 1 / max(1, len(blocks)))
    return students(_BOUND, len(blocks) - 1) * error


def _coverage(since: _Compared, before: _Compared, horizon: int) -> dict[str, float | None] | None:
    if since.inside is None or before.inside is None:
        return None
    promised = _LEVEL / 100
    margin = _margin(before.inside, len(since.inside), horizon, LEAST_SPREAD)
    now, limit = float(since.inside.mean()), max(0.0, promised - margin)
    return {"level": promised, "since": now, "limit": limit if now < limit or limit >= _TELLING * promised else None}


def _stretches(series: NewerSeries) -> int:
    """How many stretches as long as what came since stand before it, in all series; a shorter one counts too."""
    assert series.new is not None
    new = np.maximum(1, series.new)
    before = np.where((series.new > 0) & (series.new < series.panel.known), series.panel.known - new, 0)
    return int(np.where(before > 0, np.maximum(1, before // new), 0).sum())


def _shifts(series: NewerSeries) -> dict[str, float]:
    """Each target's mean since, in deviations from that of the rows that it was scaled by, where it is far away."""
    assert series.new is not None
    panel, shifts = series.panel, dict[str, float]()
    for column, name in enumerate(panel.columns):
        moved, usual = [], []
        for i, new in enumerate(series.new.tolist()):
            rows = panel.values[panel.rows(i), column]
            scaled = (rows - series.data().mean[i, column]) / series.data().std[i, column]
            if 0 < new < len(scaled):
                old = scaled[:-new]
                blocks = [np.nanmean(old[k : k + new]) for k in range(0, len(old) - new + 1, new)] or [np.nanmean(old)]
                moved.append(np.nanmean(scaled[-new:]))
                usual += blocks
        now, mean = float(np.mean(moved)), float(np.mean(usual))
        if abs(now - mean) > _SHIFT * float(np.std(usual, ddof=1)):
            shifts[name] = now
    return shifts


def _unjudged(result: Check, series: NewerSeries, stretches: int) -> list[str]:
    assert series.new is not None
    lines = []
    if result.coverage is not None and result.coverage["limit"] is None:
        count = f"{many(result.windows, 'overlapping forecast')} {'is' if result.windows == 1 else 'are'}"
        lines.append(f"the {_LEVEL} % interval: {count} too few to bound what it holds")
    if stretches < _LEAST_BLOCKS:
        came = many(int(series.new.max()), "row")
        before = f"{'is' if stretches == 1 else 'are'} {many(stretches, 'stretch', 'stretches')} of as many"
        lines.append(
            f"the mean of {listed(series.panel.columns)}: {came} came, and before them there {before};"
            f" {_LEAST_BLOCKS} are needed"
        )
    return lines


def _problems(result: Check) -> list[str]:
    error, coverage, problems = result.error, result.coverage or {}, list[str]()
    if error["since"] > error["limit"]:
        times = error["since"] / error["promised"] if error["promised"] else math.inf
        now, promised, limit = told_apart(error["since"], error["promised"], error["limit"])
        problems.append(
            f"worse than its test: {times:.1f} times the mean absolute error, {now} for {promised}; in bounds up to"
            f" {limit}"
        )
    share, least = coverage.get("since"), coverage.get("limit")
    if share is not None and least is not None and share < least:
        inside, bound = told_apart(100 * share, 100 * least, digits=0, form=".{}f")
        problems.append(
            f"outside its intervals: {inside} % of the values since are in the {_LEVEL} % interval; in bounds from"
            f" {bound} % on"
        )
    for name, value in result.shifts.items():
        problems.append(
            f"shifted: the mean of {name} since is {value:+.2f} deviations from that of the training rows, farther"
            " than that of as many rows was before"
        )
    return problems


def as_json(result: Check) -> Mapping[str, Any]:
    return {**result.stored(), "in_bounds": not result.problems}
