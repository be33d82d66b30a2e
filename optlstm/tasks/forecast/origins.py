"""Where the forecasts of a file begin, and which of its series are too short for them."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from optlstm.data.frequency import ticks_of
from optlstm.data.panel import Panel
from optlstm.data.time_format import has_day_first, parse_times, read_texts, written
from optlstm.errors import InputError
from optlstm.util.arrays import Integers
from optlstm.util.format import many, without_midnight

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origins:
    """The options that say where forecasts begin: see `ForecastPredictor`.

    Args:
        window: rows that the model reads.
        every: whether a forecast begins at every known row from `start` on, or from the first that can be forecast.
    """

    window: int
    horizon: int
    start: str | None
    backtest: int
    every: bool = False

    @property
    def aim(self) -> str:
        """What a series is too short for, in words."""
        aims = [f"for {many(self.backtest, 'forecast')} of {many(self.horizon, 'step')}"] if self.backtest else []
        aims += [f"to be forecast from {self.start}"] if self.start is not None else []
        return " ".join(aims) or "to be forecast"

    def too_short(self, panel: Panel) -> NDArray[np.bool_]:
        """Which series have no row to forecast from, or no truth that a backtest needs."""
        at, first, end = self._first(panel), panel.starts[:-1], panel.starts[:-1] + panel.known
        last = at + self.backtest - 1 + self.horizon if self.backtest else end
        return np.asarray((at <= first) | (last > end) | (self.every & (at >= end)))

    def _first(self, panel: Panel) -> Integers:
        """The first row to forecast in every series; -1: it does not hold the time."""
        end = panel.starts[:-1] + panel.known
        if self.start is not None:
            return _positions(panel, self.start)
        if self.every:  # of many series, some may be padded
            least = np.minimum(panel.known - 1, self.window) if panel.series else self.window
            return np.asarray(panel.starts[:-1] + least)
        return np.asarray(end - self.horizon - self.backtest + 1 if self.backtest else end)

    def ranges(self, panel: Panel) -> tuple[Integers, Integers]:
        """The first row to forecast in every series, and from how many successive rows; raises as `rows`."""
        at, end = self.rows(panel), panel.starts[:-1] + panel.known
        if self.every and (at >= end).any():
            raise InputError(f"--anomalies: no row of {panel.counted(np.flatnonzero(at >= end))} is left to look at")
        return at, end - at if self.every else np.full(len(at), self.backtest or 1)

    def rows(self, panel: Panel) -> Integers:
        """The first row to forecast in every series: at most the row behind its last target.

        Raises:
            InputError: a series is too short.
        """
        window, horizon, start, backtest = self.window, self.horizon, self.start, self.backtest
        end, at = panel.starts[:-1] + panel.known, self._first(panel)
        if start is not None:
            _check_positions(panel, at, start)
        before = np.maximum(0, at - panel.starts[:-1])
        short = np.flatnonzero(at - panel.starts[:-1] < window)
        notes = [many(int(before[i]), "row") for i in short]
        if len(short) and panel.series is None:
            raise InputError(self._too_short(panel, int(before[0])))
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
            which = f", which has {many(int(panel.known[0]), 'row')}" if panel.series is None else ""
            first = f" from row {at[0] + 1} on" if panel.series is None else ""
            raise InputError(
                f"--backtest: {backtest} forecasts of {horizon} steps{first} go beyond the last row of"
                f" {panel.counted(beyond)}{which}; at most {max(0, most)}"
            )
        return at

    def _too_short(self, panel: Panel, before: int) -> str:
        """The message for a file that is one series."""
        rows, window = int(panel.known[0]), self.window
        if self.backtest and self.start is None:
            most = max(0, rows - self.horizon - window + 1)
            enough = many(most, "forecast")
            return f"--backtest: {panel.file} has {many(rows, 'row')}, enough for {enough}, not for {self.backtest}"
        have = f"only {many(before, 'row')} before the first forecast" if self.start else many(rows, "row")
        return f"data: {panel.file} has {have}, and the model reads {window}; give it a longer file"


def _positions(panel: Panel, start: str) -> Integers:
    """The row of the time `start` in every series: one with targets, or the row behind the last of them; -1: none."""
    wanted = _wanted_time(panel, start, _some_times(panel))
    ticks, at = ticks_of(panel.time), np.full(len(panel.ids), -1)
    for i, begin in enumerate(panel.starts[:-1].tolist()):
        known = ticks[begin : begin + int(panel.known[i]) + 1]
        position = int(np.searchsorted(known, wanted))
        if position < len(known) and known[position] == wanted:
            at[i] = begin + position
    return at


def _check_positions(panel: Panel, at: Integers, start: str) -> None:
    """Raises InputError where some series do not hold the time `start`."""
    lacking = np.flatnonzero(at < 0)
    if len(lacking) and panel.series is None:
        where = _some_times(panel)
        raise InputError(f"--from: {start!r} is not one of the data's times, nor the next one after them ({where})")
    if len(lacking):
        raise InputError(
            f"--from: {start!r} is not one of the times of {panel.counted(lacking)}, nor the next one after them"
        )


def _some_times(panel: Panel) -> str:
    last = panel.rows(0).stop - 1 if panel.known[0] else 0
    first, newest = without_midnight([str(_as_in_the_file(panel, at)) for at in (0, last)])
    return f"{panel.file} has {first} to {newest}" if panel.series is None else f"such as {first}"


def _as_in_the_file(panel: Panel, row: int) -> object:
    time, form = panel.time[row : row + 1], panel.time_format
    of_one_column = form is not None and len(panel.time_columns) < 2
    return written(time, str(form))[0] if of_one_column and isinstance(time, pd.DatetimeIndex) else time[0]


def _wanted_time(panel: Panel, start: str, where: str) -> int:
    """The time of `--from`, in ticks. It is written as in the file, or in ISO 8601."""
    time, form, text = panel.time, panel.time_format, pd.Series([str(start)], dtype="str")
    if not isinstance(time, pd.DatetimeIndex):
        try:
            return int(start)
        except (ValueError, TypeError):
            raise InputError(f"--from: {start!r} is no time; write it as in the data ({where})") from None
    wanted = read_texts(text, form) if form is not None else time[:0]
    if not len(wanted) or wanted.hasnans:
        try:
            wanted, _ = parse_times(text, has_day_first(form))
        except ValueError:  # day and month
            wanted = pd.DatetimeIndex([None])
    if wanted.hasnans:
        raise InputError(f"--from: {start!r} is no time; write it as in the data ({where})")
    if time.tz is None and wanted.tz is not None:
        raise InputError(f"--from: {start!r} has a time zone, and the times of {panel.file} have none")
    return int(ticks_of(wanted)[0])
