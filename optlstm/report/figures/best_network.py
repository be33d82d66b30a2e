"""Figures of what the best trial's network does on the validation data, and where its weights and data come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean as mean
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from optlstm.errors import OptlstmError
from optlstm.report import baseline_text
from optlstm.report.figures.curves import caption
from optlstm.report.figures.figure import Axis, Figure, Heat, Marks, Panel, Position
from optlstm.report.view import StudyView
from optlstm.tasks.forecast.task import Forecast
from optlstm.tasks.plot_data import Confusion, Example, Forecasts, PlotData
from optlstm.training.hparams import Hyperparameters
from optlstm.util.arrays import Floats
from optlstm.util.files import Location
from optlstm.util.format import many, number, short

if TYPE_CHECKING:
    from optlstm.run.plan import Plan

MOST_LABELS = 40
TICK = 14  # characters of a class beside the matrix, so that a telephone has room for it
MIDNIGHT = " 00:00:00"


class PlotSource(Protocol):
    """Gives plot data of trials: an objective, or what was collected of one."""

    def plot_data(self, number: int) -> PlotData | None: ...


@dataclass(frozen=True)
class Trained:
    """What can be shown of trained networks, or in `missing` why nothing can."""

    plan: Plan | None = None
    objective: PlotSource | None = None
    missing: str = ""

    def fixed(self, name: str) -> Any:
        """The value of a param that was not searched."""
        return self.plan.space.fixed.get(name) if self.plan else None

    def untuned(self, window: int) -> dict[str, list[float]]:
        """Mean squared error by step of a forecasting task's baselines on the validation rows; none for other tasks."""
        task = self.plan.task if self.plan else None
        if not isinstance(task, Forecast):
            return {}
        panel, (mean, std) = task.panel, task.scales()
        truth = np.lib.stride_tricks.sliding_window_view(panel.values, task.horizon, axis=0)  # [rows, columns, horizon]
        squared: dict[str, Floats] = {}
        windows = 0
        step = task.data().validation_step
        for i, first, forecasts in task.baselines(task.cuts[:, :2], task.cuts[:, 1:3], window, step):
            actual = (truth[first] - mean[i][:, None]) / std[i][:, None]
            windows += len(first)
            for name, forecast in forecasts.items():
                errors = np.square(forecast - actual).mean(axis=1).sum(axis=0)  # [horizon]
                squared[name] = squared.get(name, np.zeros(task.horizon)) + errors
        return {name.replace("_", " "): [float(v) for v in total / windows] for name, total in squared.items()}

    def prepare(self, numbers: Sequence[int]) -> None:
        """Say whose pictures will be asked for, in this order."""
        if prepare := getattr(self.objective, "prepare", None):
            prepare(numbers)

    def plot_data(self, number: int) -> PlotData | None:
        """Of a trial's best weights; None where they are gone, or the objective is custom."""
        show: Callable[[int], PlotData | None] | None = getattr(self.objective, "plot_data", None)
        try:
            return show(number) if show else None
        except OptlstmError:  # a file that was altered
            return None


def trained(view: StudyView, checkpoints: Location) -> Trained:
    """Read the study's data again, and see that it is what the trials were trained on."""
    from optlstm.run.plan import make_plan

    if not view.config:
        return Trained(missing="This study was not made by optlstm: what its networks forecast cannot be drawn.")
    stored = {key: value for key, value in view.config.items() if value is not None}
    try:
        plan = make_plan({**stored, "name": view.name})
    except OptlstmError as error:
        return Trained(missing=f"The data cannot be read any more ({short(error, 200)}), so no forecast is drawn.")
    if plan.record.stored().get("data") != view.record.get("data"):
        return Trained(missing="The data file is not the one the study was made with, so no forecast is drawn.")
    job = plan.job(checkpoints)
    objective: Any = job.make_objective(job.data)
    return Trained(plan, objective)


@dataclass(frozen=True)
class Network:
    """What is known of the best trial's network and its data; nothing where its weights or data are gone.

    rivals: How it stands on the validation data beside what needs no tuning, in a sentence. spans: see `spans`.
    """

    figures: Sequence[Figure] = ()
    rivals: str = ""
    spans: Sequence[str] = ()


def network(view: StudyView, found: Trained) -> Network:
    dates, best = spans(found.plan), view.best
    pictures = found.plot_data(best.number) if best else None
    if best is None or pictures is None:
        return Network(spans=dates)
    if isinstance(pictures, Forecasts):
        window = int(best.params.get("window") or found.fixed("window") or Hyperparameters().window)
        untuned = found.untuned(window)
        figures = [forecasts(pictures, times(found.plan), best.number), by_step(pictures, untuned)]
        return Network(figures, baseline_text.of_forecasts(best.number, pictures, untuned), dates)
    return Network(
        [confusion(pictures, best.number)], baseline_text.of_labels(best.number, pictures, found.plan), dates
    )


