"""A forecaster on files: the rows to forecast, and whether the file fits the model."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optlstm.data.frequency import following, in_words, same_step
from optlstm.data.panel import Categories, Panel, only
from optlstm.data.panel_reader import read_panel
from optlstm.data.panel_rows import carried, extended, filled, with_missing_rows
from optlstm.errors import InputError
from optlstm.tasks.base import ExportModule, Metrics
from optlstm.tasks.forecast.calibrate import Bounds, Calibration
from optlstm.tasks.forecast.card import ForecastCard
from optlstm.tasks.forecast.data import ForecastData
from optlstm.tasks.forecast.errors import ErrorSums
from optlstm.tasks.forecast.forecaster import Forecaster, ForecastGraph, read_newest
from optlstm.tasks.forecast.known_rows import Likeness
from optlstm.tasks.forecast.linear import LinearForecaster
from optlstm.tasks.forecast.origins import Origins
from optlstm.tasks.forecast.prepared import gaps_line
from optlstm.tasks.forecast.tables import AnomalyTable, ForecastTable, SampleTable
from optlstm.tasks.forecast.wanted import Wanted
from optlstm.tasks.options import DataConfig, Gaps
from optlstm.training.hparams import Hyperparameters
from optlstm.util.arrays import Floats, Integers, row_ranges
from optlstm.util.format import many

_log = logging.getLogger(__name__)


class ForecastPredictor:
    """A forecaster on files (`tasks.base.Predictor`). calibration: of quantiles; None: there are none.

    Options of `predict` and `write_csv`, for every series of the file:
        start: the first time to forecast, as text; the rows before it are the input. Default: the first after the data.
        backtest: how many successive rows to forecast from, beside the true values. Default: the last ones possible.
        levels: of prediction intervals, in percent; a number, or several.
        quantiles: levels of quantiles, between 0 and 1.
        samples: how many joint paths to draw, in place of all that.
        anomalies: whether to mark the rows that lie outside the interval of their one-step forecast (of one level,
            99 % by default), in place of all that; from `start` on, or from the first row that can be forecast.
        ahead: steps between the last row that the forecast of an anomaly knows and that row; 1: the row before it.
        gaps: missing rows and values: `refuse`, `interpolate`, or `mask` if tuned so. Default: as in the study.
        short: series of many that are too short: `omit` (with a message), or `refuse` all.
        reading: how this file is to be read, where it is not as the study's: the keys `READING` of `data`.
    """

    def __init__(
        self,
        section: ForecastCard,
        forecaster: Forecaster,
        calibration: Calibration | None,
        ranks: Floats | None = None,
    ) -> None:
        self.section, self.forecaster, self._calibration, self._ranks = section, forecaster, calibration, ranks

    @property
    def calibration(self) -> Calibration | None:
        """Of the intervals."""
        return self._calibration

    @property
    def ranks(self) -> Floats | None:
        """Those that paths are drawn by, [paths, columns, horizon]; None: there are none."""
        return self._ranks

    def predict(self, data: Path, **options: Any) -> pd.DataFrame:
        """See `ForecastTable`. Raises InputError with everything in which the file or the options do not fit."""
        return self._table(data, **options).frame()

    def write_csv(self, data: Path, out: Path, **options: Any) -> int:
        """As `predict`, into a CSV file that is whole or not there; a batch of windows in memory at a time."""
        return self._table(data, **options).write_csv(out)

    def table(self, data: Path, **options: Any) -> ForecastTable:
        """As `predict`, before the forecasts are made; with the rows that were known."""
        return self._table(data, **options)

    def read(self, data: Path) -> Panel:
        """The series of a file. Raises InputError where it does not fit."""
        return self._read(data, None, None)

    def score(self, data: Path, **options: Any) -> Metrics:
        """The metrics over every window of the file, the first `window` rows of each series being input only.

        Of many series, one that is shorter has one window, padded. Missing targets count in no metric.

        Args:
            options: `gaps`, `short` and `reading`.
        """
        return self._scores(data, **options)

    def _scores(
        self, data: Path, gaps: str | None = None, short: str = "omit", reading: DataConfig | None = None
    ) -> Metrics:
        panel, section, window = self._read(data, gaps, reading), self.section, self.forecaster.window
        need = (window if panel.series is None else 1) + section.horizon
        panel = only(panel, _without_short(panel, panel.known >= need, short, "to be scored"))
        inputs = np.full_like(panel.known, window)
        if panel.series is not None:
            inputs = np.minimum(window, np.maximum(1, panel.known - section.horizon))
            window = 1
        counts = panel.known - inputs - section.horizon + 1
        too_short = np.flatnonzero(counts < 1)
        if len(too_short):
            rows = f" has {many(int(panel.known[0]), 'row')}" if panel.series is None else " have too few rows"
            raise InputError(
                f"data: {panel.counted(too_short)}{rows}; to be scored it needs {need} (window {window} + horizon"
                f" {section.horizon})"
            )
        first, series = row_ranges(panel.starts[:-1] + inputs, counts)
        ready = self._on_scale(panel)
        sums = ErrorSums(ready.std, section.naive_of(panel.ids), section.horizon)
        for part, by_member in self.forecaster.batches(ready, first, series):
            sums.add(series[part], panel.truth(first[part], section.horizon), self.forecaster.mean(by_member))
        return sums.scores().overall

    def export_module(self) -> ExportModule:
        """[batch, window, columns] -> [batch, horizon, columns], float64, in the data's units.

        Of networks that give quantiles or a distribution, the quantiles at the levels of the study too, as the networks
        give them: [batch, horizon, columns, levels].

        Raises:
            InputError: a graph has one input, and these networks read each series' scale or covariates beside it; or
                they give counts, whose quantiles torch does not have.
        """
        section, head = self.section, self.section.head
        if head.counts:
            raise InputError(f"export: no file format has the quantiles of the loss {head.loss}; use predict")
        if section.inputs.masked:
            raise InputError("export: a model that reads which values are missing has no single input; use predict")
        if section.inputs.sizes:
            raise InputError("export: a model with covariates has no single input; use predict")
        if not section.one_scale:
            raise InputError(
                f"export: each of the {len(section.ids)} series has its own scale, so there is no single input; use"
                " predict, or a study with data.scaling = 'global'"
            )
        shape = (2, self.forecaster.window, len(section.columns))
        example = torch.linspace(-1, 1, math.prod(shape), dtype=torch.float64).reshape(shape)
        graph = ForecastGraph(self.forecaster, section.mean[0], section.std[0], head.levels)
        outputs, example = ("forecast", "quantiles") if head.levels else ("forecast",), example * graph.std + graph.mean
        with torch.no_grad():
            graph(example)  # a head's constants are made here, not while a compiler looks on
        return ExportModule(graph, example, "window", outputs)

    def _table(
        self,
        data: Path,
        *,
        start: str | None = None,
        backtest: int = 0,
        gaps: str | None = None,
        short: str = "omit",
        reading: DataConfig | None = None,
        **options: Any,
    ) -> ForecastTable:
        calibrated = self.section.calibrated if self._calibration is not None else 0
        wanted = Wanted.of(backtest=backtest, **options).check(
            calibrated, 0 if self._ranks is None else len(self._ranks), self.section.horizon
        )
        panel, horizon = self._read(data, gaps, reading), self.section.horizon
        origins = Origins(self.forecaster.window, horizon, start, backtest, every=wanted.anomalies)
        lengths = np.diff(panel.starts)
        panel = extended(panel, horizon, self.section.step if self.section.freq is None else None)
        long_enough = _without_short(panel, ~origins.too_short(panel), short, origins.aim)
        panel, lengths = only(panel, long_enough), lengths[long_enough]
        first, series = row_ranges(*origins.ranges(panel))
        if wanted.anomalies and wanted.ahead > 1:
            looked_at = first + wanted.ahead - 1 < (panel.starts[:-1] + panel.known)[series]
            first, series = first[looked_at], series[looked_at]
            if not len(first):
                raise InputError(f"--ahead: no row of {panel.file} is forecast from {wanted.ahead} steps before it")
        self._check_future(panel, lengths, first, series)
        ready = self._on_scale(panel)
        parts = (self.forecaster, panel, ready, first, series, self._calibration)
        if wanted.anomalies:
            return AnomalyTable(*parts, levels=wanted.levels, ahead=wanted.ahead)
        if self._ranks is not None and wanted.samples:
            return SampleTable(*parts, ranks=self._ranks, samples=wanted.samples)
        return ForecastTable(*parts, backtest=backtest > 0, levels=wanted.levels, quantiles=wanted.quantiles)

    def _on_scale(self, panel: Panel) -> ForecastData:
        """The panel on the model's scale; logs where its series is another one. Numbers of rows may begin anywhere."""
        ready = self.section.data(panel)
        likeness = Likeness.of(panel, self.section.known if self.section.freq else (), ready.std)
        if likeness.is_other:
            _log.warning("%s; it is forecast on the scale of that one", likeness.as_other)
        return ready

    def _read(self, data: Path, wanted: str | None, reading: DataConfig | None) -> Panel:
        """wanted: what to do about gaps; None: what the study did."""
        section = self.section
        gaps = _checked_gaps(wanted, section.gaps)
        panel = read_panel(data, section.wanted(gaps, reading))
        for note in panel.notes:
            _log.warning("%s", note)
        if gaps != "refuse":
            ahead = np.diff(panel.starts) - panel.known
            panel = with_missing_rows(panel)
            self._check_rows_ahead(panel, np.flatnonzero(np.diff(panel.starts) - panel.known > ahead))
        problem = _frequency_problem(panel, section.freq, section.step)
        if problem:
            raise InputError(f"data: {data.name} {problem}")
        if not same_step(panel.freq, section.freq):  # a week of business days looks like any week
            panel = replace(panel, freq=section.freq)
        if gaps == "refuse":
            return panel
        whole = np.column_stack([panel.starts[:-1], panel.starts[:-1] + panel.known])
        panel, count = filled(panel, whole) if gaps == "interpolate" else carried(panel)
        if count:
            _log.warning("data: %s", gaps_line(count, gaps))
        return panel

    def _check_future(self, panel: Panel, lengths: Integers, first: Integers, series: Integers) -> None:
        """Raises InputError where some series lacks a covariate over the horizon."""
        problems, horizon, masked = [], self.section.horizon, self.section.inputs.masked
        for feature in self.section.inputs.future:
            column, end = panel.covariates[feature.name], first + horizon
            short = end - panel.starts[series] > lengths[series]  # an empty category is a value; a missing row is not
            empty = np.zeros_like(short)
            if not isinstance(column, Categories) and not masked:
                missing = np.concatenate([[0], np.cumsum(np.isnan(column))])
                empty = (missing[end] > missing[first]) & ~short
            problems += self._lacking(panel, feature.name, "lacks", np.unique(series[short]))
            problems += self._lacking(panel, feature.name, "has empty cells of", np.unique(series[empty]))
        if problems:
            raise InputError(problems)

    def _check_rows_ahead(self, panel: Panel, missing: Integers) -> None:
        """Raises InputError where rows with covariates are missing ahead of some series: none are invented."""
        inputs = self.section.inputs
        if len(missing) and inputs.future and not inputs.masked:
            raise InputError(f"data: rows are missing behind the last target of {panel.counted(missing)}; add them")

    def _lacking(self, panel: Panel, name: str, how: str, series: Integers) -> list[str]:
        """A covariate that some series lack over the horizon; no problem where none do."""
        if not len(series):
            return []
        where = f" of {len(series)} series ({panel.named(series)})" if panel.series else ""
        targets = " and ".join(self.section.columns)
        remedy = f"add rows behind the last one, with the time and '{name}' and without {targets}"
        if how != "lacks":
            remedy = "fill them in: it is to be known ahead"
        return [f"data: {panel.file} {how} '{name}' for the {self.section.horizon} steps to forecast{where}; {remedy}"]


