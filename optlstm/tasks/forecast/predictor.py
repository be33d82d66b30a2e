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
from torch import Tensor, nn

from optlstm.data.frequency import following, in_words, same_step, ticks_of
from optlstm.data.panel import Categories, Panel
from optlstm.data.panel_reader import read_panel
from optlstm.data.panel_rows import extended, filled, with_missing_rows
from optlstm.data.time_format import read_texts
from optlstm.errors import InputError
from optlstm.tasks.base import ExportModule, Metrics
from optlstm.tasks.forecast.card import ForecastCard
from optlstm.tasks.forecast.conformal import LEVELS, highest_level
from optlstm.tasks.forecast.errors import ErrorSums
from optlstm.tasks.forecast.forecaster import Forecaster, ForecastGraph
from optlstm.tasks.forecast.linear import LinearForecaster
from optlstm.tasks.forecast.tables import ForecastTable
from optlstm.training.hparams import Hyperparameters
from optlstm.util.arrays import Integers, row_ranges
from optlstm.util.format import many

_log = logging.getLogger(__name__)


class ForecastPredictor:
    """A forecaster on files (`tasks.base.Predictor`). radii: float32 [levels, columns, horizon], or None: no intervals.

    Options of `predict` and `write_csv`, for every series of the file:
        start: the first time to forecast, as text; the rows before it are the input. Default: the first after the data.
        backtest: how many successive rows to forecast from, beside the true values. Default: the last ones possible.
        levels: of prediction intervals, in percent.
    """

    def __init__(self, section: ForecastCard, forecaster: Forecaster, radii: Tensor | None) -> None:
        self.section, self.forecaster, self._radii = section, forecaster, radii

    def predict(self, data: Path, **options: Any) -> pd.DataFrame:
        """See `ForecastTable`. Raises InputError with everything in which the file or the options do not fit."""
        return self._table(data, **options).frame()

    def write_csv(self, data: Path, out: Path, **options: Any) -> int:
        """As `predict`, into a CSV file that is whole or not there; a batch of windows in memory at a time."""
        return self._table(data, **options).write_csv(out)

    def score(self, data: Path) -> Metrics:
        """The metrics over every window of the file, the first `window` rows of each series being input only.

        Of many series, one that is shorter has one window, padded.
        """
        panel, section, window = self._read(data), self.section, self.forecaster.window
        inputs = np.full_like(panel.known, window)
        if panel.series is not None:
            inputs = np.minimum(window, np.maximum(1, panel.known - section.horizon))
            window = 1
        counts = panel.known - inputs - section.horizon + 1
        short = np.flatnonzero(counts < 1)
        if len(short):
            rows = f" has {panel.known[0]} rows" if panel.series is None else " have too few rows"
            need = f"{window + section.horizon} (window {window} + horizon {section.horizon})"
            raise InputError(f"data: {panel.counted(short)}{rows}; to be scored it needs {need}")
        first, series = row_ranges(panel.starts[:-1] + inputs, counts)
        ready = section.data(panel)
        sums = ErrorSums(ready.std, section.naive_of(panel.ids), section.horizon)
        actual = panel.ahead(section.horizon)
        for part, by_member in self.forecaster.batches(ready, first, series):
            sums.add(series[part], actual[first[part]], self.forecaster.mean(by_member))
        return sums.scores().overall

    def export_module(self) -> ExportModule:
        """[batch, window, columns] -> [batch, horizon, columns], float64, in the data's units.

        Raises:
            InputError: a graph has one input, and these networks read each series' scale or covariates beside it.
        """
        section = self.section
        if section.inputs.sizes:
            raise InputError("export: a model with covariates has no single input; use predict")
        if not section.one_scale:
            raise InputError(
                f"export: each of the {len(section.ids)} series has its own scale, so there is no single input; use"
                " predict, or a study with data.scaling = 'global'"
            )
        shape = (2, self.forecaster.window, len(section.columns))
        example = torch.linspace(-1, 1, math.prod(shape), dtype=torch.float64).reshape(shape)
        graph = ForecastGraph(self.forecaster, section.mean[0], section.std[0])
        return ExportModule(graph, example * graph.std + graph.mean, "window", "forecast")

    def _table(
        self, data: Path, *, start: str | None = None, backtest: int = 0, levels: Sequence[int] = ()
    ) -> ForecastTable:
        problems = _level_problems(levels, self.section.calibrated if self._radii is not None else 0)
        if not isinstance(backtest, int) or backtest < 0:
            problems.append(f"--backtest: must be a whole number of at least 1, got {backtest!r}")
        if problems:
            raise InputError(problems)
        panel = self._read(data)
        lengths = np.diff(panel.starts)
        panel = extended(panel, self.section.horizon, self.section.step if self.section.freq is None else None)
        origins = self._origins(panel, start, backtest)
        first, series = row_ranges(origins, np.full(len(panel.ids), backtest or 1))
        self._check_future(panel, lengths, first, series)
        ready = self.section.data(panel)
        return ForecastTable(self.forecaster, panel, ready, first, series, backtest > 0, tuple(levels), self._radii)

    def _read(self, data: Path) -> Panel:
        section = self.section
        panel = read_panel(data, section.wanted())
        for note in panel.notes:
            _log.warning("%s", note)
        problem = _frequency_problem(panel, section.freq, section.step)
        if problem:
            raise InputError(f"data: {data.name} {problem}")
        if not same_step(panel.freq, section.freq):  # a week of business days looks like any week
            panel = replace(panel, freq=section.freq)
        if section.gaps == "interpolate":
            panel = with_missing_rows(panel)
            end = panel.starts[:-1] + panel.known
            panel, _ = filled(panel, np.column_stack([panel.starts[:-1], end]))
        return panel

    def _origins(self, panel: Panel, start: str | None, backtest: int) -> Integers:
        """The first row to forecast in every series: at most the row behind its last target."""
        window, horizon = self.forecaster.window, self.section.horizon
        end = panel.starts[:-1] + panel.known
        at = end - horizon - backtest + 1 if backtest else end
        if start is not None:
            at = _positions(panel, start)
        before = np.maximum(0, at - panel.starts[:-1])
        short = np.flatnonzero(at - panel.starts[:-1] < window)
        notes = [many(int(before[i]), "row") for i in short]
        if len(short) and panel.series is None:
            raise InputError(self._too_short(panel, int(before[0]), start, backtest))
        if len(short) and (before[short] < 1).any():
            empty = short[before[short] < 1]
            rows = [many(int(panel.known[i]), "row") for i in empty]
            limit = f"; at most {max(0, int(panel.known.min()) - horizon)}" if backtest and start is None else ""
            raise InputError(
                f"{'--backtest' if limit else 'data'}: no row is left before the first forecast in {len(empty)} of "
                f"{len(panel.ids)} series of {panel.file}: {panel.named(empty, rows)}{limit}"
            )
        if len(short):
            _log.warning(
                "%d of %d series %s shorter than what the model reads (%d rows): %s; padded with the series' first row",
                *(len(short), len(panel.ids), "is" if len(short) == 1 else "are", window, panel.named(short, notes)),
            )
        beyond = np.flatnonzero(at + backtest - 1 + horizon > end)
        if backtest and len(beyond):
            most = int((end - horizon + 1 - at).min())
            which = f", which has {panel.known[0]} rows" if panel.series is None else ""
            first = f" from row {at[0] + 1} on" if panel.series is None else ""
            raise InputError(
                f"--backtest: {backtest} forecasts of {horizon} steps{first} go beyond the last row of"
                f" {panel.counted(beyond)}{which}; at most {max(0, most)}"
            )
        return at

    def _too_short(self, panel: Panel, before: int, start: str | None, backtest: int) -> str:
        """The message for a file that is one series."""
        rows, window = int(panel.known[0]), self.forecaster.window
        if backtest and start is None:
            most = max(0, rows - self.section.horizon - window + 1)
            return f"--backtest: {panel.file} has {rows} rows, enough for {most} forecasts, not for {backtest}"
        have = f"only {before} rows before the first forecast" if start else f"{rows} rows"
        return f"data: {panel.file} has {have}, and the model reads {window}; give it a longer file"

    def _check_future(self, panel: Panel, lengths: Integers, first: Integers, series: Integers) -> None:
        """Raises InputError where some series lacks a covariate over the horizon."""
        problems, horizon = [], self.section.horizon
        for feature in self.section.inputs.future:
            column, end = panel.covariates[feature.name], first + horizon
            short = end - panel.starts[series] > lengths[series]  # an empty category is a value; a missing row is not
            if not isinstance(column, Categories):
                missing = np.concatenate([[0], np.cumsum(np.isnan(column))])
                short |= missing[end] > missing[first]
            lacking = np.unique(series[short])
            if len(lacking):
                where = f" of {len(lacking)} series ({panel.named(lacking)})" if panel.series else ""
                problems.append(
                    f"data: {panel.file} lacks '{feature.name}' for the {horizon} steps to forecast{where}; "
                    f"add rows behind the last one, with the time and '{feature.name}' and without "
                    f"{' and '.join(self.section.columns)}"
                )
        if problems:
            raise InputError(problems)


