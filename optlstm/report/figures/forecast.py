"""Forecasts of new rows: what was known before them, the forecast, and its intervals; and anomalies of known rows."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from optlstm.errors import InputError, did_you_mean
from optlstm.report.figures.figure import Axis, Figure, Marks, Panel, Position
from optlstm.tasks.forecast.tables import ForecastTable
from optlstm.util.format import many, short

MOST = 6  # series that are drawn unasked
_LEAST_KNOWN, _HORIZONS = 48, 3  # rows before the forecast: so many at least, and so many times the horizon
_MOST_ROWS = 2000  # of anomalies, the newest
_OPACITY = (0.15, 0.25, 0.35)  # of intervals, the widest first


def forecast_figure(table: ForecastTable, series: Sequence[str] = ()) -> Figure:
    """A panel for each target of each series, with its newest forecast.

    Args:
        series: Their names; none: the first ones.

    Raises:
        InputError: There is no such series.
    """
    frame, horizon = table.frame(), table.data.horizon
    newest = {int(at): window for window, at in enumerate(table.series)}  # of a backtest the last one
    drawn, few = _drawn(table, list(newest), series)
    panels = [
        _panel(table, frame.iloc[newest[at] * horizon : (newest[at] + 1) * horizon], newest[at], column)
        for at in drawn
        for column in table.panel.columns
    ]
    bands = " Bands are prediction intervals, the widest the palest." if table.levels else ""
    return Figure("forecast", "Forecast", f"The last known rows and the forecast.{bands}{few}", panels)


def anomaly_figure(table: ForecastTable, series: Sequence[str] = ()) -> Figure:
    """A panel for each target of each series: the values, the range that was expected, and what lies outside.

    Args:
        series, and what it raises: As of `forecast_figure`.
    """
    frame, columns, panels = table.frame(), table.panel.columns, []
    drawn, few = _drawn(table, list(dict.fromkeys(table.series.tolist())), series)
    at = np.repeat(table.series, len(columns))  # of the frame's rows
    for number in drawn:
        for column in columns:
            rows = frame[at == number]
            rows = rows[rows["column"] == column] if len(columns) > 1 else rows
            panels.append(_anomalies(table, rows.tail(_MOST_ROWS), number, column))
    caption = f"The values, and the range of {table.levels[0]} % that was expected of each; outside are anomalies.{few}"
    return Figure("anomalies", "Anomalies", caption, panels)


def _anomalies(table: ForecastTable, rows: pd.DataFrame, series: int, column: str) -> Panel:
    panel, time = table.panel, "ds" if len(table.panel.time_columns) > 1 else str(table.panel.time.name)
    when, outside = _positions(rows[time]), rows[rows["anomaly"]]
    values, low, high = (_gaps(rows[name].tolist()) for name in ("value", "lo", "hi"))
    expected = zip(outside["value"], outside["lo"], outside["hi"], outside["score"], strict=True)
    tips = [f"{value:.6g}\nexpected {a:.6g} to {b:.6g}\nscore {score:.3g}" for value, a, b, score in expected]
    marks = [
        Marks("band", when, high, "accent", f"{table.levels[0]} %", opacity=_OPACITY[1], base=low),
        Marks("line", when, values, "muted", "known"),
        Marks("points", _positions(outside[time]), outside["value"].tolist(), "failed", "anomaly", tips, symbol="x"),
    ]
    names = [*([panel.ids[series]] if len(panel.ids) > 1 else []), column]
    return Panel(Axis(time=isinstance(panel.time, pd.DatetimeIndex)), Axis(column), marks, short(" ".join(names)))


def _drawn(table: ForecastTable, there: Sequence[int], series: Sequence[str]) -> tuple[Sequence[int], str]:
    """The numbers of the series to draw, and how many they are, for the caption. there: those of the table."""
    ids = table.panel.ids
    unknown = [name for name in series if name not in ids]
    if unknown:
        raise InputError([f"--plot-series: there is no series {name!r}{did_you_mean(name, ids)}" for name in unknown])
    chosen = [at for at in there if not series or ids[at] in series]
    drawn = chosen if series else chosen[: max(1, MOST // len(table.panel.columns))]
    return drawn, f" {len(drawn)} of {many(len(there), 'series', 'series')}." if len(drawn) < len(there) else ""


def _panel(table: ForecastTable, forecast: pd.DataFrame, window: int, column: str) -> Panel:
    """forecast: the window's rows of the table's frame."""
    panel, at, series = table.panel, table.panel.columns.index(column), int(table.series[window])
    time = "ds" if len(panel.time_columns) > 1 else str(panel.time.name)
    stop = int(table.first[window])
    rows = slice(max(int(panel.starts[series]), stop - max(_LEAST_KNOWN, _HORIZONS * table.data.horizon)), stop)
    known, ahead = _positions(panel.time[rows]), _positions(forecast[time])
    values = panel.values[rows, at].tolist()
    marks = [Marks("line", known, _gaps(values), "muted", "known")]
    joined, last = [*known[-1:], *ahead], values[-1:]
    for k, level in enumerate(_levels(forecast, column)):
        low, high = (forecast[f"{column}-{end}-{level}"].tolist() for end in ("lo", "hi"))
        opacity = _OPACITY[min(k, len(_OPACITY) - 1)]
        marks.append(Marks("band", joined, [*last, *high], "accent", f"{level} %", opacity=opacity, base=[*last, *low]))
    values = [*last, *forecast[column]]
    tips = [f"{when}\n{value:.6g}" for when, value in zip(joined, values, strict=True)]
    marks.append(Marks("line", joined, _gaps(values), "accent", "forecast", tips))
    if table.backtest:
        marks.append(Marks("line", ahead, _gaps(forecast[f"{column}-actual"].tolist()), "text", "what came", dash=True))
    names = [*([panel.ids[series]] if len(panel.ids) > 1 else []), column]
    return Panel(Axis(time=isinstance(panel.time, pd.DatetimeIndex)), Axis(column), marks, short(" ".join(names)))


def _levels(forecast: pd.DataFrame, column: str) -> list[str]:
    """Of the intervals, the widest first."""
    matches = [re.fullmatch(rf"{re.escape(column)}-lo-([\d.]+)", str(name)) for name in forecast.columns]
    return sorted({match[1] for match in matches if match}, key=float, reverse=True)


def _positions(times: Any) -> list[Position]:
    index = pd.Index(times)
    return [when.isoformat() for when in index] if isinstance(index, pd.DatetimeIndex) else [int(t) for t in index]


def _gaps(values: Sequence[float]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values]
