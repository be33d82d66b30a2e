"""Forecasting after the search: what a refit trains on, and the evaluation of the model on the test rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch

from optlstm.data.frequency import ticks_of
from optlstm.errors import InputError
from optlstm.tasks.base import Blend, Evaluation, FormCard, Metrics, TunedNetwork
from optlstm.tasks.forecast.baseline_scores import BaselineScores, add_in_parts, calibrated, merged
from optlstm.tasks.forecast.calibrate import (
    METHODS,
    Bounds,
    Calibration,
    HeldOut,
    Method,
    Predicted,
    Rows,
    choose_method,
    every_window,
    least_coverage,
)
from optlstm.tasks.forecast.conformal import BASE, highest_level, interval, least_count
from optlstm.tasks.forecast.data import ForecastData
from optlstm.tasks.forecast.errors import ErrorSums, Scores, finite, mean_of_given
from optlstm.tasks.forecast.forecaster import Forecaster, Forecasts
from optlstm.tasks.forecast.known_rows import known_rows
from optlstm.tasks.forecast.losses import HeadSpec
from optlstm.tasks.forecast.mixture import Mixture, choose_mixture, fold_member
from optlstm.tasks.forecast.paths import ranks
from optlstm.tasks.forecast.predictor import ForecastPredictor, ForecastSection
from optlstm.tasks.forecast.prepared import PreparedSeries
from optlstm.tasks.forecast.probability import DECILES, LEVELS, QuantileSums
from optlstm.tasks.forecast.rivals import check_installed
from optlstm.tasks.forecast.validation_baselines import validation_baselines
from optlstm.training.metric import DEFAULT_GOAL, Goal, Metric
from optlstm.util.arrays import Floats, Integers, row_ranges

_MEASURED = (50, 80, 90, 95)  # percent, whose coverage the card has
_METHOD = "split conformal: {} from validation windows of networks trained on training rows{}; coverage of test rows"
_SHARED = ", the same for all series, on each one's scale"
_LATER = "; for new rows the test windows are added to the calibration"


class ForecastEvaluator:
    """The `Evaluator` of forecasting."""

    def __init__(self, series: PreparedSeries, goal: Goal = DEFAULT_GOAL) -> None:
        self.head = HeadSpec.of(goal, series.levels, series.config.positive)
        self.validated = series  # with the folds of a rolling-origin validation
        self.task = replace(series, folds=())

    @cached_property
    def _scales(self) -> tuple[Floats, Floats]:
        return self.task.scales()

    @cached_property
    def _naive(self) -> Floats:
        """What `mase` divides by, [series, columns]."""
        return self.task.naive()

    def training_data(self, joined: bool) -> ForecastData:
        """Standardised by the training rows alone, also where the validation rows are trained on too."""
        data = self.task.data()
        if not joined:
            return data
        cuts = data.cuts.copy()
        cuts[:, 1] = cuts[:, 2]
        return replace(data, cuts=cuts)

    def card_section(self) -> ForecastSection:
        task, panel = self.task, self.task.panel
        mean, std = self._scales
        numbered = panel.freq is None and len(panel.time) > 1  # whole-numbered times
        return ForecastSection(
            series=panel.series,
            time=str(panel.time.name),
            time_format=panel.time_format,
            form=FormCard.of(task.config.form, panel.decimal),
            columns=list(panel.columns),
            horizon=task.horizon,
            freq=panel.freq,
            step=int(panel.time[1]) - int(panel.time[0]) if numbered else None,
            season=task.season,
            scaling=task.config.scaling,
            gaps=task.config.gaps,
            sort=task.config.sort,
            repeated=task.config.repeated,
            resample=task.config.resample,
            resample_sum=list(task.config.resample_sum),
            inputs=task.inputs(),
            ids=list(panel.ids),
            mean=mean.tolist(),
            std=std.tolist(),
            naive=[[finite(value) for value in row] for row in self._naive],
            head=self.head,
            known=known_rows(panel),
        )

    def blend(
        self,
        tuned: Callable[[], Sequence[TunedNetwork]],
        windows: Sequence[int],
        networks: int,
        joined: bool,
        metric: str,
    ) -> Blend:
        mixture = choose_mixture(self.validated.data(), tuned(), windows, self.task.season, metric, self.head.loss)
        return mixture.blend(self.training_data(joined), networks)

    def validation_baselines(self, metric: Metric, window: int) -> dict[str, float]:
        return validation_baselines(self.validated.data(), window, self.validated.season, metric)

    def check_rivals(self) -> None:
        if not (self.task.cuts[:, 3] > self.task.cuts[:, 2]).any():
            raise InputError("--rivals: there are no test rows (data.splits) to hold them against; leave it out")
        check_installed()

    def scores(self, predictor: ForecastPredictor) -> Metrics:
        """The metrics of the point forecast on the test rows, and nothing else."""
        return self._score(predictor.forecaster, None)[0].overall

    def held_out(self, tuned: Callable[[], Sequence[TunedNetwork]], blend: Blend | None) -> HeldOut | None:
        """The forecasts of the validation windows of all folds, by networks that were trained on rows before them."""
        trials, data = tuned(), self.validated.data()
        mixture = blend.mixture if blend is not None else Mixture((1 / len(trials),) * len(trials), {})
        section, parts = self.card_section(), []
        starts = [self._windows(cuts[:, 1], cuts[:, 2]) for cuts in self._folds]
        every = every_window(sum(len(first) for first, _ in starts), len(data.columns) * data.horizon)
        for i, (cuts, (first, series)) in enumerate(zip(self._folds, starts, strict=True)):
            of_fold = replace(data, cuts=cuts, folds=())
            part = mixture.blend(of_fold, 1)
            chosen = [trials[k] for k in part.trials]
            networks = [fold_member(network, i) for _, network in chosen]
            weighted = section.model_copy(update=part.card_updates)
            forecaster = weighted.predictor(networks, [hp for hp, _ in chosen], part.extras).forecaster
            kept = first[::every], series[::every]
            batches = forecaster.forecasts(of_fold, *kept, self._levels)
            parts += [self._compared(forecaster, batch, *kept) for batch in batches]
        return self._by_time(HeldOut.joined(parts)) if parts else None

    def evaluate(
        self,
        predictor: ForecastPredictor,
        joined: bool,
        rivals: bool = False,
        held_out: HeldOut | None = None,
        before: ForecastPredictor | None = None,
    ) -> Evaluation:
        """As of `tasks.base.Evaluator`.

        Args:
            before: a model of the same columns, of earlier rows: its intervals are tested, and kept where they are of
                more windows than the test rows hold.
        """
        forecaster = predictor.forecaster
        method, method_scores = self._method(held_out)
        calibration = None if held_out is None else Calibration.of(method, self._rows, held_out, self._bounds)
        calibration = calibration if before is None else before.calibration
        ensemble, members, tested = self._score(forecaster, calibration)
        networks = len(members) - bool(predictor.section.linear)
        of_baselines = BaselineScores(self.task, forecaster.window, joined)
        baselines = {} if tested is None else of_baselines.scores(self._folds if held_out is not None else ())
        baselines |= of_baselines.rivals() if rivals else {}
        both = self._by_time(HeldOut.joined([windows for windows in (held_out, tested) if windows is not None]))
        final, count = Calibration.of(method, self._rows, both, self._bounds), least_count(both.actual)
        # Never rounded down: an interval includes its bounds.
        table = np.nextafter(final.radii.astype(np.float32), np.float32(np.inf))
        of_paths: Floats | None = ranks(final.forecasts(self._rows, both), both.actual)
        if before is not None and before.calibration is not None and before.section.calibrated > count:
            final, count, of_paths = before.calibration, before.section.calibrated, before.ranks
            method, table = final.method, final.radii.astype(np.float32)
        highest = highest_level(count)
        paths = len(of_paths) if highest and of_paths is not None else 0
        many = _SHARED if len(self.task.panel.ids) > 1 else ""
        return Evaluation(
            test=ensemble.overall,
            members=[scores.overall for scores in members[:networks]],
            baselines={name: scores.overall for name, scores in baselines.items()},
            lower_is_better=dict.fromkeys(("mse", "mae", "mase", "smape", "wql", "crps", "msis"), True),
            steps=ensemble.steps,
            baseline_steps={name: scores.steps for name, scores in baselines.items()},
            intervals={
                "method": _METHOD.format(METHODS[method], many) + _LATER,
                "kind": method,
                "interval_scores": method_scores,
                "validation_windows": 0 if held_out is None else least_count(held_out.actual),
                "test_windows": 0 if tested is None else least_count(tested.actual),
                "windows": count,
                "highest_level": highest,
                "measured": self._coverage(calibration, tested),
            },
            extras={
                **({"radii": torch.from_numpy(table)} if highest else {}),
                **({"ranks": torch.from_numpy(np.asarray(of_paths, dtype=np.float32))} if paths else {}),
            },
            card_updates={
                "calibrated": count if highest else 0,
                "calibration": method,
                "local_scale": final.local,
                "paths": paths,
            },
        )

    def _score(
        self, forecaster: Forecaster, calibration: Calibration | None
    ) -> tuple[Scores, Sequence[Scores], HeldOut | None]:
        """Scores of the forecast and of each of its parts, and the forecast beside what came; of no rows, none."""
        first, series = self._windows(self.task.cuts[:, 2], self.task.cuts[:, 3])
        if not len(first):
            return Scores({}, {}), (), None
        sums = [ErrorSums(self._scales[1], self._naive, self.task.horizon) for _ in range(len(forecaster.networks) + 1)]
        ranges = QuantileSums(LEVELS, self._scales[1], self._naive, self.task.horizon, DECILES)
        every = every_window(len(first), len(self.task.panel.columns) * self.task.horizon)
        tested = []
        for batch in forecaster.forecasts(self._rows.data, first, series, self._levels):
            windows, part = self._compared(forecaster, batch, first, series), batch.part
            position, actual = windows.series, windows.actual
            for total, forecast in zip(sums, [windows.point, *batch.points], strict=True):
                total.add(position, actual, forecast)
            if calibration is not None:
                forecasts = calibration.forecasts(self._rows, windows)
                add_in_parts(ranges, position, actual, calibrated(calibration.radii, forecasts))
            tested.append(windows[np.arange(-part.start % every, len(position), every)])
        scores = [total.scores() for total in sums]
        overall = merged(scores[0], ranges.scores()) if calibration is not None else scores[0]
        return overall, scores[1:], self._by_time(HeldOut.joined(tested))

    def _method(self, held_out: HeldOut | None) -> tuple[Method, dict[str, float]]:
        """How to calibrate, by the validation windows alone."""
        if held_out is None:
            return "constant", {}
        return choose_method(self._rows, held_out, self._gap(held_out), self._bounds)

    def _coverage(self, calibration: Calibration | None, tested: HeldOut | None) -> dict[str, dict[str, float | None]]:
        """Of the test windows, by level, and the least that chance explains; None: too few windows of either part."""
        measured: dict[str, dict[str, float | None]] = {}
        blocks = max(1, int(np.diff(self.task.cuts[:, 2:], axis=1).max()) // self.task.horizon)
        for level in _MEASURED:
            share, least = None, None
            if calibration is not None and tested is not None and np.isfinite(calibration.radii[level - 1]).all():
                low, high = interval(calibration.radii, calibration.forecasts(self._rows, tested), level)
                given = ~np.isnan(tested.actual)
                inside = np.where(given, (low <= tested.actual) & (tested.actual <= high), np.nan)
                share = float(inside[given].mean())
                of_windows = mean_of_given(inside.reshape(len(inside), -1).T)
                least = least_coverage(of_windows, level, min(blocks, len(inside)))
            measured[str(level)] = {"coverage": share, "least": least}
        return measured

    @property
    def _levels(self) -> Sequence[float]:
        return BASE if self.head.probabilistic else ()

    @property
    def _bounds(self) -> Bounds:
        return Bounds.of(self.head)

    @property
    def _folds(self) -> tuple[Integers, ...]:
        """Cuts of rows to train on and to validate."""
        return self.validated.folds or (self.task.cuts,)

    @cached_property
    def _rows(self) -> Rows:
        return Rows(self.training_data(joined=False), ticks_of(self.task.panel.time), self.task.season)

    def _windows(self, begin: Integers, end: Integers) -> tuple[Integers, Integers]:
        """The first rows of all windows that forecast these rows [series] alone, and their series."""
        return row_ranges(begin, np.maximum(0, end - begin - self.task.horizon + 1))

    def _by_time(self, windows: HeldOut) -> HeldOut:
        return windows[np.argsort(self._rows.ticks[windows.first], kind="stable")]

    def _gap(self, windows: HeldOut) -> int:
        """How many of these windows (by time) begin within a horizon of the middle one."""
        panel, ticks = self.task.panel, self._rows.ticks
        when = ticks[windows.first]
        rows = panel.rows(int(np.argmax(np.diff(panel.starts))))  # of the longest series
        reach = int(ticks[min(rows.start + self.task.horizon, rows.stop - 1)] - ticks[rows.start])
        middle = when[len(when) // 2]
        return int(((when > middle - reach / 2) & (when < middle + reach / 2)).sum())

    def _compared(self, forecaster: Forecaster, batch: Forecasts, first: Integers, series: Integers) -> HeldOut:
        """A batch of the forecasts from the rows `first` on, beside the true values."""
        predicted = Predicted.of(forecaster, batch, first, series)
        actual = self.task.panel.truth(predicted.first, self.task.horizon)
        base = None if predicted.base is None else predicted.base.astype(np.float32)  # of many windows
        return HeldOut(**{**vars(predicted), "base": base}, actual=actual)
