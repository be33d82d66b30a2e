"""Figures of a population, and of a study with several objectives."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial

from optlstm.errors import InputError
from optlstm.report.figures.curves import MAX_POINTS, OTHERS, STATES, caption, tip
from optlstm.report.figures.figure import Axis, Figure, Marks, Panel, Position
from optlstm.report.figures.search_space import scale_of
from optlstm.report.view import StudyView, choose, chosen_in_words, first_epoch
from optlstm.study.lineage import members, schedule
from optlstm.util.format import many

SHOWN_MEMBERS = 40


def lineage(view: StudyView) -> Figure | None:
    """Each member's life along the epochs, and who was copied from whom."""
    if not view.is_population:
        return None
    family = members(view.trials)
    shown = dict(list(family.items())[:SHOWN_MEMBERS])
    marks = []
    for state, (word, colour) in {**STATES, "RUNNING": OTHERS}.items():
        group = [t for trials in shown.values() for t in trials if t.state.name == state]
        marks += _segments(group, colour, word, 12)
    marks += _segments(_ancestry(view), "good", "led to the best", 20) + _copies(shown, view)
    ends = [t for trials in shown.values() for t in trials]
    marks.append(
        Marks(
            "points", [t.last_step or first_epoch(t) for t in ends], [t.user_attrs["member"] for t in ends], "text",
            tips=["\n".join([tip(t, view), *_copied(t, view)]) for t in ends], size=6,
        )
    )  # fmt: skip
    ticks = [(float(m), str(m)) for m in shown]
    return Figure(
        "lineage",
        "Who was copied from whom",
        caption(
            "Each row is a member of the population, each stretch of it a trial with constant hyperparameters."
            " A dashed line leads from the last epoch of the weights that were copied to the copy's first epoch.",
            f"{len(shown)} of {len(family)} members are drawn." if len(shown) < len(family) else "",
        ),
        [Panel(Axis("epoch", whole=True), Axis("member", ticks=ticks), marks, height=120 + 30 * len(shown), down=True)],
    )


def _segments(trials: Sequence[FrozenTrial], colour: str, name: str, size: float) -> list[Marks]:
    x: list[Position] = []
    y: list[Position] = []
    for trial in trials:
        member = trial.user_attrs["member"]
        x += [first_epoch(trial), trial.last_step or first_epoch(trial), None]
        y += [member, member, None]
    return [Marks("line", x, y, colour, name, size=size)] if trials else []


def _copies(shown: dict[int, list[FrozenTrial]], view: StudyView) -> list[Marks]:
    x: list[Position] = []
    y: list[Position] = []
    tips: list[str] = []
    for member, trials in shown.items():
        for trial in trials:
            for text in _copied(trial, view):
                x += [first_epoch(trial), first_epoch(trial) + 1, None]
                y += [view.trials[trial.user_attrs["parent"]].user_attrs["member"], member, None]
                tips += [f"trial {trial.number}, {text}"] * 2 + [""]
    return [Marks("line", x, y, "text", "copied", tips, size=4, dash=True)] if x else []


def _copied(trial: FrozenTrial, view: StudyView) -> list[str]:
    """Lines of a copy's tip: its parent and its first epoch; none for other trials."""
    if "parent" not in trial.user_attrs:
        return []
    parent = trial.user_attrs["parent"]
    member = view.trials[parent].user_attrs["member"]
    return [f"copied from trial {parent} (member {member}) after epoch {first_epoch(trial)}"]


def _ancestry(view: StudyView) -> list[FrozenTrial]:
    """The trials whose weights the best one began with, itself included."""
    ancestry = [view.best] if view.best else []
    while ancestry and "parent" in ancestry[-1].user_attrs:
        ancestry.append(view.trials[ancestry[-1].user_attrs["parent"]])
    return ancestry


def schedules(view: StudyView) -> Figure | None:
    """How the hyperparameters of a population changed along the epochs."""
    if not view.is_population or view.best is None:
        return None
    family = members(view.trials)
    changed = [
        name
        for name in view.searched
        if any(len({str(t.params.get(name)) for t in trials}) > 1 for trials in family.values())
    ]
    if not changed:
        return None
    try:
        best = schedule(view.trials, view.best.number)
    except InputError:
        best = []
    panels = []
    for name in changed:
        scale = scale_of(name, view.searched[name])
        x: list[Position] = []
        y: list[Position] = []
        for trials in list(family.values())[:SHOWN_MEMBERS]:
            for trial in trials:
                if name in trial.params and trial.last_step:
                    x += [first_epoch(trial), trial.last_step]
                    y += [scale.position(trial.params[name])] * 2
            x, y = [*x, None], [*y, None]
        path = [(s.first - 1, s.last, scale.position(s.params[name])) for s in best if name in s.params]
        marks = [
            Marks("line", x, y, "muted", size=4, opacity=0.6),
            Marks(
                "line", [e for a, b, _ in path for e in (a, b)], [v for _, _, v in path for _ in "ab"], "good", size=8
            ),
        ]
        panels.append(Panel(Axis("epoch", whole=True), scale.axis, marks, height=280))
    text = "What the population changed on the way. The thick line is the schedule that led to the best trial."
    return Figure("schedules", "Hyperparameters over time", text, panels, wide=False)


def pareto(view: StudyView) -> Figure | None:
    """Every pair of objectives, with the trials that no other beats in all of them."""
    if not view.several or not view.by_value:
        return None
    chosen = choose(view.by_value, MAX_POINTS, view)
    front = {t.number for t in view.front}
    rest, count = [t for t in chosen if t.number not in front], len(view.objectives)
    panels = []
    for a in range(count):
        for b in range(a + 1, count):
            marks = [
                _plane(rest, view, a, b, "muted", "beaten", 6),
                _plane(view.front, view, a, b, "accent", "not beaten", 10),
            ]
            if count == 2:
                line = sorted((t.values[0], t.values[1]) for t in view.front)
                marks.insert(1, Marks("line", [p for p, _ in line], [q for _, q in line], "accent", size=4, dash=True))
            panels.append(Panel(Axis(view.objectives[a]), Axis(view.objectives[b]), marks, height=440))
    aims = ", ".join(f"{n} ({d})" for n, d in zip(view.objectives, view.directions, strict=True))
    return Figure(
        "pareto",
        "The trade-off",
        caption(
            f"For {len(view.front):,} of {many(len(view.by_value), 'complete trial')} no other is at least as good in"
            f" every objective and better in one: {aims}.",
            chosen_in_words(len(chosen), len(view.by_value)),
        ),
        panels,
        wide=count == 2,
    )


def _plane(
    trials: Sequence[FrozenTrial], view: StudyView, a: int, b: int, colour: str, name: str, size: float
) -> Marks:
    tips = [tip(t, view) for t in trials]
    x, y = [t.values[a] for t in trials], [t.values[b] for t in trials]
    return Marks("points", x, y, colour, name, tips, size=size, opacity=0.85)
