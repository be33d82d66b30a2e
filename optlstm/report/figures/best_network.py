"""Figures of what the best trial's network does on the validation data, and where its weights and data come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

import numpy as np

from optlstm.errors import OptlstmError
from optlstm.report.figures.curves import caption
from optlstm.report.figures.figure import Axis, Figure, Marks, Panel, Position
from optlstm.report.figures.labels import label_baseline_text, label_figures
from optlstm.report.view import StudyView
from optlstm.run.custom_objective import CustomTask
from optlstm.run.plan import stored_plan
from optlstm.tasks.base import Task
from optlstm.tasks.forecast.task import Forecast
from optlstm.tasks.label.task import LabelTask
from optlstm.tasks.plot_data import Example, Forecasts, PlotData
from optlstm.training.hparams import Hyperparameters
from optlstm.util.arrays import Floats
from optlstm.util.files import Location
from optlstm.util.format import listed, many, number, short, told_apart, without_midnight

_DRAWN = (50, 80, 90)  # percent, of the coverage by step
FEW_FORECASTS = 10  # of fewer, a difference in percent says nothing
_RANKS = {"best": "the one with the least error", "median": "the median one", "worst": "the one with the most"}
AnyTask = Task | CustomTask


@dataclass(frozen=True)
class Network:
    """What is known of the best trial's network and its data; nothing where its weights or data are gone.

    Args:
        baselines: How it compares on the validation data with forecasts that need no tuning, in a sentence.
        spans: See `spans`.
        missing: Why something could not be drawn.
    """

    figures: Sequence[Figure] = ()
    baselines: str = ""
    spans: Sequence[str] = ()
    missing: str = ""


def network(view: StudyView, checkpoints: Location | None) -> Network:
    """Read the study's data again, check that the trials were trained on it, and apply the best trial's weights.

    Args:
        checkpoints: The study's folder of checkpoints; None: it is not known.
    """
    best = view.best
    if best is None:
        return Network()
    if not view.config:
        return Network(missing="This study was not made by optlstm: what its networks forecast cannot be drawn.")
    if checkpoints is None:
        return Network(
            missing="Where the study's weights are kept is not known, so no forecast is drawn; see --storage-path."
        )
    if view.config.get("objective") is not None:
        return Network()
    if view.config.get("model", {}).get("factory") is not None:
        return Network(missing="A report runs no code of yours, so what custom networks forecast is not drawn.")
    if ":" in str(view.config.get("training", {}).get("metric")):
        return Network(missing="A report runs no code of yours, and this study has a custom metric; nothing is drawn.")
    try:
        plan = stored_plan(view.study)
    except OptlstmError as error:
        return Network(missing=f"The data cannot be read any more ({short(error, 200)}), so no forecast is drawn.")
    if plan.record.stored().get("data") != view.record.get("data"):
        return Network(missing="The data file is not the one the study was made with, so no forecast is drawn.")
    job, dates = plan.job(checkpoints), spans(plan.task)
    plot_data = read_plot_data(job.make_objective(job.data), best.number)
    if plot_data is None:
        gone = f"The weights of trial {best.number} are gone, so what its network forecasts cannot be drawn."
        return Network(spans=dates, missing=gone)
    if isinstance(plot_data, Forecasts):
        window = int(best.params.get("window") or plan.space.fixed.get("window") or Hyperparameters().window)
        untuned = untuned_errors(plan.task, window)
        figures = [forecasts(plot_data, times(plan.task), best.number), by_step(plot_data, untuned)]
        figures += [calibration(plot_data)] if plot_data.coverage else []
        return Network(figures, forecast_baseline_text(best.number, plot_data, untuned), dates)
    text = label_baseline_text(best.number, plot_data, plan.task) if isinstance(plan.task, LabelTask) else ""
    return Network(label_figures(plot_data, best.number), text, dates)


def read_plot_data(objective: Any, number: int) -> PlotData | None:
    """What a trial's best weights show; None where they are gone, or the objective is custom."""
    show: Callable[[int], PlotData | None] | None = getattr(objective, "plot_data", None)
    try:
        return show(number) if show else None
    except (OptlstmError, RuntimeError, LookupError, TypeError, ValueError):  # a file altered, or of another network
        return None


