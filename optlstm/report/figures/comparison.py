"""Several studies side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from optlstm.report.figures.curves import best_so_far, caption, outside_in_words, shares_below, value_axis
from optlstm.report.figures.figure import Axis, Figure, Marks, Panel
from optlstm.report.view import StudyView, trained
from optlstm.util.format import listed, number, short

SERIES = 8  # colours that can be told apart


@dataclass(frozen=True)
class Comparison:
    """Heading and rows of a table, notes on it, and figures."""

    heading: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    figures: Sequence[Figure]


def compare(views: Sequence[StudyView]) -> Comparison:
    names = [view.objective for view in views]
    title = names[0] if len(set(names)) == 1 else "value"
    axis, outside = value_axis([t.values[0] for view in views for t in view.by_value], title, views[0].sign)
    best_axis, _ = value_axis(
        [v for view in views for v in (*_best_at_each(view), *_by_epochs(view)[1])], title, views[0].sign
    )
    bests, epochs, shares = (_steps(views, curve) for curve in (best_so_far, _by_epochs, shares_below))
    figure = Figure(
        "compared",
        "Side by side",
        caption(
            "Best value so far by trial and by epochs trained (what a search costs whatever it prunes),"
            " and the share of complete trials at least as good as a value.",
            "The members of a population train side by side: their epochs are counted together, report by report."
            if any(view.is_population for view in views)
            else "",
            outside_in_words(outside, "value"),
        ),
        [
            Panel(Axis("trial", whole=True), best_axis, bests, "Best by trial", height=300),
            Panel(Axis("epochs trained", whole=True), best_axis, epochs, "Best by epochs trained", height=300),
            Panel(axis, Axis("share of complete trials", low=0, high=1.02), shares, "How good they are", height=300),
        ],
        wide=False,
    )
    return Comparison(HEADING, [_row(view) for view in views], _notes(views), [figure] if bests else [])


def _steps(
    views: Sequence[StudyView], curve: Callable[[StudyView], tuple[Sequence[Any], Sequence[Any]]]
) -> list[Marks]:
    """A line for each study that has a complete trial."""
    return [
        Marks("step", *curve(view), f"c{k % SERIES}", short(view.name), size=7)
        for k, view in enumerate(views)
        if view.by_value
    ]


def _best_at_each(view: StudyView) -> list[float]:
    """The best value so far at every trial: one that lasted long counts often, a poor first trial once."""
    numbers, values = best_so_far(view)
    steps = zip(numbers, numbers[1:], values, strict=False)
    return [value for since, until, value in steps for _ in range(max(1, until - since))]


_COUNTS = ("trials", "complete", "pruned", "failed", "epochs trained")
HEADING = ("study", "sampler", "rule", "seed", *_COUNTS, "best", "trial")


def _row(view: StudyView) -> list[str]:
    record, best = view.record, next(iter(view.by_value), None)
    scheduler = record.get("scheduler", {}).get("name", "study")
    rule = record.get("pruner", {}).get("name", "") if scheduler == "study" else scheduler
    counts = (view.counts.get(state, 0) for state in ("COMPLETE", "PRUNED", "FAIL"))
    return [
        view.name,
        str(record.get("sampler", {}).get("name", "")),
        str(rule),
        str(record.get("seed", "")),
        f"{len(view.trials):,}",
        *(f"{n:,}" for n in counts),
        f"{sum(map(trained, view.trials)):,}",
        number(float(best.values[0]), 5) if best else "",
        str(best.number) if best else "",
    ]


def _by_epochs(view: StudyView) -> tuple[list[int], list[float]]:
    """Epochs trained in all, and the best value by then.

    Trials one after the other by number, each with its value at its end; the members of a population, who train side
    by side, epoch by epoch, each with its best report so far.
    """
    if view.is_population:
        return _by_reports(view)
    numbers, values = best_so_far(view)
    totals, spent = [], 0
    for trial in view.trials:
        spent += trained(trial)
        totals.append(spent)
    return [totals[n] for n in numbers], values


def _by_reports(view: StudyView) -> tuple[list[int], list[float]]:
    members = [t for t in view.trials if "member" in t.user_attrs]
    reports = sorted(
        (e, t.user_attrs["member"], t.number, v) for t in members for e, v in t.intermediate_values.items()
    )
    totals: list[int] = []
    values: list[float] = []
    for spent, (*_, value) in enumerate(reports, 1):
        if math.isfinite(value) and (not values or view.sign * value < view.sign * values[-1]):
            totals.append(spent)
            values.append(value)
    return ([*totals, len(reports)], [*values, values[-1]]) if values else ([], [])


def _notes(views: Sequence[StudyView]) -> list[str]:
    """Why the values of these studies may not be comparable."""
    notes = []
    keys = ("data", "task", "direction")
    differing = [key for key in keys if len({str(view.record.get(key)) for view in views}) > 1]
    if differing:
        notes.append(f"These studies differ in {listed(differing)}: their values do not mean the same.")
    if any(view.several for view in views):
        notes.append("Of a study with several objectives the first is compared.")
    return notes
