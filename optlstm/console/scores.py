"""How a model's test is printed: the table beside the baselines, by horizon step, and in words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from rich.table import Table
from rich.text import Text

from optlstm.console.tables import plain_table
from optlstm.models.card import Card, Test
from optlstm.tasks.base import Metrics
from optlstm.tasks.registry import goals
from optlstm.util.format import listed, many, rounded, told_apart, without_midnight

MODEL = "this model"
_FIRST = ("log_loss", "accuracy", "rmse", "mse", "mae", "mse_raw", "mae_raw", "mase", "smape", "wql", "crps", "msis")
_SHOWN = ("wql", "crps", "msis", "coverage_", "width_")
_OF_QUANTILES = (*_SHOWN, "pinball_")
_WINDOWS = {"crps": 99, "msis": 19}  # of calibration, that a metric's highest level needs
_OF_CLASSES = ("auc", "average_precision", "brier", "ece")
MORE_IS_BETTER = {metric.name for metric in goals("sequence").metrics if metric.higher}


def outcome(card: Card, folder: str) -> dict[str, Any]:
    """A refit for programs: {test: {metric: value}, baselines: {name: {metric: value}}, model: folder, ...}."""
    test = card.test
    return {
        "test": test.metrics,
        "baselines": test.baselines,
        "beaten_by": test.beaten_by,
        "model": folder,
        "study": card.study.name,
        "trial": card.trials[0].trial,
        "trials": [trained.trial for trained in card.trials],
        "epochs": card.trials[0].schedule[-1].last,
        "ensemble": card.ensemble,
        "members": test.members,
        "spread": test.spread,
        "steps": test.steps,
        "baseline_steps": test.baseline_steps,
        "intervals": card.intervals,
    }


def heading(card: Card) -> Text:
    """What was trained, on what."""
    training, single = card.training, len(card.trials) == 1
    epochs = sorted({trained.schedule[-1].last for trained in card.trials})
    lasts = many(epochs[0], "epoch") if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]} epochs"
    rows = " + ".join(training.trained_on)
    if card.only_linear:
        return Text.assemble((f"study {card.study.name}", "bold"), f": linear forecasts only, on {rows}")
    how = f"{lasts} on {rows}"
    if not training.refit:
        how = f"as tuning left {'it' if single else 'them'} after {how}"
    kind = "ensemble" if card.ensemble else "mean"
    members = f", {kind} of {card.members} networks" if card.members > 1 else ""
    members += f"{'' if members else ', ensemble'} with linear forecasts" if card.task.linear else ""
    numbers = ", ".join(str(trained.trial) for trained in card.trials)
    trials = f"{'trial' if single else 'trials'} {numbers} of study {card.study.name}"
    return Text.assemble((trials, "bold"), f": {how}{members}")


def grown_line(card: Card) -> str:
    """Which rows tuned and which trained, where the data has grown since the study; else ""."""
    if not card.training.tuned_on:
        return ""
    return f"tuned on {_extent({**card.data, **card.training.tuned_on})}; trained and tested on {_extent(card.data)}"


def _extent(data: Mapping[str, Any]) -> str:
    for noun in ("sequences", "texts"):
        if noun in data:
            return many(data[noun], noun.removesuffix("s"))
    first, last = without_midnight([str(data["first"]), str(data["last"])])
    return f"{many(data['rows'], 'row')} from {first} to {last}"


def ensemble_line(card: Card, unweighted: Sequence[int]) -> str:
    """The weights of an ensemble's parts. unweighted: the numbers of the trials that got none."""
    parts = ", ".join(f"{name.replace('_', ' ')} {100 * weight:.0f} %" for name, weight in card.ensemble.items())
    trials = "trial" if len(unweighted) == 1 else "trials"
    none = f"; {trials} {listed(map(str, unweighted))} got no weight" if unweighted else ""
    return f"ensemble: {parts}{none}"


def score_tables(test: Test) -> list[Table]:
    """A row for the model, for each baseline, and for the members' mean and spread; the best of a metric is bold.

    The metrics of quantiles and intervals have a table of their own, without the pinball losses; so have those of the
    classes' probabilities.
    """
    if not test.metrics:
        return []
    known = sorted(test.metrics, key=lambda metric: _FIRST.index(metric) if metric in _FIRST else len(_FIRST))
    others = {
        "quantiles": [metric for metric in known if metric.startswith(_SHOWN)],
        "probabilities": [metric for metric in known if metric in _OF_CLASSES],
    }
    of_points = [metric for metric in known if not metric.startswith((*_OF_QUANTILES, *_OF_CLASSES))]
    table = _scores("test rows", of_points, test)
    if test.spread:
        table.add_section()
        table.add_row("one network", *(_spread(test.spread, metric) for metric in of_points))
    return [table, *(_scores(title, metrics, test) for title, metrics in others.items() if metrics)]


def blank_lines(test: Test) -> list[str]:
    """Why some metrics of quantiles are blank where others are known, one line at most."""
    blank = [metric for metric in _WINDOWS if metric in test.metrics and test.metrics[metric] is None]
    if not blank or test.metrics.get("wql") is None:
        return []
    verbs = ("is", "it needs") if len(blank) == 1 else ("are", "they need")
    needed = listed(str(_WINDOWS[metric]) for metric in blank)
    return [f"{listed(blank)} {verbs[0]} blank: {verbs[1]} {needed} calibration windows, and there were fewer"]


