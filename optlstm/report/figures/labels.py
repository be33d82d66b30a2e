"""Figures of labels: predicted against true classes, or numbers."""

from __future__ import annotations

from functools import partial
from typing import Literal

import numpy as np

from optlstm.report.figures.curves import caption
from optlstm.report.figures.figure import Axis, Figure, Heat, Marks, Panel
from optlstm.tasks.label.task import LabelTask
from optlstm.tasks.plot_data import Confusion, Regression
from optlstm.util.arrays import Floats
from optlstm.util.format import many, number, short, told_apart

MAX_LABELS = 40
TICK = 14  # characters of a class beside the matrix, so that a telephone has room for it
_MOST_POINTS = 2000


def label_figures(plot_data: Confusion | Regression, trial: int) -> list[Figure]:
    """What a trial's network makes of the validation examples."""
    figures = [regression(plot_data, trial) if isinstance(plot_data, Regression) else confusion(plot_data, trial)]
    return figures + ([strips(plot_data, trial)] if plot_data.strips else [])


def strips(plot_data: Confusion | Regression, trial: int) -> Figure:
    """True and predicted labels of some sequences, step by step."""
    classes = plot_data.labels if isinstance(plot_data, Confusion) else ()
    ticks = [(float(k), short(name, TICK)) for k, name in enumerate(classes)] or None
    kind: Literal["step", "line"] = "step" if classes else "line"
    panels = []
    for strip in plot_data.strips:
        steps, truth, predicted = list(range(len(strip.truth))), strip.truth.tolist(), strip.predicted.tolist()
        marks = [
            Marks(kind, steps, truth, "text", "true", size=9),
            Marks(kind, steps, predicted, "accent", "predicted", size=4),
        ]
        right = f", {100 * float((strip.truth == strip.predicted).mean()):.1f} % right" if classes else ""
        title = f"sequence {strip.sequence + 1}{right}"
        panels.append(Panel(Axis("step", whole=True), Axis(ticks=ticks), marks, title, height=220))
    return Figure(
        "strips",
        "Labels step by step",
        caption(
            f"The first {many(len(panels), 'validation sequence')}, labelled by trial {trial}: true and predicted."
        ),
        panels,
    )


def label_baseline_text(trial: int, plot_data: Confusion | Regression, task: LabelTask) -> str:
    """How the trial compares with the same prediction for all, made of the labels of each fold's training examples."""
    if task.truth.ndim > 1:  # several labels
        return ""
    if isinstance(plot_data, Regression):
        return _number_baseline_text(trial, plot_data, task)
    guesses = [
        (task.truth_of(fold.validation), np.bincount(task.truth_of(fold.train)).argmax()) for fold in task.split.folds
    ]
    guessed, count = sum(int((truth == guess).sum()) for truth, guess in guesses), int(plot_data.counts.sum())
    correct = int(np.trace(plot_data.counts))
    return (
        f"Of {many(count, 'validation example')} trial {trial} classifies {correct:,} rightly"
        f" ({100 * correct / count:.1f} %);"
        f" the training data's most frequent class would be right for {guessed:,} ({100 * guessed / count:.1f} %)."
    )


def _number_baseline_text(trial: int, plot_data: Regression, task: LabelTask) -> str:
    parts = [(task.truth_of(fold.validation), task.truth_of(fold.train).mean()) for fold in task.split.folds]
    guessed = np.concatenate([truth - mean for truth, mean in parts])
    error, other = told_apart(_rmse(plot_data.predicted - plot_data.truth), _rmse(guessed), form=".{}g")
    return (
        f"Of {many(len(plot_data.truth), 'validation example')} trial {trial} has an rmse of {error};"
        f" the mean of the training data's labels, predicted for all, has {other}."
    )


def _rmse(error: Floats) -> float:
    return float(np.sqrt(np.square(error).mean()))


def confusion(plot_data: Confusion, trial: int) -> Figure:
    """Predicted against true classes, by a trial's network."""
    count = min(len(plot_data.labels), MAX_LABELS)
    counts = plot_data.counts[:count, :count]
    totals = counts.sum(axis=1, keepdims=True).clip(min=1)
    labels = plot_data.labels[:count]
    ticks = [(float(k), short(label, TICK)) for k, label in enumerate(labels)]
    texts = [[str(int(v)) if count <= 15 or v else "" for v in row] for row in counts]
    tips = [
        [
            f"{short(true)}\ntaken for {short(taken)}\n{n:,} of {row.sum():,}"
            for taken, n in zip(labels, row, strict=False)
        ]
        for true, row in zip(labels, plot_data.counts, strict=False)
    ]
    heat = Heat(range(count), range(count), [[round(float(v), 4) for v in row] for row in counts / totals], texts, tips)
    height = 120 + 30 * count + 6 * max(len(text) for _, text in ticks)  # the names may stand upright below it
    return Figure(
        "confusion",
        "Predicted and true classes",
        caption(
            f"{many(int(plot_data.counts.sum()), 'validation example')}: a row is what an example is, a column what"
            f" trial {trial} took it for; the colour is the share of its row.",
            "Point at a cell for its classes' whole names." if any(len(label) > TICK for label in labels) else "",
            f"The first {count} of {len(plot_data.labels)} classes." if count < len(plot_data.labels) else "",
        ),
        [Panel(Axis("predicted", ticks=ticks), Axis("true", ticks=ticks), [heat], height=height, down=True)],
    )


def regression(plot_data: Regression, trial: int) -> Figure:
    """Predicted against true numbers, and the residuals."""
    n = len(plot_data.truth)
    shown = np.unique(np.linspace(0, n - 1, min(n, _MOST_POINTS)).astype(np.int64))
    truth, predicted = plot_data.truth[shown], plot_data.predicted[shown]
    x, y, residuals = truth.tolist(), predicted.tolist(), (predicted - truth).tolist()
    tips = [f"true {number(a)}\npredicted {number(b)}\nresidual {number(b - a)}" for a, b in zip(x, y, strict=True)]
    points = partial(Marks, "points", x, tips=tips, size=5, opacity=0.5)
    across: list[float] = [min(x), max(x)]
    against = [points(y), Marks("line", across, across, "text", dash=True, size=5)]
    left = [points(residuals), Marks("line", across, [0.0, 0.0], "text", dash=True, size=5)]
    return Figure(
        "regression",
        "Predicted and true numbers",
        caption(
            f"{many(n, 'validation example')}, predicted by trial {trial}; on the dashed line a prediction is right.",
            f"{len(shown):,} of them are drawn, evenly spaced." if len(shown) < n else "",
        ),
        [
            Panel(Axis("true"), Axis("predicted"), against, "prediction", height=320),
            Panel(Axis("true"), Axis("predicted - true"), left, "residuals", height=320),
        ],
        wide=False,
    )
