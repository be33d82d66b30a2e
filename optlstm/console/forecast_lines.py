"""What `predict` says of forecasts on the terminal."""

from __future__ import annotations

from typing import Any

import numpy as np

from optlstm.tasks.forecast.tables import ForecastTable
from optlstm.util.format import number, short

_MOST = 5  # series


def forecast_lines(table: ForecastTable) -> list[str]:
    """A line for each target of the first series: its span, mean, lowest and highest forecast, the last known value."""
    if table.backtest or type(table) is not ForecastTable:  # of known rows, or many values a step
        return []
    frame, panel, horizon = table.frame(), table.panel, table.data.horizon
    time = "ds" if len(panel.time_columns) > 1 else str(panel.time.name)
    lines = []
    for window, series in enumerate(table.series[:_MOST].tolist()):
        part = frame.iloc[window * horizon : (window + 1) * horizon]
        times = part[time].astype(str).tolist()
        for at, column in enumerate(panel.columns):
            values = part[column].to_numpy()
            low, high = int(values.argmin()), int(values.argmax())
            known = panel.values[panel.starts[series] : table.first[window], at]
            name = short(" ".join([*([panel.ids[series]] if panel.series else []), column]))
            span = times[0] if horizon == 1 else f"{times[0]} to {times[-1]}"
            lines.append(
                f"{name}: {span}, mean {_number(values.mean())}, lowest {_number(values[low])} ({times[low]}), "
                f"highest {_number(values[high])} ({times[high]}); last known {_last(known)}"
            )
    more = len(table.series) - _MOST
    return [*lines, f"and {more:,} more series"] if more > 0 else lines


def _number(value: Any) -> str:
    return number(float(value), 5)


def _last(known: Any) -> str:
    given = known[~np.isnan(known)]
    return _number(given[-1]) if len(given) else "none"
