"""Forecasting after the search: what a refit trains on, and the evaluation of the model on the test rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from optlstm.data.frequency import ticks_of
from optlstm.tasks.base import Blend, Evaluation, FormCard, TunedNetwork
from optlstm.tasks.forecast.conformal import cross_coverage, highest_level, least_count, radii
from optlstm.tasks.forecast.data import ForecastData
from optlstm.tasks.forecast.errors import ErrorSums, Scores, finite
from optlstm.tasks.forecast.forecaster import Forecaster
from optlstm.tasks.forecast.losses import HeadSpec
from optlstm.tasks.forecast.mixture import choose_mixture
from optlstm.tasks.forecast.predictor import ForecastPredictor, ForecastSection
from optlstm.tasks.forecast.prepared import PreparedSeries
from optlstm.tasks.forecast.rivals import check_installed, chosen_rivals, rival_forecasts
from optlstm.tasks.forecast.validation_baselines import validation_baselines
from optlstm.training.metric import DEFAULT_GOAL, Goal, Metric
from optlstm.util.arrays import Floats, Integers, row_ranges

_CALIBRATION_WINDOWS = 20_000  # residuals that are kept; of more windows, every second, third, ...
_METHOD = (
    "split conformal, absolute residuals, one radius per column and horizon step, from all test windows;"
    " coverage measured crosswise: radii of one half of the test windows, tried on the other half"
)
_METHOD_OF_MANY = (
    "split conformal, absolute residuals, one radius per column and horizon step for all series, on each series' scale,"
    " from all test windows; coverage measured crosswise: radii of the earlier half, tried on the later, and back"
)


@dataclass(frozen=True)
class _Residuals:
    """Absolute residuals [windows, columns, horizon] on the standardised scale, by time: each `every`-th window's.

    gap: windows to leave out between the two halves that coverage is measured on.
    """

    values: NDArray[np.float32]
    every: int
    gap: int


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
        check_installed()

    def evaluate(self, predictor: ForecastPredictor, joined: bool, rivals: bool = False) -> Evaluation:
        forecaster = predictor.forecaster
        ensemble, members, residuals = self._score(forecaster)
        networks = len(members) - bool(predictor.section.linear)
        baselines = self._baselines(forecaster.window, joined) | (self._rivals(joined) if rivals else {})
        count = least_count(residuals.values)
        highest = highest_level(count)
        table = torch.from_numpy(radii(residuals.values).astype(np.float32))
        return Evaluation(
            test=ensemble.overall,
            members=[scores.overall for scores in members[:networks]],
            baselines={name: scores.overall for name, scores in baselines.items()},
            lower_is_better=dict.fromkeys(("mse", "mae", "mase", "smape"), True),
            steps=ensemble.steps,
            baseline_steps={name: scores.steps for name, scores in baselines.items()},
            intervals={
                "method": _METHOD if len(self.task.panel.ids) == 1 else _METHOD_OF_MANY,
                "windows": count,
                "every": residuals.every,
                "highest_level": highest,
                "measured": cross_coverage(residuals.values, residuals.gap),
            },
            extras={"radii": table} if highest else {},
            card_updates={"calibrated": count if highest else 0},
        )

    def _score(self, forecaster: Forecaster) -> tuple[Scores, Sequence[Scores], _Residuals]:
        """Scores of the forecast and of each of its parts, and the forecast's residuals."""
        panel, cuts = self.task.panel, self.task.cuts
        first, series = row_ranges(cuts[:, 2], cuts[:, 3] - cuts[:, 2] - self.task.horizon + 1)
        sums = [self._sums() for _ in range(len(forecaster.networks) + 1)]
        every = -(-len(first) // _CALIBRATION_WINDOWS)
        residuals, kept_at = [], []
        for part, by_member in forecaster.batches(self.training_data(joined=False), first, series):
            position, actual, mean = series[part], self._actual(first[part]), forecaster.mean(by_member)
            for total, forecast in zip(sums, [mean, *by_member], strict=True):
                total.add(position, actual, forecast)
            kept = np.arange(-part.start % every, len(position), every)
            residual = np.abs(actual - mean)[kept] / self._scales[1][position[kept]][:, :, None]
            # Never rounded down: an interval includes its bounds.
            residuals.append(np.nextafter(residual.astype(np.float32), np.float32(np.inf)))
            kept_at.append(first[part][kept])
        when = ticks_of(panel.time)[np.concatenate(kept_at)]
        order = np.argsort(when, kind="stable")
        scores = [total.scores() for total in sums]
        return scores[0], scores[1:], _Residuals(np.concatenate(residuals)[order], every, self._gap(when[order], every))

    def _gap(self, when: Integers, every: int) -> int:
        """How many of these windows (by time) begin within a horizon of the middle one."""
        panel, cuts, horizon = self.task.panel, self.task.cuts, self.task.horizon
        if len(cuts) == 1:
            return -(-horizon // every)
        middle, longest = when[len(when) // 2], int((cuts[:, 3] - cuts[:, 2]).argmax())
        ticks = ticks_of(panel.time[cuts[longest, 2] : cuts[longest, 3]])
        reach = int(ticks[min(horizon, len(ticks) - 1)] - ticks[0])
        return int(((when > middle - reach / 2) & (when < middle + reach / 2)).sum())

    def _baselines(self, window: int, joined: bool) -> dict[str, Scores]:
        """Their scores on the test rows. joined: NLinear learns from the validation rows too."""
        cuts, (mean, std) = self.task.cuts, self._scales
        train, test = cuts[:, [0, 2 if joined else 1]], cuts[:, 2:]
        sums: dict[str, ErrorSums] = {}
        for i, first, forecasts in self.task.baselines(train, test, window):
            position, actual = np.full(len(first), i), self._actual(first)
            for name, forecast in forecasts.items():
                if name not in sums:
                    sums[name] = self._sums()
                sums[name].add(position, actual, forecast * std[i][:, None] + mean[i][:, None])
        return {name: total.scores() for name, total in sums.items()}

    def _rivals(self, joined: bool) -> dict[str, Scores]:
        """As `_baselines`, of the statistical forecasts."""
        task, panel, sums = self.task, self.task.panel, dict[str, ErrorSums]()
        rivals = chosen_rivals(len(panel.ids) * len(panel.columns))
        for i, (start, validation, test, end) in enumerate((task.cuts - panel.starts[:-1, None]).tolist()):
            learn, first = range(start, test if joined else validation), range(test, end - task.horizon + 1)
            at = np.array(first) + panel.starts[i]
            for name, rival in rivals.items():
                forecasts = rival_forecasts(rival, panel.inputs[panel.rows(i)], learn, first, task.horizon, task.season)
                sums.setdefault(name, self._sums()).add(np.full(len(at), i), self._actual(at), forecasts)
        return {name: total.scores() for name, total in sums.items()}

    def _actual(self, first: Integers) -> Floats:
        """The true values [n, columns, horizon] from the rows `first` [n] on; NaN where they are not known."""
        return self.task.panel.truth(first, self.task.horizon)

    def _sums(self) -> ErrorSums:
        return ErrorSums(self._scales[1], self._naive, self.task.horizon)
