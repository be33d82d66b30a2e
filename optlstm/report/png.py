"""Figures as PNG files, drawn by matplotlib: no browser, no network, no window."""

from __future__ import annotations

import datetime
import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optlstm.report.figures.figure import Axis, Figure, Heat, Marks, Panel, Position
from optlstm.report.figures.palette import LIGHT, SCALE
from optlstm.util.format import number, visible_lines
from optlstm.util.output_file import OutputFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

DPI = 200
WIDTH, ROW = 7.2, 2.7  # inches; of the page, of a small panel
MARKERS = {"circle": "o", "x": "x"}
STYLE: Any = {
    "text.parse_math": False,  # a name may hold a dollar sign
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": LIGHT["muted"],
    "axes.labelcolor": LIGHT["quiet"],
    "xtick.color": LIGHT["quiet"],
    "ytick.color": LIGHT["quiet"],
    "axes.grid": True,
    "grid.color": LIGHT["line"],
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.titlesize": 8,
    "legend.frameon": False,
}


def write_pngs(figures: Sequence[Figure], folder: Path) -> list[Path]:
    """One file per figure, named by its key; the folder is made. Raises OptlstmError where it cannot be written."""
    files = [OutputFile(folder / f"{figure.key}.png", option="--png") for figure in figures]
    for figure, file in zip(figures, files, strict=True):
        file.write(png(figure))
    return [file.path for file in files]


def png(figure: Figure, dpi: int = DPI) -> bytes:
    out = io.BytesIO()
    with _style():
        draw(figure, dpi).savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()  # matplotlib has read any matplotlibrc in the working folder, which may be anybody's
        matplotlib.rcParams.update(STYLE)
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)  # scripts the font does not have
        warnings.filterwarnings("ignore", "AutoDateLocator was unable", UserWarning)  # within a few milliseconds
        yield


def draw(figure: Figure, dpi: int = DPI) -> Canvas:
    """The figure as matplotlib's."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    across = 1 if figure.wide else min(3, len(figure.panels))
    down = -(-len(figure.panels) // across)
    tall = max(panel.height for panel in figure.panels) / 100 if figure.wide else ROW
    with _style():
        canvas = Canvas(figsize=(WIDTH if across < 3 else 1.4 * WIDTH, tall * down), layout="constrained", dpi=dpi)
        FigureCanvasAgg(canvas)
        for k, panel in enumerate(figure.panels):
            _draw(canvas.add_subplot(down, across, k + 1), panel)
        _legend(canvas)
    return canvas


def _legend(canvas: Any) -> None:
    """One for all panels, below them."""
    entries: dict[str, Any] = {}
    for axes in canvas.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(name, handle)
    if entries:
        names = list(entries)
        canvas.legend(list(entries.values()), names, loc="outside lower center", ncols=min(5, len(names)))


def _draw(axes: Axes, panel: Panel) -> None:
    for side, axis in (("x", panel.x), ("y", panel.y)):
        if axis.log:
            _logarithmic(axes, side)
    if panel.band is not None:
        axes.axvspan(*panel.band, color=LIGHT["good"], alpha=0.15, linewidth=0)
    for mark in panel.marks:
        if isinstance(mark, Heat):
            _heat(axes, mark)
        else:
            _mark(axes, mark, panel)
    for side, axis in (("x", panel.x), ("y", panel.y)):
        _set_axis(axes, side, axis)
    if panel.down:
        axes.invert_yaxis()
    axes.set_title(visible_lines(panel.title), loc="left")


def _logarithmic(axes: Axes, side: str) -> None:
    """matplotlib labels such an axis in LaTeX, its minor ticks too where it is short; here a dollar is a dollar."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set(**{f"{side}scale": "log"})
    axis = getattr(axes, f"{side}axis")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=7))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(float(value))))
    axis.set_minor_formatter(NullFormatter())


def _mark(axes: Axes, mark: Marks, panel: Panel) -> None:
    colour: Any = LIGHT[mark.colour] if isinstance(mark.colour, str) else [LIGHT[c] for c in mark.colour]
    label = visible_lines(mark.name) or "_"  # matplotlib lists no name with that before it
    x: Any = _coordinates(mark.x, panel.x) if mark.kind != "bars" or not mark.base else None
    y: Any = _coordinates(mark.y, panel.y)
    if mark.kind == "bars":
        lengths: Any = x or [datetime.timedelta(milliseconds=float(v or 0)) for v in mark.x]
        left = _coordinates(mark.base, panel.x) if mark.base else None
        axes.barh(y, lengths, left=left, color=colour, label=label, alpha=mark.opacity)
    elif mark.kind == "band":
        low: Any = _coordinates(mark.base, panel.y)
        axes.fill_between(x, low, y, color=colour, label=label, alpha=mark.opacity, linewidth=0)
    elif mark.kind == "points":
        axes.scatter(
            x, y, s=mark.size**2 / 2.5, c=colour, marker=MARKERS[mark.symbol], label=label, alpha=mark.opacity,
            linewidths=0.8 if mark.symbol == "x" else 0,
        )  # fmt: skip
    else:
        style: Any = {"drawstyle": "steps-post"} if mark.kind == "step" else {}
        axes.plot(
            x, y, color=colour, linewidth=mark.size / 4, linestyle=":" if mark.dash else "-", label=label,
            alpha=mark.opacity, **style,
        )  # fmt: skip


def _heat(axes: Axes, heat: Heat) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    colours = [LIGHT[f"s{k}"] for k in range(SCALE)]
    colourmap = LinearSegmentedColormap.from_list("scale", colours[::-1] if heat.reverse else colours)
    z: Any = [[math.nan if v is None else v for v in row] for row in heat.z]
    x: Any = heat.x
    y: Any = heat.y
    axes.grid(False)
    if heat.smooth:
        axes.figure.colorbar(axes.contourf(x, y, z, levels=14, cmap=colourmap), ax=axes, shrink=0.8)
        return
    axes.pcolormesh(x, y, z, cmap=colourmap)
    for row, texts in enumerate(heat.texts):
        for column, text in enumerate(texts):
            dark = (heat.z[row][column] or 0) > 0.6
            axes.text(x[column], y[row], visible_lines(text), ha="center", va="center", color="w" if dark else "k")


def _set_axis(axes: Axes, side: str, axis: Axis) -> None:
    settings: dict[str, Any] = {f"{side}label": visible_lines(axis.title)}
    if axis.ticks is not None:
        settings[f"{side}ticks"] = [at for at, _ in axis.ticks]
        settings[f"{side}ticklabels"] = [visible_lines(text) for _, text in axis.ticks]
    elif axis.time:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator: Any = AutoDateLocator
        formatter: Any = ConciseDateFormatter
        ticks = locator(minticks=3, maxticks=6)
        getattr(axes, f"{side}axis").set_major_locator(ticks)
        getattr(axes, f"{side}axis").set_major_formatter(formatter(ticks))
    elif axis.whole and not axis.log:
        from matplotlib.ticker import MaxNLocator

        getattr(axes, f"{side}axis").set_major_locator(MaxNLocator("auto", integer=True))
    axes.set(**settings)
    if axis.low is not None or axis.high is not None:
        axes.set(**{f"{side}lim": (axis.low, axis.high)})
    if side == "x" and axis.ticks is not None and sum(len(text) for _, text in axis.ticks) > 40:
        axes.tick_params(axis="x", labelrotation=30)


def _coordinates(values: Sequence[Position], axis: Axis) -> list[Any]:
    if axis.time:
        return [None if v is None else datetime.datetime.fromisoformat(str(v)) for v in values]
    return [math.nan if v is None else v for v in values]