class ForecastSection(ForecastCard):
    """A forecaster's part of a card, with its predictor."""

    def predictor(
        self, networks: Sequence[nn.Module], hps: Sequence[Hyperparameters], extras: Mapping[str, Tensor]
    ) -> ForecastPredictor:
        """The networks' predictor. hps: of every network."""
        window, parts = max(hp.window for hp in hps), list(networks)
        if self.linear_window:
            linear = LinearForecaster(self.linear_window, self.horizon)
            linear.load_state_dict({name: extras[f"linear.{name}"] for name in linear.state_dict()})
            window, parts = max(window, self.linear_window), [*parts, linear]
        forecaster = Forecaster(parts, window, len(self.columns), self.weights)
        return ForecastPredictor(self, forecaster, extras.get("radii"))


def _level_problems(levels: Sequence[int], calibrated: int) -> list[str]:
    """What is wrong with the levels. calibrated: windows that the radii are from; 0: there are no radii."""
    if not isinstance(levels, Sequence) or isinstance(levels, str):
        return [f"--level: must be a list of whole percent, such as [80, 90], got {levels!r}"]
    highest = highest_level(calibrated)
    problems = []
    for level in levels:
        if not isinstance(level, int) or level not in LEVELS:
            problems.append(f"--level: must be a whole number, 1 to 99 percent, got {level!r}")
        elif level > highest:
            most = f"the highest is {highest}" if highest else "there were too few test rows for any interval"
            problems.append(f"--level: this model has no {level} % interval; {most}")
    return problems


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