def _scores(title: str, metrics: Sequence[str], test: Test) -> Table:
    broken = (re.sub(r"_(?=\d+$)", "\n_", metric) for metric in metrics)  # coverage_80: wider than its numbers
    table = _table(title, *broken)
    table.columns[0].no_wrap = True
    rows = {MODEL: test.metrics, **test.baselines}
    for name, values in rows.items():
        if any(values.get(metric) is not None for metric in metrics):
            cells = [_cell(values.get(metric), _best(metric, rows)) for metric in metrics]
            table.add_row(name.replace("_", " "), *cells)
    return table


def step_table(test: Test, metric: str) -> Table:
    """One metric by horizon step: the model beside the baselines."""
    every = {MODEL: test.steps, **test.baseline_steps}
    rows = {name: steps for name, steps in every.items() if metric in steps}
    table = _table(f"{metric} at step", *(name.replace("_", " ") for name in rows))
    for step in range(len(test.steps[metric])):
        table.add_row(str(step + 1), *(_cell(steps[metric][step], None) for steps in rows.values()))
    return table


def in_words(test: Test) -> list[str]:
    """A line of the metrics in which a baseline wins, one of those in which a single network does; or no test."""
    lines = _single_network(test) if test.metrics else ["not tested: the study has no test rows (data.splits)"]
    beaten = [
        f"in {metric} {listed(name.replace('_', ' ') for name in names)}"
        f" ({_compared(test.baselines[names[0]][metric], test.metrics[metric])})"
        for metric, names in test.beaten_by.items()
    ]
    return lines + ([f"better than this model: {', '.join(beaten)}"] if beaten else [])


def _single_network(test: Test) -> list[str]:
    """Where the networks by themselves are better, on average, than the model that they make; one line at most."""
    shown = [metric for metric in test.metrics if not metric.endswith("_raw")]  # the same on another scale
    known = [metric for metric in shown if all(member.get(metric) is not None for member in test.members)]
    means = {metric: fmean(member[metric] or 0.0 for member in test.members) for metric in known if test.members}
    signs = {metric: -1 if metric in MORE_IS_BETTER else 1 for metric in means}
    better = [
        metric
        for metric, mean in means.items()
        if (value := test.metrics[metric]) is not None
        and rounded(signs[metric] * mean) < rounded(signs[metric] * value)
    ]
    if not better:
        return []
    metric, mean = better[0], means[better[0]]
    single = "its network alone is" if len(test.members) == 1 else "a single network is, on average,"
    return [
        f"{single} better than this model in {listed(better)}:"
        f" {_compared(mean, test.metrics[metric])}{'' if len(better) == 1 else f' ({metric})'}"
    ]


def _compared(value: float | None, other: float | None) -> str:
    return " against ".join(told_apart(value or 0.0, other or 0.0))


def interval_lines(intervals: Mapping[str, Any]) -> list[str]:
    """How the intervals were made and their measured coverage, or that it was not measured."""
    measured = {level: m for level, m in intervals.get("measured", {}).items() if m["coverage"] is not None}
    if not measured:
        return unmeasured_lines(intervals)
    parts = ", ".join(f"{level} %: {100 * m['coverage']:.1f} %" for level, m in measured.items())
    lines = [f"coverage of the prediction intervals on the test rows: {parts}", *_kind_lines(intervals)]
    narrow = {
        level: told_apart(100 * m["coverage"], 100 * m["least"], digits=0, form=".{}f")
        for level, m in measured.items()
        if m["coverage"] < m["least"]
    }
    if narrow:
        (level, (share, least)), *others = narrow.items()
        more = "".join(f", the {level} % one {share} % ({least} %)" for level, (share, least) in others)
        lines.append(
            f"the intervals are too narrow: the {level} % one holds {share} % of the test rows, where chance alone"
            f" would leave {least} %{more}; new rows may differ as much from those that made them: take a higher"
            " --level, or refit on newer rows (docs/probabilities.md)"
        )
    return lines


def _kind_lines(intervals: Mapping[str, Any]) -> list[str]:
    """Which kind of intervals was chosen by the validation windows; of older models, nothing."""
    scores: Mapping[str, float] = intervals.get("interval_scores", {})
    if not scores:
        return []
    shown = ", ".join(f"{name} {_number(score)}" for name, score in scores.items())
    return [f"intervals: {intervals['kind']} (interval score on validation rows: {shown})"]


def unmeasured_lines(intervals: Mapping[str, Any]) -> list[str]:
    """That no level's coverage was measured, one line, where there are intervals."""
    if not intervals.get("highest_level") or any(m["coverage"] is not None for m in intervals["measured"].values()):
        return []
    if intervals.get("test_windows") == 0:
        return ["coverage of the prediction intervals not measured: there are no test rows"]
    noun, key = ("validation", "validation_windows") if "kind" in intervals else ("test", "windows")  # older models
    count = intervals[key]
    few = f"{many(count, f'{noun} window')} {'is' if count == 1 else 'are'} too few"
    return [f"coverage of the prediction intervals not measured: {few}"]


def _table(first: str, *others: str) -> Table:
    table = plain_table()
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _best(metric: str, rows: Mapping[str, Metrics]) -> float | None:
    values = [value for metrics in rows.values() if (value := metrics.get(metric)) is not None]
    if metric.startswith(("coverage_", "width_")):
        return None  # neither is better by itself
    best = max if metric in MORE_IS_BETTER else min
    return best(values, default=None)


def _cell(value: float | None, best: float | None) -> Text:
    return Text(_number(value), "bold" if value is not None and value == best else "")


def _spread(spread: Mapping[str, Metrics], metric: str) -> str:
    mean, std = spread["mean"][metric], spread["std"][metric]
    return "" if mean is None or std is None else f"{_number(mean)} ± {float(f'{std:.1g}'):g}"


def _number(value: float | None, digits: int = 4) -> str:
    return "" if value is None else f"{value:#.{digits}g}".rstrip(".")
