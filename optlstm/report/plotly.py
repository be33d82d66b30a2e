"""Figures as plotly.js reads them: plain JSON. Colours stay roles, which the page turns into light or dark ones.

plotly.js takes some HTML in every text (links and styles among it) and fills in `%{...}`: here every text is written as
entities, so that names are only ever shown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from optlstm.report.figures.figure import Axis, Figure, Heat, Marks, Panel
from optlstm.report.figures.palette import SCALE
from optlstm.util.format import visible_lines

SYMBOLS = {"circle": "circle", "x": "x-thin-open"}
# Looked up by the page in these places only, so that no text can pass for a colour.
ROLE = "@"
MAX_WHOLE_TICKS = 12


def plain(text: str) -> str:
    """Text that plotly.js shows as it is; lines stay lines."""
    entities = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "%": "&#37;", "\n": "<br>"}
    return "".join(entities.get(c, c) for c in visible_lines(text))


def plotly_panels(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """{id, data, layout, height} of every panel; the page has an element of that id."""
    return [
        {
            "id": f"{figure.key}-{k}",
            "data": [_heat(mark) if isinstance(mark, Heat) else _trace(mark) for mark in panel.marks],
            "layout": _layout(panel),
            "height": panel.height,
        }
        for figure in figures
        for k, panel in enumerate(figure.panels)
    ]


def _trace(mark: Marks) -> dict[str, Any]:
    trace: dict[str, Any] = {
        "x": [_number(v) for v in mark.x],
        "y": [_number(v) for v in mark.y],
        "opacity": mark.opacity,
        "name": plain(mark.name),
        "showlegend": bool(mark.name),
        "hoverinfo": "text" if mark.tips else "skip",
    }
    if mark.tips:
        trace["hovertext"] = [plain(tip) for tip in mark.tips]
    if mark.kind == "bars":
        trace.update(type="bar", marker={"color": _role(mark.colour)}, orientation="h" if mark.across else "v")
        if mark.base:
            trace["base"] = list(mark.base)
        return trace
    trace["type"] = "scatter"
    if mark.kind == "band":
        x, y = trace["x"], trace["y"] + [_number(v) for v in mark.base][::-1]
        fill = {"fill": "toself", "fillcolor": _role(mark.colour), "line": {"width": 0}, "mode": "lines"}
        return {**trace, "x": x + x[::-1], "y": y, **fill}
    if mark.kind == "points":
        marker = {"size": mark.size, "symbol": SYMBOLS[mark.symbol], "color": _role(mark.colour)}
        if mark.symbol == "x":  # drawn by its line alone
            marker["line"] = {"width": 1.6, "color": _role(mark.colour)}
        return {**trace, "mode": "markers", "marker": marker}
    line = {"width": mark.size / 3, "color": _role(mark.colour), "dash": "dot" if mark.dash else "solid"}
    if mark.kind == "step":
        line["shape"] = "hv"
    return {**trace, "mode": "lines", "line": line}


def _heat(heat: Heat) -> dict[str, Any]:
    trace: dict[str, Any] = {
        "type": "contour" if heat.smooth else "heatmap",
        "x": [_number(v) for v in heat.x],
        "y": [_number(v) for v in heat.y],
        "z": [[_number(v) for v in row] for row in heat.z],
        "colorscale": [[k / (SCALE - 1), f"{ROLE}s{k}"] for k in range(SCALE)],
        "reversescale": heat.reverse,
        "colorbar": {"thickness": 10, "outlinewidth": 0, "tickfont": {"size": 11}},
        "hoverinfo": "text" if heat.tips else "skip",
    }
    if heat.smooth:
        trace.update(line={"width": 0.5, "color": f"{ROLE}line"}, connectgaps=False)
    if heat.tips:
        trace["hovertext"] = [[plain(tip) for tip in row] for row in heat.tips]
    if heat.texts:
        trace.update(text=[[plain(t) for t in row] for row in heat.texts], texttemplate="%{text}")
    return trace


def _layout(panel: Panel) -> dict[str, Any]:
    x = _axis(panel.x) | _whole_ticks(panel.x, [v for mark in panel.marks for v in mark.x])
    y = _axis(panel.y) | _whole_ticks(panel.y, [v for mark in panel.marks for v in mark.y])
    layout: dict[str, Any] = {"xaxis": x, "yaxis": {**y, **({"autorange": "reversed"} if panel.down else {})}}
    if panel.band is not None:
        low, high = panel.band
        place = {"type": "rect", "xref": "x", "yref": "paper", "x0": low, "x1": high, "y0": 0, "y1": 1}
        fill = {"fillcolor": f"{ROLE}good", "opacity": 0.15, "line": {"width": 0}, "layer": "below"}
        layout["shapes"] = [place | fill]
    return layout


def _whole_ticks(axis: Axis, values: Sequence[Any]) -> dict[str, Any]:
    """A tick at each whole number of a short axis, where plotly.js would put some between them."""
    ends = [v for v in (*values, axis.low, axis.high) if isinstance(v, int | float)]
    counted = axis.whole and not axis.log and axis.ticks is None and ends
    return {"dtick": 1} if counted and max(ends) - min(ends) <= MAX_WHOLE_TICKS else {}


def _axis(axis: Axis) -> dict[str, Any]:
    settings: dict[str, Any] = {"title": {"text": plain(axis.title)}, "type": "log" if axis.log else "-"}
    if axis.time:
        settings["type"] = "date"
    if axis.ticks is not None:
        settings.update(tickvals=[at for at, _ in axis.ticks], ticktext=[plain(text) for _, text in axis.ticks])
        # plotly.js leaves out a text that would be past the edge; so the margin grows, and no text leans over it.
        settings.update(ticklabeloverflow="allow", autotickangles=[0, 90])
    if axis.low is not None or axis.high is not None:
        ends = (axis.low, axis.high)
        settings["range"] = [math.log10(end) if axis.log and end else end for end in ends]
    return settings


def _role(colour: str | Sequence[str]) -> str | list[str]:
    return ROLE + colour if isinstance(colour, str) else [ROLE + c for c in colour]


def _number(value: Any) -> Any:
    """Six digits are more than can be seen; what is not finite is a gap."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
