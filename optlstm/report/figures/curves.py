"""Figures of how a search went: values by trial, learning curves, when trials ran, how good they are in all."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from typing import Literal

from optuna.trial import FrozenTrial

from optlstm.report.figures.figure import Axis, Figure, Marks, Number, Panel, Position
from optlstm.report.view import ENDED, StudyView, choose, chosen_in_words, last_value, seconds
from optlstm.study.record import REASON_KEY
from optlstm.util.format import many, number

MAX_POINTS = 2000  # trials in one figure
MAX_CURVES = 300
MAX_BARS = 1000
TIPPED_PARAMS = 8
STATES = {"COMPLETE": ("complete", "accent"), "PRUNED": ("pruned", "pruned"), "FAIL": ("failed", "failed")}
OTHERS = ("unfinished", "running")


def tip(trial: FrozenTrial, view: StudyView) -> str:
    """A trial in a few lines, of its hyperparameters those that mattered most."""
    lines = [f"trial {trial.number}, {STATES.get(trial.state.name, OTHERS)[0]}"]
    if trial.values:
        lines += [f"{n} {number(float(v), 5)}" for n, v in zip(view.objectives, trial.values, strict=True)]
    elif (value := last_value(trial)) is not None:
        lines.append(f"{view.objective} {number(value, 5)} at epoch {trial.last_step}")
    params = [f"{name} {number(trial.params[name])}" for name in view.by_importance if name in trial.params]
    more = [f"and {len(params) - TIPPED_PARAMS} more"] if len(params) > TIPPED_PARAMS else []
    return "\n".join([*lines, *params[:TIPPED_PARAMS], *more])


def value_axis(values: Sequence[float], title: str, sign: int = 1) -> tuple[Axis, int]:
    """An axis on which the good part can be read, and how many values lie outside it.

    One diverged trial must not flatten all others: values far worse than most are left outside. Logarithmic where
    values are positive and the rest still spans more than a factor of 20. sign: -1 where higher is better.
    """
    finite = sorted(v for v in values if math.isfinite(v))
    if len(finite) < 2 or finite[0] == finite[-1]:
        return Axis(title), 0
    q1, median, q3 = (finite[round(q * (len(finite) - 1))] for q in (0.25, 0.5, 0.75))
    reach = 5 * max(q3 - q1, (finite[-1] - finite[0]) / 1e4)
    low, high = (
        (finite[0], min(finite[-1], median + reach)) if sign > 0 else (max(finite[0], median - reach), finite[-1])
    )
    log = low > 0 and high / low > 20
    outside = sum(not low <= v <= high for v in finite)
    if log:
        return Axis(title, log=True, low=low / 1.1, high=high * 1.1), outside
    edge = 0.04 * (high - low)
    return Axis(title, low=low - edge, high=high + edge), outside


def outside_in_words(count: int, noun: str) -> str:
    return f"{many(count, noun)} {'lies' if count == 1 else 'lie'} outside the figure." if count else ""


def caption(*sentences: str) -> str:
    return " ".join(sentence for sentence in sentences if sentence)


def history(view: StudyView) -> Figure | None:
    """Every trial's value by number, and the best so far."""
    ended = [t for t in view.trials if t.state in ENDED]
    valued = [t for t in ended if last_value(t) is not None]
    if not valued:
        return None
    chosen = choose(valued, MAX_POINTS, view)
    panels, outside = [], 0
    for index, name in enumerate(view.objectives):
        sign = 1 if view.directions[index] == "minimize" else -1
        axis, beyond = value_axis([_value(t, index) for t in valued], name, sign)
        outside += beyond
        best = Marks("step", *best_so_far(view, index), "good", "best so far", size=6)
        panels.append(Panel(Axis("trial", whole=True), axis, [*_points(chosen, view, index), best]))
    return Figure(
        "history",
        "Values by trial",
        caption(
            "A complete trial stands at its value, a pruned one at its last report before it ended."
            if "PRUNED" in view.counts
            else "Each point is a trial.",
            "The line is the best so far.",
            chosen_in_words(len(chosen), len(valued)),
            outside_in_words(outside, "value"),
        ),
        panels,
        wide=len(panels) == 1,
    )


def _value(trial: FrozenTrial, index: int) -> float:
    if trial.values:
        return float(trial.values[index])
    value = last_value(trial)
    return math.nan if value is None or index else value


def _points(trials: Sequence[FrozenTrial], view: StudyView, index: int) -> list[Marks]:
    marks = []
    for state, (word, colour) in STATES.items():
        group = [t for t in trials if t.state.name == state and math.isfinite(_value(t, index))]
        if group:
            x, y, tips = [t.number for t in group], [_value(t, index) for t in group], [tip(t, view) for t in group]
            symbol: Literal["circle", "x"] = "circle" if state == "COMPLETE" else "x"
            marks.append(Marks("points", x, y, colour, word, tips, size=7, opacity=0.75, symbol=symbol))
    return marks


def best_so_far(view: StudyView, index: int = 0) -> tuple[list[int], list[float]]:
    """Trial numbers at which the best value changed, and that value; the last trial closes it."""
    sign = 1 if view.directions[index] == "minimize" else -1
    numbers: list[int] = []
    values: list[float] = []
    for trial in sorted(view.by_value, key=lambda t: t.number):
        if not values or sign * trial.values[index] < sign * values[-1]:
            numbers.append(trial.number)
            values.append(trial.values[index])
    if values:
        numbers.append(view.trials[-1].number)
        values.append(values[-1])
    return numbers, values