def untuned_errors(task: AnyTask, window: int) -> dict[str, list[float]]:
    """Mean squared error by step of a forecasting task's baselines on the validation rows; none for other tasks."""
    if not isinstance(task, Forecast):
        return {}
    panel, (mean, std) = task.panel, task.scales()
    squared: dict[str, Floats] = {}
    counts = np.zeros(task.horizon)
    step = task.data().validation_step
    for i, first, forecasts in task.baselines(task.cuts[:, :2], task.cuts[:, 1:3], window, step):
        actual = (panel.truth(first, task.horizon) - mean[i][:, None]) / std[i][:, None]
        counts += np.count_nonzero(~np.isnan(actual), axis=(0, 1))
        for name, forecast in forecasts.items():
            errors = np.nansum(np.square(forecast - actual), axis=(0, 1))  # [horizon]
            squared[name] = squared.get(name, np.zeros(task.horizon)) + errors
    return {name.replace("_", " "): [float(v) for v in total / counts] for name, total in squared.items()}


def forecast_baseline_text(trial: int, plot_data: Forecasts, untuned: Mapping[str, Sequence[float]]) -> str:
    """untuned: see `untuned_errors`."""
    if not untuned:
        return ""
    error = fmean(map(float, plot_data.by_step["mse"]))
    means = {name: fmean(errors) for name, errors in untuned.items()}
    best = min(means, key=lambda name: means[name])
    mine, *shown = told_apart(error, *means.values(), form=".{}g")
    others = ", ".join(f"{name} {value}" for name, value in zip(means, shown, strict=True))
    percent = f"{100 * abs(error - means[best]) / means[best]:.1f} % " if means[best] else ""
    difference = percent if plot_data.windows >= FEW_FORECASTS else ""
    verdict = f"{difference}{'less' if error < means[best] else 'more'} than {best}, the best of them"
    count = f" ({many(plot_data.windows, 'forecast')})" if plot_data.last_fold else ""
    folds = " Its value in the study is the mean over all folds." if plot_data.last_fold else ""
    return (
        f"Forecasts that need no tuning, on {plot_data.rows}{count}: mse {others}."
        f" Trial {trial} has {mine}: {verdict}.{folds}"
    )


def spans(task: AnyTask) -> list[str]:
    """First and last time of the training, validation and test rows of all series; empty where there are none."""
    if not isinstance(task, Forecast):
        return []
    rows, index, cuts = times(task), task.panel.time, task.cuts
    ends = []
    for begin, end in pairwise(cuts.T):  # of every series
        first, last = begin[index[begin].argmin()], end[index[end - 1].argmax()] - 1
        ends += [str(rows[first]), str(rows[last])]
    shown = without_midnight(ends)
    return [f"{first} to {last}" for first, last in zip(shown[::2], shown[1::2], strict=True)]


class _Times(Sequence[str | int]):
    """The times of rows, each formatted when it is asked for: of a million rows a figure shows a few."""

    def __init__(self, index: Any) -> None:
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, row: Any) -> Any:
        time = self._index[row]
        return time.strftime("%Y-%m-%d %H:%M:%S") if hasattr(time, "strftime") else int(time)


def times(task: AnyTask) -> Sequence[str | int]:
    """The time of every row of the data: ISO strings, or whole numbers."""
    return _Times(task.panel.time) if isinstance(task, Forecast) else []


def forecasts(plot_data: Forecasts, rows: Sequence[str | int], trial: int) -> Figure:
    """The examples of a trial's network beside the true values. rows: the time of each row."""
    columns = {example.column for example in plot_data.examples}
    drawn = f"Of trial {trial}'s {many(plot_data.windows, 'forecast')} on {plot_data.rows}, "
    drawn += listed(_RANKS[example.which] for example in plot_data.examples)
    if plot_data.windows == 1:
        drawn = f"Trial {trial}'s only forecast on {plot_data.rows}"
    return Figure(
        "forecasts",
        "Forecasts on validation data",
        caption(
            f"{drawn}: the curves in the data's units, mse on the standardised scale.",
            f"The bands are intervals of {listed(f'{level} %' for level in fan)}, made of other forecasts' errors."
            if (fan := plot_data.examples[0].fan)
            else "",
            "Each series, and each column of it, counts as a forecast by itself." if len(columns) > 1 else "",
        ),
        [_example(example, rows, alone=plot_data.windows == 1) for example in plot_data.examples],
        wide=False,
    )


