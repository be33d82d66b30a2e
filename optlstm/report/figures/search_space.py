"""Figures of the search space: what mattered, and which values were good."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

from optlstm.report.figures.curves import MAX_POINTS, caption, tip, value_axis
from optlstm.report.figures.figure import Axis, Figure, Heat, Marks, Panel, Position
from optlstm.report.figures.palette import SCALE
from optlstm.report.view import LEAST_FOR_IMPORTANCE, StudyView, choose, chosen_in_words
from optlstm.util.format import many, number, short

MAX_LINES = 300
LEAST_FOR_CONTOUR = 8
GRID = 48


@dataclass(frozen=True)
class Scale:
    """A param's axis, and the position of a value on it: of a categorical's choices 0, 1, 2 ..."""

    axis: Axis
    position: Callable[[Any], float]
    low: float
    high: float

    def unit(self, value: Any) -> float:
        """A value as 0 to 1 along the param's range, by its logarithm where the axis is logarithmic."""
        at, low, high = self.position(value), self.low, self.high
        if self.axis.log:
            at, low, high = math.log(at), math.log(low), math.log(high)
        return (at - low) / (high - low) if high > low else 0.5

    def position_of_unit(self, unit: float) -> float:
        """The inverse of `unit`, as a position on the axis."""
        if self.axis.log:
            return math.exp(math.log(self.low) + unit * (math.log(self.high) - math.log(self.low)))
        return self.low + unit * (self.high - self.low)


def scale_of(name: str, distribution: BaseDistribution) -> Scale:
    if isinstance(distribution, CategoricalDistribution):
        ticks = [(float(k), short(choice, 24)) for k, choice in enumerate(distribution.choices)]
        last = len(ticks) - 1
        axis = Axis(name, ticks=ticks, low=-0.4, high=last + 0.4)
        return Scale(axis, lambda value: float(distribution.to_internal_repr(value)), 0, last)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    low, high = float(distribution.low), float(distribution.high)
    if distribution.log:
        edge = (high / low) ** 0.04
        axis = Axis(name, log=True, ticks=_log_ticks(low, high), low=low / edge, high=high * edge)
    else:
        edge = 0.04 * (high - low) or 1.0
        axis = Axis(name, whole=isinstance(distribution, IntDistribution), low=low - edge, high=high + edge)
    return Scale(axis, float, low, high)


def _log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """1, 2 and 5 of each power of ten; over more than three of them, the powers alone."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    digits = (1, 2, 5) if last - first <= 3 else (1,)
    values = [float(f"{digit}e{power}") for power in range(first, last + 1) for digit in digits]
    return [(v, number(v)) for v in values if low * 0.999 <= v <= high * 1.001]


def colours(trials: Sequence[FrozenTrial], view: StudyView) -> list[str]:
    """Each complete trial's colour by its rank among all of them: ranks spread evenly, however far the values."""
    rank = {t.number: k for k, t in enumerate(view.by_value)}
    last = max(1, len(rank) - 1)
    return [f"s{SCALE - 1 - rank[t.number] * (SCALE - 1) // last}" for t in trials]


def importance_figure(view: StudyView) -> Figure | None:
    weights = view.importances
    if not weights:
        return None
    names = list(weights)
    axis = Axis(ticks=[(float(k), short(name, 28)) for k, name in enumerate(names)])
    bars = Marks(
        "bars", list(weights.values()), list(range(len(names))), "accent", across=True,
        tips=[f"{name}\n{100 * weight:.1f} %" for name, weight in weights.items()],
    )  # fmt: skip
    left = [short(name, 28) for name in view.searched if name not in weights]
    return Figure(
        "importance",
        "What mattered",
        caption(
            f"Share of each hyperparameter in what sets the better of the {len(view.by_value):,} complete trials"
            f"{view.by_which} apart (PED-ANOVA). With few trials this is a hint, no proof.",
            f"Without a bar, for lack of values in every trial: {', '.join(left)}." if left else "",
        ),
        [Panel(Axis("importance", low=0), axis, [bars], height=90 + 28 * len(names), down=True)],
    )


def without_importance(study: optuna.Study) -> str:
    """Why a study has no importances."""
    count = len(StudyView(study).by_value)
    if count < LEAST_FOR_IMPORTANCE:
        return f"no importance is known of {many(count, 'complete trial')}; {LEAST_FOR_IMPORTANCE} are needed"
    return "no importance is known: it needs two hyperparameters that differ between the complete trials"