class ForecastSection(ForecastCard):
    """A forecaster's part of a card, with its predictor."""

    def lines(self) -> list[str]:
        """As of a classifier's part: nothing."""
        return []

    def predictor(
        self, networks: Sequence[nn.Module], hps: Sequence[Hyperparameters], extras: Mapping[str, Tensor]
    ) -> ForecastPredictor:
        """The networks' predictor. hps: of every network."""
        window, parts = max(hp.window for hp in hps), list(networks)
        for network, hp in zip(networks, hps, strict=True):
            read_newest(network, hp.window)
        if self.linear_window:
            linear = LinearForecaster(self.linear_window, self.horizon, self.head.linear_head(), len(self.columns))
            linear.load_state_dict({name: extras[f"linear.{name}"] for name in linear.state_dict()})
            window, parts = max(window, self.linear_window), [*parts, linear]
        forecaster = Forecaster(parts, window, len(self.columns), self.weights, self.head.head())
        radii, calibration = extras.get("radii"), None
        if radii is not None:
            calibration = Calibration(self.calibration, radii.double().numpy(), self.local_scale, Bounds.of(self.head))
        ranks = extras["ranks"].double().numpy() if "ranks" in extras else None
        return ForecastPredictor(self, forecaster, calibration, ranks)


def _without_short(panel: Panel, long_enough: NDArray[np.bool_], short: str, aim: str) -> Integers:
    """The series to go on with: those that are long enough; all of them, where none is, or `short` is `refuse`."""
    if short not in ("omit", "refuse"):
        raise InputError(f"--short: must be omit or refuse, got {short!r}")
    left_out = np.flatnonzero(~long_enough)
    if short == "refuse" or not len(left_out) or len(left_out) == len(panel.ids):
        return np.arange(len(panel.ids))
    _log.warning(
        "data: %d of %d series of %s %s left out, too short %s: %s; --short refuse makes that an error",
        *(len(left_out), len(panel.ids), panel.file, "is" if len(left_out) == 1 else "are", aim),
        panel.named(left_out, [many(int(panel.known[i]), "row") for i in left_out]),
    )
    return np.flatnonzero(long_enough)