def learning_curves(view: StudyView) -> Figure | None:
    """Validation value by epoch, the pruned trials with a cross where they ended."""
    reported = [t for t in view.trials if len(t.intermediate_values) > 0]
    if not reported or max(t.last_step or 0 for t in reported) < 2:
        return None
    chosen, best = choose(reported, MAX_CURVES, view), view.best
    axis, outside = value_axis([v for t in chosen for v in t.intermediate_values.values()], view.objective, view.sign)
    groups = (("PRUNED", "pruned", "pruned"), ("FAIL", "failed", "failed"), ("COMPLETE", "complete", "accent"))
    marks: list[Marks] = []
    opacity = 0.5 if len(chosen) < 60 else 0.25
    for state, word, colour in groups:
        group = [t for t in chosen if t.state.name == state and t != best]
        marks += _lines(group, colour, word, opacity)
        if state != "COMPLETE":
            marks += _ends(group, view, colour)
    marks += _lines([t for t in chosen if t.state not in ENDED], OTHERS[1], OTHERS[0], opacity)
    if best is not None and best in chosen:
        marks += _lines([best], "good", f"{'knee' if view.several else 'best'} (trial {best.number})", 1.0, size=8)
    return Figure(
        "curves",
        "Learning curves",
        caption(
            f"{view.objective} on the validation data after each epoch.",
            "A cross is where a trial was ended; point at it for the reason." if "PRUNED" in view.counts else "",
            chosen_in_words(len(chosen), len(reported)),
            outside_in_words(outside, "report"),
        ),
        [Panel(Axis("epoch", whole=True), axis, marks, height=420)],
    )


def _lines(trials: Sequence[FrozenTrial], colour: str, name: str, opacity: float, size: float = 4) -> list[Marks]:
    x: list[Position] = []
    y: list[Position] = []
    for trial in trials:
        reports = sorted(trial.intermediate_values.items())
        x += [epoch for epoch, _ in reports] + [None]
        y += [value if math.isfinite(value) else None for _, value in reports] + [None]
    return [Marks("line", x, y, colour, name, opacity=opacity, size=size)] if trials else []


def _ends(trials: Sequence[FrozenTrial], view: StudyView, colour: str) -> list[Marks]:
    if not trials:
        return []
    values: list[Number] = [last_value(t) for t in trials]
    reasons = [t.user_attrs.get(REASON_KEY) for t in trials]
    tips = [tip(t, view) + (f"\n{r}" if r else "") for t, r in zip(trials, reasons, strict=True)]
    return [Marks("points", [t.last_step for t in trials], values, colour, "", tips, size=6, symbol="x")]


def distribution(view: StudyView) -> Figure | None:
    """The share of complete trials that are at least as good as a value."""
    if len(view.by_value) < 3 or view.several:
        return None
    values, shares = shares_below(view)
    axis, outside = value_axis(values, view.objective, view.sign)
    panel = Panel(axis, Axis("share of complete trials", low=0, high=1.02), [Marks("step", values, shares, "accent")])
    return Figure(
        "distribution",
        "How good the trials are",
        caption(
            f"The share of the {len(view.by_value):,} complete trials that are at least as good as a value:"
            " the steeper and the further to the good side, the better the search.",
            outside_in_words(outside, "trial"),
        ),
        [panel],
    )


def shares_below(view: StudyView) -> tuple[list[float], list[float]]:
    """Values from the best on, and the share of complete trials at least that good; at most MAX_POINTS of them."""
    count = len(view.by_value)
    kept = sorted({round(k * (count - 1) / (MAX_POINTS - 1)) for k in range(MAX_POINTS)})
    return [view.by_value[k].values[0] for k in kept], [(k + 1) / count for k in kept]


def timeline(view: StudyView) -> Figure | None:
    """When each trial ran, packed into as few rows as they need."""
    timed = [t for t in view.trials if t.duration is not None]
    if not timed:
        return None
    chosen = choose(timed, MAX_BARS, view)
    lanes = _lanes(timed)
    marks = []
    for state, (word, colour) in STATES.items():
        group = [t for t in chosen if t.state.name == state]
        if group:
            base = [t.datetime_start.isoformat(sep=" ", timespec="milliseconds") for t in group if t.datetime_start]
            lengths = [round(seconds(t) * 1000) for t in group]
            tips = [f"{tip(t, view)}\n{length / 1000:,.1f} s" for t, length in zip(group, lengths, strict=True)]
            rows = [lanes[t.number] for t in group]
            marks.append(Marks("bars", lengths, rows, colour, word, tips, base=base, across=True, opacity=0.85))
    count = max(lanes.values()) + 1
    rows_axis = Axis("at the same time", ticks=[(k, str(k + 1)) for k in range(count)] if count <= 16 else None)
    return Figure(
        "timeline",
        "When the trials ran",
        caption(
            "Each bar is a trial from its start to its end, pauses included"
            + (", and of a member of the population its waiting for the others" if view.is_population else "")
            + f"; every trial that has ended takes the first free row, and so many were under way at once: {count:,}.",
            chosen_in_words(len(chosen), len(timed)),
        ),
        [Panel(Axis(time=True), rows_axis, marks, height=min(130 + 26 * count, 520), down=True)],
    )


def _lanes(trials: Sequence[FrozenTrial]) -> dict[int, int]:
    """Each trial's row: the first that is free when it starts."""
    free: list[datetime.datetime] = []
    rows = {}
    for trial in sorted(trials, key=lambda t: (t.datetime_start, t.number)):
        start, end = trial.datetime_start, trial.datetime_complete
        assert start is not None
        assert end is not None
        row = next((k for k, since in enumerate(free) if since <= start), len(free))
        free[row : row + 1] = [end]
        rows[trial.number] = row
    return rows
