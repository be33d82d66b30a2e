"""Many series when their search is over: what a refit trains on, and how the test rows of all of them judge it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optlstm.data.series import ticks_of
from optlstm.tasks.base import Evaluation
from optlstm.tasks.forecast.baselines import Baseline, nlinear, nlinear_weights, untrained
from optlstm.tasks.forecast.data import Integers, PanelData
from optlstm.tasks.forecast.errors import Scores, seasonal_scale
from optlstm.tasks.forecast.predict import PanelForecaster, PanelSection
from optlstm.tasks.forecast.scores import PanelSums
from optlstm.tasks.forecast.task import inputs_of, prepare
from optlstm.tasks.forecast.verdict import forecast_verdict

if TYPE_CHECKING:
    from optlstm.tasks.forecast.files import PanelPredictor
    from optlstm.tasks.forecast.task import PanelForecast

Floats = NDArray[np.float64]
_CALIBRATION_WINDOWS = 20_000  # residuals that are kept; of more windows, every second, third, ...
_LINEAR_WINDOWS = 200_000  # that NLinear is solved on; of more, every second, third, ...
_CHUNK = 4096  # windows of a baseline at a time
_METHOD = (
    "split conformal, absolute residuals, one radius per column and horizon step for all series, on each series' scale,"
    " from all test windows; coverage measured crosswise: radii of the earlier half, tried on the later, and back"
)


@dataclass(frozen=True)
class PanelEvaluator:
    """Series whose search is over (`tasks.base.Evaluator`)."""

    task: PanelForecast

    def training_data(self, joined: bool) -> PanelData:
        """Standardised by the training rows alone, also where the validation rows are trained on too."""
        prepared = prepare(replace(self.task, folds=()))
        if not joined:
            return prepared
        cuts = prepared.cuts.copy()
        cuts[:, 1] = cuts[:, 2]
        return replace(prepared, cuts=cuts)

    def card_section(self) -> PanelSection:
        task = replace(self.task, folds=())
        panel, config = task.panel, task.config
        data = prepare(task)
        naive = self._naive()
        two = panel.time[:2] if panel.freq is None and len(panel.time) > 1 else None
        return PanelSection(
            series=panel.series,
            time=str(panel.time.name),
            columns=list(panel.columns),
            horizon=task.horizon,
            freq=panel.freq,
            step=int(two[1]) - int(two[0]) if two is not None else None,
            season=panel.season,
            scaling=config.scaling,
            gaps=config.gaps,
            inputs=inputs_of(task),
            ids=list(panel.ids),
            mean=data.mean.tolist(),
            std=data.std.tolist(),
            naive=[[float(value) if np.isfinite(value) else None for value in row] for row in naive],
        )

    def evaluate(self, predictor: PanelPredictor, joined: bool) -> Evaluation:
        data, forecaster = prepare(replace(self.task, folds=())), predictor.forecaster
        ensemble, members, residuals, every, gap = self._score(forecaster, data)
        rivals = self._rivals(data, forecaster.window, joined)
        return forecast_verdict(ensemble, members, rivals, residuals, method=_METHOD, every=every, gap=gap)

    def _score(
        self, forecaster: PanelForecaster, data: PanelData
    ) -> tuple[Scores, list[Scores], NDArray[np.float32], int, int]:
        """Scores of the mean and of each member; absolute residuals on the standardised scale, thinned, by time."""
        first, series = self._origins()
        naive = self._naive()
        sums = [PanelSums(data.std, naive, data.horizon) for _ in range(len(forecaster.networks) + 1)]
        every = -(-len(first) // _CALIBRATION_WINDOWS)
        residuals, kept_at = [], []
        for part, each in forecaster.batches(data, first, series):
            of, actual = series[part], self._actual(first[part])
            std, mean = data.std[of][:, :, None], data.mean[of][:, :, None]
            raw = each * std + mean
            for total, forecast in zip(sums, [raw.mean(axis=0), *raw], strict=True):
                total.add(of, actual, forecast)
            kept = np.arange(-part.start % every, len(of), every)
            residual = (np.abs(actual - raw.mean(axis=0))[kept] / std[kept]).astype(np.float32)
            residuals.append(np.nextafter(residual, np.float32(np.inf)))  # never rounded down
            kept_at.append(first[part][kept])
        when = ticks_of(self.task.panel.time)[np.concatenate(kept_at)]
        order = np.argsort(when, kind="stable")
        scores = [total.scores() for total in sums]
        gap = self._gap(when[order])
        return scores[0], scores[1:], np.concatenate(residuals)[order], every, gap

    def _gap(self, when: Integers) -> int:
        """How many of these windows (by time) begin within a horizon of the middle one."""
        panel, cuts, middle = self.task.panel, self.task.cuts, when[len(when) // 2]
        longest = int((cuts[:, 3] - cuts[:, 2]).argmax())
        ticks = ticks_of(panel.time[cuts[longest, 2] : cuts[longest, 3]])
        reach = int(ticks[min(self.task.horizon, len(ticks) - 1)] - ticks[0])
        return int(((when > middle - reach / 2) & (when < middle + reach / 2)).sum())

    def _rivals(self, data: PanelData, window: int, joined: bool) -> dict[str, Scores]:
        """The baselines, each of every series by itself; NLinear's weights are of all series together."""
        panel, cuts, horizon = self.task.panel, data.cuts, data.horizon
        end = cuts[:, 2] if joined else cuts[:, 1]
        windows = int(np.maximum(0, end - cuts[:, 0] - window - horizon + 1).sum())
        parts = ((v, range(start, stop)) for (v, _), start, stop in zip(
            self._series(data), cuts[:, 0] - panel.starts[:-1], end - panel.starts[:-1], strict=True))  # fmt: skip
        weights = nlinear_weights(parts, window, horizon, max(1, -(-windows // _LINEAR_WINDOWS)))
        season = panel.season if panel.season <= int((cuts[:, 2] - panel.starts[:-1]).min()) else 1
        sums, naive = dict[str, PanelSums](), self._naive()
        for i, (values, start) in enumerate(self._series(data)):
            known: dict[str, Baseline] = {**untrained(values, horizon, season), "nlinear": nlinear(values, weights)}
            first = range(int(cuts[i, 2]) - start, int(cuts[i, 3]) - start - horizon + 1)
            for at in range(0, len(first), _CHUNK):
                part = first[at : at + _CHUNK]
                actual = self._actual(np.arange(part.start + start, part.stop + start))
                for name, baseline in known.items():
                    forecast = baseline(part) * data.std[i][:, None] + data.mean[i][:, None]
                    of = np.full(len(part), i)
                    if name not in sums:
                        sums[name] = PanelSums(data.std, naive, horizon)
                    sums[name].add(of, actual, forecast)
        return {name: total.scores() for name, total in sums.items()}

    def _series(self, data: PanelData) -> Iterator[tuple[Floats, int]]:
        """Every series' values on its scale, and its first row."""
        for i, start in enumerate(self.task.panel.starts[:-1].tolist()):
            rows = slice(start, int(data.cuts[i, 3]))
            yield data.values[rows].astype(np.float64), start

    def _origins(self) -> tuple[Integers, Integers]:
        """Every test window's first target row, and its series."""
        cuts, horizon = self.task.cuts, self.task.horizon
        counts = cuts[:, 3] - cuts[:, 2] - horizon + 1
        series = np.repeat(np.arange(len(cuts)), counts)
        before = np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(cuts[:, 2], counts) + np.arange(int(counts.sum())) - before, series

    def _actual(self, first: Integers) -> Any:
        """[n, columns, horizon] of what came."""
        stretches = np.lib.stride_tricks.sliding_window_view(self.task.panel.values, self.task.horizon, axis=0)
        return stretches[first]

    def _naive(self) -> Floats:
        panel, cuts = self.task.panel, self.task.cuts
        each = [seasonal_scale(panel.values[start:stop], panel.season) for start, stop in cuts[:, :2].tolist()]
        return np.array(each)