def parallel(view: StudyView) -> Figure | None:
    """A line per complete trial through its hyperparameters; those that mattered most stand first."""
    names = view.by_importance
    if len(view.by_value) < 2 or len(names) < 2:
        return None
    chosen = choose(view.by_value, MAX_LINES, view)
    scales = {name: scale_of(name, view.searched[name]) for name in names}
    groups: dict[str, list[FrozenTrial]] = {}
    for trial, colour in zip(chosen, colours(chosen, view), strict=True):
        groups.setdefault(colour, []).append(trial)
    marks = []
    for colour in sorted(groups, key=lambda c: int(c[1:])):  # the best on top
        x: list[Position] = []
        y: list[Position] = []
        for trial in groups[colour]:
            points = [(k, scales[n].unit(trial.params[n])) for k, n in enumerate(names) if n in trial.params]
            x += [*(k for k, _ in points), None]
            y += [*(round(at, 4) for _, at in points), None]
        marks.append(Marks("line", x, y, colour, opacity=0.8, size=7 if colour == f"s{SCALE - 1}" else 4))
    ticks = [(float(k), f"{short(n, 20)}\n{_ends(view.searched[n])}") for k, n in enumerate(names)]
    return Figure(
        "parallel",
        "Hyperparameters together",
        caption(
            f"A line is a complete trial; the colour is its rank{view.by_which}, the best standing out most.",
            "Each axis runs over the hyperparameter's range, from the bottom to the top as it says below it.",
            chosen_in_words(len(chosen), len(view.by_value)),
        ),
        [
            Panel(
                Axis(ticks=ticks, low=-0.3, high=len(names) - 0.7),
                Axis(ticks=[(0.0, "low"), (1.0, "high")], low=-0.04, high=1.04),
                marks,
                height=420,
            )
        ],
    )


def _ends(distribution: Any) -> str:
    """`0.0003 to 0.003`, or of choices the first and the last."""
    ends = getattr(distribution, "choices", None) or (distribution.low, distribution.high)
    return f"{short(number(ends[0]), 12)} to {short(number(ends[-1]), 12)}"


def slices(view: StudyView) -> Figure | None:
    """Value against each hyperparameter."""
    if len(view.by_value) < 2 or not view.searched:
        return None
    chosen = choose(view.by_value, MAX_POINTS // 2, view)
    panels = []
    axis, outside = value_axis([t.values[0] for t in view.by_value], view.objective, view.sign)
    for name in view.by_importance:
        scale = scale_of(name, view.searched[name])
        group = [t for t in chosen if name in t.params]
        x, y = [scale.position(t.params[name]) for t in group], [t.values[0] for t in group]
        tips = [f"trial {t.number}\n{number(t.params[name])}: {number(t.values[0], 5)}" for t in group]
        points = Marks("points", x, y, colours(group, view), tips=tips, size=7, opacity=0.9)
        panels.append(Panel(scale.axis, axis, [points], height=280))
    return Figure(
        "slices",
        "One hyperparameter at a time",
        caption(
            f"Complete trials; the colour is their rank{view.by_which}.",
            chosen_in_words(len(chosen), len(view.by_value)),
            f"{outside:,} outside the figure." if outside else "",
        ),
        panels,
        wide=False,
    )


def contour(view: StudyView) -> Figure | None:
    """The plane of the two hyperparameters that mattered most."""
    names = list(view.importances)[:2]
    both = [t for t in view.by_value if all(n in t.params for n in names)]
    if len(names) < 2 or len(both) < LEAST_FOR_CONTOUR:
        return None
    scales = [scale_of(name, view.searched[name]) for name in names]
    chosen = choose(both, MAX_POINTS // 2, view)
    heat = _surface(both, names, scales, view)
    points = Marks(
        "points", [scales[0].position(t.params[names[0]]) for t in chosen],
        [scales[1].position(t.params[names[1]]) for t in chosen],
        "text", tips=[tip(t, view) for t in chosen], size=5, opacity=0.8,
    )  # fmt: skip
    return Figure(
        "contour",
        "The two that mattered most",
        caption(
            f"{view.objective} of the complete trials (points) over {short(names[0])} and {short(names[1])};"
            " between them it is interpolated, and the other hyperparameters differ from point to point.",
            chosen_in_words(len(chosen), len(both)),
        ),
        [Panel(scales[0].axis, scales[1].axis, [*([heat] if heat else []), points], height=440)],
    )


def _surface(
    trials: Sequence[FrozenTrial], names: Sequence[str], scales: Sequence[Scale], view: StudyView
) -> Heat | None:
    """Linear interpolation inside the points' hull; at one position the median of its values."""
    from scipy.interpolate import griddata
    from scipy.spatial import QhullError

    by_position: dict[tuple[float, float], list[float]] = {}
    for t in trials:
        at = (scales[0].unit(t.params[names[0]]), scales[1].unit(t.params[names[1]]))
        by_position.setdefault(at, []).append(t.values[0])
    if len(by_position) < 4:
        return None
    cap = float(np.quantile([t.values[0] for t in trials], 0.9 if view.sign > 0 else 0.1))
    values = [min(np.median(v), cap) if view.sign > 0 else max(np.median(v), cap) for v in by_position.values()]
    line = np.linspace(0, 1, GRID)
    try:
        z = griddata(np.array(list(by_position)), np.array(values), tuple(np.meshgrid(line, line)), method="linear")
    except QhullError:  # all on one line
        return None
    rows = [[float(f"{v:.5g}") if math.isfinite(v) else None for v in row] for row in z]
    x, y = ([scale.position_of_unit(float(u)) for u in line] for scale in scales)
    return Heat(x, y, rows, smooth=True, reverse=view.sign > 0)