def _example(example: Example, rows: Sequence[str | int], alone: bool) -> Panel:
    start, steps = example.first - len(example.before), len(example.before) + len(example.truth)
    x: list[Position] = [rows[start + k] if rows else start + k for k in range(steps)]
    past, future = x[: len(example.before)], x[len(example.before) :]
    joined = [float(example.before[-1])] if len(past) else []
    fan = [
        Marks("band", future, list(map(float, high)), "accent", opacity=0.16, base=list(map(float, low)))
        for low, high in example.fan.values()
    ]
    marks = [
        *fan,
        Marks("line", past, [float(v) for v in example.before], "muted", "input", size=5),
        Marks("line", [*past[-1:], *future], [*joined, *map(float, example.truth)], "text", "truth", size=6),
        Marks("line", [*past[-1:], *future], [*joined, *map(float, example.forecast)], "accent", "forecast", size=8),
    ]
    title = f"{'' if alone else f'{example.which}: '}{short(example.column)}, mse {number(example.mse)}"
    return Panel(Axis(time=bool(rows) and isinstance(rows[0], str)), Axis(), marks, title, height=300)


def by_step(plot_data: Forecasts, untuned: Mapping[str, Sequence[float]]) -> Figure:
    """untuned: by name, the mean squared error by step of forecasts that need no tuning, on the same windows."""
    mse = list(map(float, plot_data.by_step["mse"]))
    steps = list(range(1, len(mse) + 1))
    marks = [Marks("line", steps, list(errors), f"c{k + 1}", name) for k, (name, errors) in enumerate(untuned.items())]
    marks.append(Marks("line", steps, mse, "accent", "best trial", size=9))
    means = [f"{name} {number(fmean(errors))}" for name, errors in {"best trial": mse, **untuned}.items()]
    return Figure(
        "steps",
        "Error by step ahead",
        caption(
            f"Mean squared error of {many(plot_data.windows, 'forecast')} on {plot_data.rows}, standardised scale"
            + (", beside forecasts that need no tuning." if untuned else "."),
            f"Over all steps: {', '.join(means)}.",
            f"The trial was chosen on these rows{' and the other folds' if plot_data.last_fold else ''},"
            " which the others were not: what counts is the test, see refit.",
        ),
        [Panel(Axis("steps ahead", whole=True), Axis("mse", low=0), marks, height=320)],
    )


def _pit(shares: Floats) -> Panel:
    """Where the values lie in their forecasts' distribution."""
    edges = [edge for low in range(0, 100, 10) for edge in (low, low + 10)]
    heights = np.repeat(100 * shares, 2).tolist()
    marks = [
        Marks("band", edges, heights, "accent", opacity=0.5, base=[0.0] * len(edges)),
        Marks("line", [0, 100], [10.0, 10.0], "muted", "as promised", dash=True, size=4),
    ]
    place, share = Axis("quantile of the forecast, %", low=0, high=100), Axis("% of the values", low=0)
    return Panel(place, share, marks, "by place in the distribution (PIT histogram)", height=300)


def calibration(plot_data: Forecasts) -> Figure:
    """How often intervals hold: at each step ahead, and at each level."""
    levels, horizon = list(plot_data.coverage), len(plot_data.by_step["mse"])
    steps = list(range(1, horizon + 1))
    drawn = [level for level in _DRAWN if level in levels]
    marks = []
    for k, level in enumerate(drawn):
        marks += [
            Marks("line", [1, max(2, horizon)], [float(level)] * 2, "muted", dash=True, size=4),
            Marks("line", steps, [100 * float(v) for v in plot_data.coverage[level]], f"c{k}", f"{level} %", size=7),
        ]
    shares = [100 * float(np.nanmean(by_step)) for by_step in plot_data.coverage.values()]
    tips = [
        f"{level} % interval\n{share:.1f} % of the values inside" for level, share in zip(levels, shares, strict=True)
    ]
    reliability = [
        Marks("line", [0, 100], [0, 100], "muted", "as promised", dash=True, size=4),
        Marks("line", levels, shares, "accent", "measured", size=7),
        Marks("points", levels, shares, "accent", tips=tips, size=8),
    ]
    inside = Axis("% of the values inside", low=0, high=100)
    return Figure(
        "calibration",
        "Coverage of prediction intervals",
        caption(
            f"{many(plot_data.windows, 'forecast')} on {plot_data.rows}: intervals made of one half"
            " of them, tried on the other half, and back.",
            "A line below what is promised: too narrow; so are high ends of the histogram."
            " What counts is the coverage of the test rows, see refit.",
        ),
        [
            Panel(Axis("steps ahead", whole=True), inside, marks, "by step ahead", height=300),
            Panel(Axis("interval, %", low=0, high=100), inside, reliability, "by level (reliability)", height=300),
            *([] if plot_data.pit is None else [_pit(plot_data.pit)]),
        ],
        wide=False,
    )