def spans(plan: Plan | None) -> list[str]:
    """First and last time of the training, validation and test rows of all series; empty where there are none."""
    task = plan.task if plan else None
    if not isinstance(task, Forecast):
        return []
    rows, index, cuts = times(plan), task.panel.time, task.cuts
    ends = []
    for begin, end in pairwise(cuts.T):  # of every series
        first, last = begin[index[begin].argmin()], end[index[end - 1].argmax()] - 1
        ends.append((str(rows[first]), str(rows[last])))
    days = all(end.endswith(MIDNIGHT) for pair in ends for end in pair)
    cut = len(MIDNIGHT) if days else 0
    return [f"{first[: len(first) - cut]} to {last[: len(last) - cut]}" for first, last in ends]


class _Times(Sequence[str | int]):
    """The times of rows, each put into words when it is asked for: of a million rows a figure shows a few."""

    def __init__(self, index: Any) -> None:
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, row: Any) -> Any:
        time = self._index[row]
        return time.strftime("%Y-%m-%d %H:%M:%S") if hasattr(time, "strftime") else int(time)


def times(plan: Plan | None) -> Sequence[str | int]:
    """The time of every row of the data: ISO strings, or whole numbers."""
    task = plan.task if plan else None
    return _Times(task.panel.time) if isinstance(task, Forecast) else []


def forecasts(pictures: Forecasts, rows: Sequence[str | int], trial: int) -> Figure:
    """Of a trial, by its number: best, median and worst forecast of a network beside what came."""
    columns = {example.column for example in pictures.examples}
    return Figure(
        "forecasts",
        "Forecasts on validation data",
        caption(
            f"Of trial {trial}'s {many(pictures.windows, 'forecast')} on the validation rows, the one with the least"
            " error, the median one and the one with the most: the curves in the data's units, mse on the standardised"
            " scale.",
            "Each series, and each column of it, counts as a forecast by itself." if len(columns) > 1 else "",
        ),
        [_example(example, rows) for example in pictures.examples],
        wide=False,
    )


def _example(example: Example, rows: Sequence[str | int]) -> Panel:
    start, steps = example.first - len(example.before), len(example.before) + len(example.truth)
    x: list[Position] = [rows[start + k] if rows else start + k for k in range(steps)]
    past, future = x[: len(example.before)], x[len(example.before) :]
    joined = [float(example.before[-1])] if len(past) else []
    marks = [
        Marks("line", past, [float(v) for v in example.before], "muted", "input", size=5),
        Marks("line", [*past[-1:], *future], [*joined, *map(float, example.truth)], "text", "truth", size=6),
        Marks("line", [*past[-1:], *future], [*joined, *map(float, example.forecast)], "accent", "forecast", size=8),
    ]
    title = f"{example.which}: {short(example.column)}, mse {number(example.mse)}"
    return Panel(Axis(time=bool(rows) and isinstance(rows[0], str)), Axis(), marks, title, height=300)


def by_step(pictures: Forecasts, untuned: Mapping[str, Sequence[float]]) -> Figure:
    """untuned: by name, the mean squared error by step of forecasts that need no tuning, on the same windows."""
    mse = list(map(float, pictures.by_step["mse"]))
    steps = list(range(1, len(mse) + 1))
    marks = [Marks("line", steps, list(each), f"c{k + 1}", name) for k, (name, each) in enumerate(untuned.items())]
    marks.append(Marks("line", steps, mse, "accent", "best trial", size=9))
    means = [f"{name} {number(mean(each))}" for name, each in {"best trial": mse, **untuned}.items()]
    return Figure(
        "steps",
        "Error by step ahead",
        caption(
            f"Mean squared error of {many(pictures.windows, 'forecast')} on the validation rows, standardised scale"
            + (", beside forecasts that need no tuning." if untuned else "."),
            f"Over all steps: {', '.join(means)}.",
            "The trial was chosen on these rows, which the others were not: what counts is the test, see refit.",
        ),
        [Panel(Axis("steps ahead", whole=True), Axis("mse", low=0), marks, height=320)],
    )


def confusion(pictures: Confusion, trial: int) -> Figure:
    """Predicted against true classes, by a trial's network."""
    count = min(len(pictures.labels), MOST_LABELS)
    counts = pictures.counts[:count, :count]
    totals = counts.sum(axis=1, keepdims=True).clip(min=1)
    labels = pictures.labels[:count]
    ticks = [(float(k), short(label, TICK)) for k, label in enumerate(labels)]
    texts = [[str(int(v)) if count <= 15 or v else "" for v in row] for row in counts]
    tips = [
        [
            f"{short(true)}\ntaken for {short(taken)}\n{n:,} of {row.sum():,}"
            for taken, n in zip(labels, row, strict=False)
        ]
        for true, row in zip(labels, pictures.counts, strict=False)
    ]
    heat = Heat(range(count), range(count), [[round(float(v), 4) for v in row] for row in counts / totals], texts, tips)
    height = 120 + 30 * count + 6 * max(len(text) for _, text in ticks)  # the names may stand upright below it
    return Figure(
        "confusion",
        "Predicted and true classes",
        caption(
            f"{many(int(pictures.counts.sum()), 'validation example')}: a row is what an example is, a column what"
            f" trial {trial} took it for; the colour is the share of its row.",
            "Point at a cell for its classes' whole names." if any(len(label) > TICK for label in labels) else "",
            f"The first {count} of {len(pictures.labels)} classes." if count < len(pictures.labels) else "",
        ),
        [Panel(Axis("predicted", ticks=ticks), Axis("true", ticks=ticks), [heat], height=height, down=True)],
    )
