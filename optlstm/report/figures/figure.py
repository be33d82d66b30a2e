"""Figures as plain data: panels of marks on two axes. `plotly` and `png` draw the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

# Roles; palette.py gives each a colour. "s0" (worst) to "s11" (best) are a scale, "c0" to "c7" tell studies apart.
Colour = str
Number = float | int | None
Position = Number | str  # a date or time is an ISO string


@dataclass(frozen=True)
class Axis:
    """ticks: (position, text) pairs in place of numbers. low, high: its ends. whole: its values are whole numbers."""

    title: str = ""
    log: bool = False
    time: bool = False
    whole: bool = False
    ticks: Sequence[tuple[float, str]] | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Marks:
    """Points, a line (None in x and y interrupts it), steps, bars, or a band from `base` to y.

    tips: the text shown at a mark, in lines.

    Bars begin at `base` and lie along y where `across` is set.
    """

    kind: Literal["points", "line", "step", "bars", "band"]
    x: Sequence[Position]
    y: Sequence[Position]
    colour: Colour | Sequence[Colour] = "accent"
    name: str = ""  # in the legend; without one it is not listed
    tips: Sequence[str] = ()
    size: float = 6.0  # a point's diameter, a line's width times 3
    opacity: float = 1.0
    symbol: Literal["circle", "x"] = "circle"
    dash: bool = False
    base: Sequence[Position] = ()
    across: bool = False


@dataclass(frozen=True)
class Heat:
    """A table of numbers as colours. z: [rows (y), columns (x)], None where there is nothing.

    texts, tips: One per cell.
    """

    x: Sequence[float]
    y: Sequence[float]
    z: Sequence[Sequence[Number]]
    texts: Sequence[Sequence[str]] = ()
    tips: Sequence[Sequence[str]] = ()
    smooth: bool = False  # contours rather than cells
    reverse: bool = False  # a small number is the good one


@dataclass(frozen=True)
class Panel:
    x: Axis
    y: Axis
    marks: Sequence[Marks | Heat]
    title: str = ""
    height: int = 340  # px
    down: bool = False  # y grows downward
    band: tuple[float, float] | None = None  # a shaded range of x


@dataclass(frozen=True)
class Figure:
    """key: its id in the page and its file's name. caption: what is seen, and what was left out."""

    key: str
    title: str
    caption: str
    panels: Sequence[Panel] = field(default_factory=tuple)
    wide: bool = True  # one panel a row
