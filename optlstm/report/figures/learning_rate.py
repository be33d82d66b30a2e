"""The draws of a learning-rate search, and what it recommends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from optuna.trial import FrozenTrial

from optlstm.report.figures.curves import caption
from optlstm.report.figures.figure import Axis, Figure, Marks, Panel
from optlstm.report.figures.palette import SCALE
from optlstm.report.figures.search_space import scale_of
from optlstm.study.narrowing import RATE, Recommendation, drawn_trials
from optlstm.study.record import REASON_KEY
from optlstm.util.format import number


def learning_rates(trials: Sequence[FrozenTrial], draws: int, label: str, recommended: Recommendation | None) -> Figure:
    """Loss over learning rate, a colour for each round of `draws` trials, the diverged ones on the upper edge."""
    drawn = drawn_trials(trials)
    values = [float(t.value) for t in drawn if t.value is not None]
    axis = _loss_axis(values, f"validation {label}")
    top = axis.high or 1.0
    marks: list[Marks] = []
    rounds = sorted({t.number // draws for t in drawn})
    for index, round_ in enumerate(rounds):
        group = [t for t in drawn if t.number // draws == round_ and t.value is not None]
        colour = f"s{2 + index * (SCALE - 3) // max(1, len(rounds) - 1)}"
        tips = [
            f"trial {t.number}\nlearning rate {number(t.params[RATE], 3)}\n{label} {number(t.value)}" for t in group
        ]
        marks.append(_points(group, [t.value for t in group], colour, f"round {round_ + 1}", tips))
    if diverged := [t for t in drawn if t.value is None]:
        tips = [f"trial {t.number}: {t.user_attrs.get(REASON_KEY, 'diverged')}" for t in diverged]
        marks.append(_points(diverged, [top] * len(diverged), "failed", "diverged", tips, symbol="x"))
    band = None
    if recommended is not None:
        band = (recommended.low, recommended.high)
        name = f"recommended: {recommended.value:.2g}"
        marks.append(Marks("line", [recommended.value] * 2, [axis.low, top], "good", name, dash=True))
    panels = [Panel(scale_of(RATE, drawn[0].distributions[RATE]).axis, axis, marks, height=460, band=band)]
    return Figure(
        "learning-rates",
        "Loss over learning rate",
        caption(
            "A point is a short training at one learning rate; the rounds narrow, and the last stands out most.",
            "Shaded: the range to search on. The dashed line: the value to use without a search." if band else "",
            "A cross on the upper edge is a training that diverged." if len(values) < len(drawn) else "",
        ),
        panels if drawn else [],
    )


def _points(
    trials: Sequence[FrozenTrial],
    values: Sequence[float | None],
    colour: str,
    name: str,
    tips: Sequence[str],
    symbol: Literal["circle", "x"] = "circle",
) -> Marks:
    return Marks("points", [t.params[RATE] for t in trials], values, colour, name, tips, size=11, symbol=symbol)


def _loss_axis(values: Sequence[float], title: str) -> Axis:
    """With room above the largest loss for those that diverged; logarithmic where all are positive."""
    low, high = min(values, default=0.1), max(values, default=1.0)
    if low > 0:
        return Axis(title, log=True, low=low / 1.3, high=high * 1.6)
    edge = 0.1 * (high - low) or 1.0
    return Axis(title, low=low - edge, high=high + edge)