def _positions(panel: Panel, start: str) -> Integers:
    """The row of the time `start` in every series: one with targets, or the row behind the last of them."""
    time, last = panel.time, panel.time[panel.rows(0)][-1] if panel.known[0] else panel.time[0]
    where = f"{panel.file} has {time[0]} to {last}" if panel.series is None else f"such as {time[0]}"
    wanted = _wanted_time(panel, start, where)
    ticks, at, lacking = ticks_of(time), np.empty(len(panel.ids), dtype=np.int64), []
    for i, begin in enumerate(panel.starts[:-1].tolist()):
        known = ticks[begin : begin + int(panel.known[i]) + 1]
        position = int(np.searchsorted(known, wanted))
        if position < len(known) and known[position] == wanted:
            at[i] = begin + position
        else:
            lacking.append(i)
    if lacking and panel.series is None:
        raise InputError(f"--from: {start!r} is not one of the data's times, nor the next one after them ({where})")
    if lacking:
        raise InputError(
            f"--from: {start!r} is not one of the times of {panel.counted(lacking)}, nor the next one after them"
        )
    return at


def _wanted_time(panel: Panel, start: str, where: str) -> int:
    """The time of `--from`, in ticks. It is written as in the file, or in ISO 8601."""
    time = panel.time
    if panel.time_format is not None and isinstance(time, pd.DatetimeIndex):
        alike = read_texts(pd.Series([start], dtype="str"), panel.time_format)
        if not alike.hasnans:
            return int(ticks_of(alike)[0])
    try:
        wanted: Any = int(start) if not isinstance(time, pd.DatetimeIndex) else pd.Timestamp(start)
    except (ValueError, TypeError):
        raise InputError(f"--from: {start!r} is no time; write it as in the data ({where})") from None
    if not isinstance(time, pd.DatetimeIndex):
        return int(wanted)
    if time.tz is not None:
        wanted = wanted.tz_localize("UTC") if wanted.tz is None else wanted.tz_convert("UTC")
    elif wanted.tz is not None:
        raise InputError(f"--from: {start!r} has a time zone, and the times of {panel.file} have none")
    return int(ticks_of(pd.DatetimeIndex([wanted]))[0])