def _checked_gaps(wanted: str | None, tuned: Gaps) -> Gaps:
    """What to do about gaps. Raises InputError where the model cannot do it. tuned: what the study did."""
    known: tuple[Gaps, ...] = ("refuse", "mask" if tuned == "mask" else "interpolate")
    for gaps in known:
        if wanted in (gaps, None) and (wanted or gaps == tuned):
            return gaps
    why = ""
    if wanted == "mask":
        why = "this model does not read which values are missing, for that is tuned with data.gaps = 'mask'; "
    elif wanted == "interpolate":
        why = "this model reads which values are missing; "
    raise InputError(f"--gaps: {why}must be {' or '.join(known)}, got {wanted!r}")


def _frequency_problem(panel: Panel, freq: str | None, step: int | None) -> str | None:
    """Why the times of a file do not fit the model, or None.

    freq, step: the frequency of the model's times, or the step of its whole numbers.
    """
    time = panel.time[panel.rows(int(panel.known.argmax()))]
    if not isinstance(time, pd.DatetimeIndex):
        if freq is not None:
            return f"numbers its rows, and the model was trained on times at a step of {in_words(freq)}"
        actual = int(time[1]) - int(time[0]) if len(time) > 1 else step
        return None if actual == step else f"has a step of {actual}, and the model was trained on a step of {step}"
    if freq is None:
        return "has dates, and the model was trained on whole-numbered times"
    # A week of business days looks like any week.
    if same_step(panel.freq, freq) or time[1:].equals(following(time[:1], freq, len(time) - 1)):
        return None
    return f"has a step of {in_words(panel.freq)}, and the model was trained on a step of {in_words(freq)}; resample it"
