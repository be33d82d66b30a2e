"""Figures where they are hard to draw: short logarithmic axes, long names, narrow screens, populations, halves."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from optlstm.report import summary_text
from optlstm.report.figures.best_network import (
    calibration,
    forecast_baseline_text,
    forecasts,
)
from optlstm.report.figures.comparison import compare
from optlstm.report.figures.curves import timeline, tip
from optlstm.report.figures.figure import Axis, Figure, Marks, Panel
from optlstm.report.figures.labels import confusion, label_baseline_text
from optlstm.report.figures.lineage import lineage
from optlstm.report.html import make_report, render
from optlstm.report.png import draw, png
from optlstm.report.view import StudyView
from optlstm.run.plan import make_plan
from optlstm.study.record import RECORD_KEY
from optlstm.tasks.plot_data import Confusion, Example, Forecasts
from tests.browser import Browser

LONG = ["positive experience", "negative experience", "no experience stated"]
START = datetime.datetime(2026, 1, 1)


def study(trials: Sequence[FrozenTrial], attrs: Mapping[str, Any] = MappingProxyType({})) -> optuna.Study:
    made = optuna.create_study(study_name="made")
    made.add_trials(trials)
    for key, value in attrs.items():
        made.set_user_attr(key, value)
    return made


def many_params(count: int) -> optuna.Study:
    """Twelve trials whose value is decided by the last of `count` hyperparameters."""
    made = optuna.create_study(study_name="made", sampler=optuna.samplers.RandomSampler(seed=0))

    def objective(trial: optuna.Trial) -> float:
        for k in range(count - 1):
            trial.suggest_int(f"a_long_name_of_one_{k}", 1, 2)
        return trial.suggest_float("decisive", 3e-4, 3e-3, log=True)

    made.optimize(objective, n_trials=12)
    return made


def member(number: int, reports: Mapping[int, float], state: str = "COMPLETE", **attrs: Any) -> FrozenTrial:
    trial = create_trial(
        state=TrialState[state],
        value=min(reports.values()) if state == "COMPLETE" else None,
        params={"x": 0.5},
        distributions={"x": FloatDistribution(0, 1)},
        intermediate_values=dict(reports),
        user_attrs={"member": number, **attrs},
    )
    trial.datetime_start, trial.datetime_complete = START, START + datetime.timedelta(seconds=9)
    return trial


def population() -> optuna.Study:
    """Three members; after epoch 2 members 1 and 2 become copies of member 0."""
    return study([
        member(0, {1: 0.8, 2: 0.6, 3: 0.5, 4: 0.1}),
        member(1, {1: 0.9, 2: 0.7}, "PRUNED"),
        member(2, {1: 0.7, 2: 0.65}, "PRUNED"),
        member(1, {3: 0.4, 4: 0.3}, parent=0, from_epoch=2),
        member(2, {3: 0.45, 4: 0.35}, parent=0, from_epoch=2),
    ])  # fmt: skip


@pytest.mark.parametrize("reach", [2, 10, 1e9])
def test_no_tick_of_a_picture_is_latex(reach: float) -> None:
    axis = Axis("learning rate", log=True, ticks=[(3e-4, "0.0003")], low=3e-4, high=3e-4 * reach)
    points = Marks("points", [3e-4, 3e-4 * reach], [3e-4, 3e-4 * reach])
    canvas = draw(Figure("f", "", "", [Panel(axis, replace(axis, ticks=None), [points])]))

    (axes,) = canvas.axes
    texts = [label.get_text() for label in axes.get_xticklabels(which="both")]
    texts += [label.get_text() for label in axes.get_yticklabels(which="both")]

    assert any(texts)
    assert not [text for text in texts if "$" in text or "\\" in text]


def test_no_settings_of_the_working_folder_are_drawn_with() -> None:
    import matplotlib as mpl

    figure = Figure("f", "", "", [Panel(Axis("x"), Axis("y"), [Marks("line", [1, 2], [1, 2])])])
    with mpl.rc_context():
        plain = png(figure)
        mpl.rcParams.update({"text.usetex": True, "font.size": 30})
        assert png(figure) == plain
        assert mpl.rcParams["font.size"] == 30


def test_whole_numbers_have_ticks_at_whole_numbers() -> None:
    axis = Axis("layers", whole=True, low=0.9, high=2.1)
    canvas = draw(Figure("f", "", "", [Panel(axis, axis, [Marks("points", [1, 2], [1, 2])])]))

    (axes,) = canvas.axes
    assert all(float(at).is_integer() for at in (*axes.get_xticks(), *axes.get_yticks()))


def test_labels_stand_beside_the_most_frequent_class(tmp_path: Path) -> None:
    texts = tmp_path / "texts.csv"
    texts.write_text("text,label\n" + "".join(f"word {k} here,{'ab'[k % 3 == 0]}\n" for k in range(60)))
    data = {"path": str(texts), "folds": 0, "splits": [0.5, 0.25, 0.25]}
    plan = make_plan({"task": "text", "data": data})
    counts = np.array([[7, 3], [1, 4]])

    sentence = label_baseline_text(5, Confusion(("a", "b"), counts), plan.task)
    view = StudyView(study([], {RECORD_KEY: plan.record.stored()}))

    validation = view.record["data"]["splits"][1]
    (fold,) = plan.task.split.folds  # type: ignore[attr-defined]
    frequent = int((plan.task.truth[fold.validation] == 0).sum())  # type: ignore[attr-defined]
    assert validation == 15
    assert sentence.startswith("Of 15 validation examples trial 5 classifies 11 rightly (73.3 %);")
    assert f"most frequent class would be right for {frequent} ({100 * frequent / 15:.1f} %)" in sentence
    assert summary_text.subtitle(view).endswith(
        "60 texts of 2 classes: 30 for training, 15 for validation, 15 for test"
    )


@pytest.mark.parametrize(
    ("count", "last_fold", "sentence", "drawn", "titles"),
    [
        (12, False, "on the validation rows: mse naive 2. Trial 4 has 1: 50.0 % less than naive",
         "Of trial 4's 12 forecasts on the validation rows, the one with the least error, the median one and the one"
         " with the most:", ["best: y, mse 1", "median: y, mse 1", "worst: y, mse 1"]),
        (2, True, "on the last fold (2 forecasts): mse naive 2. Trial 4 has 1: less than naive",
         "Of trial 4's 2 forecasts on the last fold, the one with the least error and the one with the most:",
         ["best: y, mse 1", "worst: y, mse 1"]),
        (1, True, "on the last fold (1 forecast): mse naive 2. Trial 4 has 1: less than naive",
         "Trial 4's only forecast on the last fold:", ["y, mse 1"]),
    ],
)  # fmt: skip
def test_few_forecasts_are_not_compared_in_percent_nor_drawn_twice(
    count: int, last_fold: bool, sentence: str, drawn: str, titles: list[str]
) -> None:
    ranks = ["best", "median", "worst"] if count > 2 else ["best", "worst"][:count]
    examples = tuple(Example(rank, "y", 5, np.ones(5), np.ones(2), np.zeros(2), 1.0) for rank in ranks)
    shown = Forecasts(examples, {"mse": np.ones(2)}, count, last_fold)

    text = forecast_baseline_text(4, shown, {"naive": [2.0, 2.0]})
    figure = forecasts(shown, [], 4)

    assert f"{sentence}, the best of them." in text
    assert text.endswith("Its value in the study is the mean over all folds.") == last_fold
    assert drawn in figure.caption
    assert [panel.title for panel in figure.panels] == titles


def test_intervals_are_bands_around_the_forecast_and_their_coverage_lines() -> None:
    fan = {50: (np.array([1.0, 2.0]), np.array([3.0, 4.0])), 90: (np.zeros(2), np.full(2, 9.0))}
    examples = (Example("best", "y", 5, np.ones(5), np.ones(2), np.zeros(2), 1.0, fan),)
    coverage, pit = {50: np.array([0.4, 0.6]), 90: np.array([0.8, 0.9])}, np.linspace(0, 0.2, 10)
    shown = Forecasts(examples, {"mse": np.ones(2)}, 40, coverage=coverage, pit=pit)

    drawn, measured = forecasts(shown, [], 4), calibration(shown)

    bands = [mark for mark in drawn.panels[0].marks if isinstance(mark, Marks) and mark.kind == "band"]
    assert [(band.x, band.base, band.y) for band in bands] == [
        ([5, 6], [1.0, 2.0], [3.0, 4.0]),
        ([5, 6], [0.0, 0.0], [9.0, 9.0]),
    ]
    assert "intervals of 50 % and 90 %" in drawn.caption
    marks = [mark for panel in measured.panels for mark in panel.marks if isinstance(mark, Marks)]
    lines = {mark.name: (mark.x, mark.y) for mark in marks}
    assert lines["50 %"] == ([1, 2], [40, 60])
    (histogram,) = (mark for mark in marks if mark.kind == "band")
    assert (histogram.x[-2:], histogram.y[-1]) == ([90, 100], pytest.approx(20))
    assert lines["measured"] == ([50, 90], [50, pytest.approx(85)])
    for figure in (drawn, measured):
        assert png(figure).startswith(b"\x89PNG")
    assert "bands" not in forecasts(replace(shown, examples=(replace(examples[0], fan={}),)), [], 4).caption


@pytest.mark.browser
def test_long_names_are_drawn_on_a_telephone(browser: Browser, tmp_path: Path) -> None:
    made = make_report(many_params(10), None)
    few = confusion(Confusion(tuple(LONG), np.eye(3, dtype=np.int64)), 0)
    lots = confusion(Confusion(tuple(f"{name} {k}" for k in range(12) for name in LONG), np.eye(36, dtype=np.int64)), 0)
    page = tmp_path / "long.html"
    together = [figure for figure in made.figures if figure.key == "parallel"]
    figures = [replace(few, key="few"), replace(lots, key="lots"), *together]
    page.write_text(render(replace(made, figures=figures)), encoding="utf-8")

    for width in (390, 1200):
        browser.open(page, width=width)
        browser.wait_for("document.documentElement.dataset.drawn")
        assert browser.said() == []
        assert browser.run("return document.documentElement.scrollWidth") == width
        for figure, count in (("few", 3), ("parallel", 10)):
            shown = (
                f"[...document.querySelectorAll('#{figure}-0 .xtick text')].filter(t => t.style.display !== 'none'"
                " && t.getBoundingClientRect().right <= innerWidth)"
            )
            assert browser.run(f"return {shown}.length") == count, (figure, width)
    browser.run("document.querySelector('#few').scrollIntoView()")
    box = browser.run("return document.querySelector('#few-0 .nsewdrag').getBoundingClientRect().toJSON()")
    at = {"x": box["right"] - box["width"] / 6, "y": box["top"] + box["height"] / 6}
    browser.command("Input.dispatchMouseEvent", type="mouseMoved", **at)
    assert LONG[2] in browser.wait_for("document.querySelector('#few-0 .hoverlayer').textContent")


def test_a_trial_is_told_by_what_mattered_most() -> None:
    view = StudyView(many_params(11))

    lines = tip(view.trials[0], view).splitlines()

    assert lines[2].startswith("decisive ")
    assert lines[-1] == "and 3 more"
    _, heading, _ = summary_text.best_trials_table(view)
    assert heading[4] == "decisive"


def test_every_copy_has_a_line_of_its_own() -> None:
    figure = lineage(StudyView(population()))
    assert figure is not None

    (copies,) = [m for m in figure.panels[0].marks if isinstance(m, Marks) and m.name == "copied"]

    assert list(zip(copies.x, copies.y, strict=True)) == [
        (2, 0), (3, 1), (None, None),
        (2, 0), (3, 2), (None, None),
    ]  # fmt: skip
    assert copies.tips[1] == "trial 3, copied from trial 0 (member 0) after epoch 2"


def test_a_populations_epochs_are_counted_side_by_side() -> None:
    one_by_one = study([member(0, {1: 0.8, 2: 0.6}), member(0, {1: 0.7, 2: 0.5})])
    for trial in one_by_one.get_trials(deepcopy=False):
        trial.user_attrs.pop("member")

    (figure,) = compare([StudyView(population()), StudyView(one_by_one, "other")]).figures

    together, after = figure.panels[1].marks
    assert isinstance(together, Marks)
    assert isinstance(after, Marks)
    # Epochs 1: 0.8, 0.9, 0.7; 2: 0.6, 0.7, 0.65; 3: 0.5, 0.4, 0.45; 4: 0.1, 0.3, 0.35.
    assert list(zip(together.x, together.y, strict=True)) == [
        (1, 0.8), (3, 0.7), (4, 0.6), (7, 0.5), (8, 0.4), (10, 0.1), (12, 0.1),
    ]  # fmt: skip
    assert list(zip(after.x, after.y, strict=True)) == [(2, 0.6), (4, 0.5), (4, 0.5)]


def test_only_trials_that_have_ended_can_have_saved_epochs() -> None:
    ended = create_trial(state=TrialState.PRUNED, intermediate_values={1: 1.0, 2: 1.0})
    running = create_trial(state=TrialState.RUNNING, intermediate_values=dict.fromkeys(range(1, 8), 1.0))
    view = StudyView(study([ended, running], {RECORD_KEY: {"training": {"epochs": 10}}}))

    cost = summary_text.summary(view)[-1]

    assert (
        "9 epochs of training; 2 of them are of trials that have ended, and those to their last epoch would be 10"
        in cost
    )
    assert "(80 % saved)" in cost


def test_the_timelines_rows_are_those_of_all_trials() -> None:
    trials = [member(k, {1: 0.5}) for k in range(1200)]
    view = StudyView(study(trials))

    figure = timeline(view)

    assert figure is not None
    assert "under way at once: 1,200." in figure.caption
    assert "1,000 of 1,200 trials are drawn" in figure.caption
    assert "waiting for the others" in figure.caption


def test_what_an_int_counts_is_whole() -> None:
    made = study([
        create_trial(value=n / 2, params={"n": n}, distributions={"n": IntDistribution(1, 2)}) for n in (1, 2)
    ])  # fmt: skip
    (slices,) = [f for f in make_report(made, None).figures if f.key == "slices"]
    assert slices.panels[0].x.whole
