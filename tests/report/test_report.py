"""`report` as a person opens it: in a real browser, in light and dark and on a phone; and what it says."""

from __future__ import annotations

import datetime
import html
import json
import random
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from optlstm.report.html import make_report, render
from tests.browser import Browser
from tests.conftest import Cli, rows, series

STUDY = ("study", "tiny.toml", "--trials", 8, "--set", "pruner.n_startup_trials=2", "--set", "pruner.n_warmup_steps=0")
SPACE = ("--set", "space.dropout={low=0.0,high=0.4}", "--set", "space.hidden_size={low=2,high=8,step=2}")
HOSTILE = [
    "</script><img src=x onerror=alert(1)>",
    '" onmouseover="alert(2)',
    "\u202egnp.exe",
    '<a href="javascript:alert(3)">x</a>',
    "%{x} ${y} @accent &lt;b&gt;",
    "__proto__",
]
MAX_BYTES = 10_000_000


def drawn(browser: Browser) -> int:
    """How many figures the page has, once all of them are drawn."""
    browser.wait_for("document.documentElement.dataset.drawn")
    empty = "[...document.querySelectorAll('.plot')].filter(p => !p.querySelector('.main-svg path, .main-svg rect'))"
    assert browser.run(f"return {empty}.map(p => p.id)") == []
    return int(browser.run("return document.querySelectorAll('.plot').length"))


def keys(page: str) -> list[str]:
    return re.findall(r'<section id="(\w+)">', page)


@pytest.mark.browser
def test_a_report_is_drawn_whole_and_asks_for_nothing(cli: Cli, cached_cli: Cli, browser: Browser) -> None:
    cached_cli(*STUDY, *SPACE, "--quiet")

    said = cli("report", "tiny")

    assert said.code == 0, said.err
    page = Path("tiny.html")
    assert re.fullmatch(r"tiny\.html \(\d\.\d MB\)\n", said.out)
    assert {"history", "forecasts", "steps", "curves", "parallel", "slices", "timeline"} <= set(keys(page.read_text()))
    for width, dark in ((1200, False), (1200, True), (390, False)):
        browser.open(page, width=width, dark=dark)
        assert drawn(browser) == len(json.loads(embedded(page.read_text()))["panels"]) > 10
        assert browser.said() == []
        assert browser.requests() == [page.absolute().as_uri()]
        assert browser.run("return document.documentElement.scrollWidth") == width
        background = browser.run("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background))) < 200) == dark


def embedded(page: str) -> str:
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_words_are_the_databases(cli: Cli, cached_cli: Cli) -> None:
    cached_cli(*STUDY, *SPACE, "--quiet")
    Path("link.html").symlink_to("r.html")
    cli("report", "tiny", "-o", "link.html")

    assert Path("link.html").is_symlink()
    text = html.unescape(re.sub(r"<[^>]+>", " ", Path("r.html").read_text().split("<script")[0]))
    trials = json.loads(cli("show", "tiny", "--format", "json").out)
    best, counts = trials["best"], trials["counts"]

    assert f"Trial {best['number']} is best: validation mse {best['value']:.5g}" in text
    assert f"8 trials: {counts['COMPLETE']} complete, {counts['PRUNED']} pruned." in text
    assert f"(trial 0) reach {trials['trials'][0]['value']:.5g}" in text or best["number"] == 0
    assert f"{counts['PRUNED']} by median" in text
    assert f"Cost: {sum(t['epochs'] for t in trials['trials'])} epochs of training" in text
    assert all(f"{k} {v:.4g}" in text for k, v in best["params"].items() if isinstance(v, float))
    untuned = re.search(r"on the validation rows: mse (naive .*?)\. Trial", text)
    assert untuned is not None
    assert f"Over all steps: best trial {best['value']:.4g}, {untuned[1]}." in text
    parts = "84 for training (0 to 83), 12 for validation (84 to 95), 24 for test (96 to 119)"
    assert f"120 rows from 0 to 119: {parts}" in text


def test_the_command_in_it_makes_the_same_trials(cli: Cli) -> None:
    cli(*STUDY, *SPACE, "--quiet", "--seed", 3, "--set", "space.optimizer={choices=['adamw','sgd']}")
    cli("report", "tiny")
    command = re.search(r"<pre>(.*?)</pre>", Path("tiny.html").read_text(), re.DOTALL)
    assert command is not None
    typed = shlex.split(html.unescape(command[1]))

    again = cli(*[a.replace("--name=tiny", "--name=again") for a in typed[3:]], "--workers", 1, "--quiet")

    assert again.code == 0, again.err
    assert rows("again") == rows("tiny")


@pytest.mark.parametrize("change", ["weights", "data", "other data"])
def test_what_is_gone_is_said(cli: Cli, cached_cli: Cli, change: str) -> None:
    cached_cli(*STUDY, "--quiet", "--trials", 3)
    if change == "weights":
        for folder in Path("runs").glob("tiny-*/trial-*"):
            shutil.rmtree(folder)
    elif change == "data":
        Path("tiny.csv").unlink()
    else:
        Path("tiny.csv").write_text(series(130))

    assert cli("report", "tiny").code == 0

    page = Path("tiny.html").read_text()
    expected = {"weights": "are gone", "data": "cannot be read any more", "other data": "is not the one"}
    assert expected[change] in page
    assert "history" in keys(page)
    assert "forecasts" not in keys(page)


def test_pictures_for_papers(cli: Cli, cached_cli: Cli) -> None:
    cached_cli(*STUDY, *SPACE, "--quiet")
    cli(*STUDY, *SPACE, "--quiet", "--trials", 1, "--name", "other")

    said = cli("report", "tiny", "--png", "pictures/here", "--compare", "other")

    files = {path.stem: path.read_bytes() for path in Path("pictures/here").iterdir()}
    assert f"{len(files)} pictures in pictures/here" in said.out
    assert set(files) == set(keys(Path("tiny.html").read_text()))
    assert all(content.startswith(b"\x89PNG") and len(content) > 5000 for content in files.values())


def test_studies_side_by_side(cli: Cli, cached_cli: Cli) -> None:
    cached_cli(*STUDY, "--quiet", "--trials", 3)
    Path("tiny.csv").write_text(series(130))
    cli(*STUDY, "--quiet", "--trials", 3, "--name", "other")

    assert cli("report", "tiny", "--compare", "other").code == 0

    page = Path("tiny.html").read_text()
    assert keys(page)[0] == "compared"
    assert "<td>tiny</td>" in page
    assert "<td>other</td>" in page
    assert "These studies differ in data: their values do not mean the same." in page


def test_a_population_has_its_family_tree(cli: Cli) -> None:
    pbt = ("--scheduler", "pbt", "--epochs", 4, "--set", "pbt.population=4", "--set", "pbt.interval=1")
    Path("tiny.toml").write_text(Path("tiny.toml").read_text().replace("trials = 3\n", ""))
    cli("study", "tiny.toml", *pbt, "--quiet")

    assert cli("report", "tiny", "--png", "p").code == 0

    assert {"lineage", "schedules"} <= set(keys(Path("tiny.html").read_text()))
    assert Path("p/lineage.png").exists()


def hostile_study() -> optuna.Study:
    study = optuna.create_study(study_name=HOSTILE[0])

    def objective(trial: optuna.Trial) -> float:
        value = sum(trial.suggest_float(name, 0, 1) for name in HOSTILE[1:])
        value += len(trial.suggest_categorical(HOSTILE[0], HOSTILE))
        trial.set_user_attr("reason", HOSTILE[0])
        trial.set_user_attr(HOSTILE[3], HOSTILE[0])
        for step in (1, 2, 3):
            trial.report(value / step, step)
        if trial.number % 3 == 2:
            raise optuna.TrialPruned
        return value

    study.optimize(objective, n_trials=20)
    return study


@pytest.mark.browser
def test_names_are_shown_and_never_run(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "hostile.html"
    page.write_text(render(make_report(hostile_study(), None)), encoding="utf-8")

    browser.open(page)

    assert drawn(browser) > 5
    assert (
        browser.run("return document.querySelectorAll('img, iframe, object, a[href], form, base, svg a').length") == 0
    )
    assert browser.run("return document.scripts.length") == 3
    handlers = "[...document.querySelectorAll('*')].flatMap(e => [...e.attributes]).filter(a => /^on/i.test(a.name))"
    assert browser.run(f"return {handlers}.length") == 0
    assert browser.said() == []
    assert browser.requests() == [page.as_uri()]
    text = browser.run("return document.documentElement.textContent")
    assert "\u202e" not in text
    assert HOSTILE[0] in browser.run("return document.querySelector('h1').textContent")
    ticks = browser.run("return [...document.querySelectorAll('.xtick text, .ytick text')].map(t => t.textContent)")
    for name in (HOSTILE[1], HOSTILE[4][:20], "\\u202egnp.exe", "__proto__"):
        assert any(name[:15] in tick for tick in ticks), name
    # A name as a tooltip, which is where a reader's pointer brings it.
    browser.run(
        "const plot = document.getElementById('history-0'); Plotly.Fx.hover(plot, [{curveNumber: 0, pointNumber: 0}]);"
    )
    hover = browser.wait_for("document.querySelector('#history-0 .hovertext') && "
                             "document.querySelector('#history-0 .hoverlayer').textContent")  # fmt: skip
    assert HOSTILE[1] in hover
    assert browser.run("return document.querySelectorAll('.hoverlayer a').length") == 0


@pytest.mark.browser
def test_several_objectives(browser: Browser, tmp_path: Path) -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    study.optimize(lambda t: (t.suggest_float("x", 0, 1), t.params["x"] * t.suggest_float("y", 0, 1)), n_trials=30)
    page = tmp_path / "two.html"
    page.write_text(render(make_report(study, None)), encoding="utf-8")

    browser.open(page)

    assert drawn(browser) > 4
    assert keys(page.read_text())[0] == "pareto"
    front = {t.number for t in study.best_trials}
    table = browser.run("return [...document.querySelectorAll('tbody tr td:first-child')].map(c => +c.textContent)")
    assert set(table) <= front
    assert len(table) == min(10, len(front))
    assert browser.said() == []


def large_study(trials: int, epochs: int) -> optuna.Study:
    draw, start = random.Random(0), datetime.datetime(2026, 1, 1)
    study = optuna.create_study(study_name="large")
    ranges: dict[str, Any] = {
        "x": FloatDistribution(0, 1),
        "y": FloatDistribution(1e-4, 1, log=True),
        "z": CategoricalDistribution(["a", "b"]),
    }
    found = []
    for number in range(trials):
        params = {"x": draw.random(), "y": draw.uniform(1e-4, 1), "z": draw.choice("ab")}
        values = {e: params["x"] + params["y"] + 1 / e + draw.random() / 10 for e in range(1, epochs + 1)}
        state = TrialState.COMPLETE if draw.random() < 0.5 else TrialState.PRUNED
        value = min(values.values()) if state == TrialState.COMPLETE else None
        trial = create_trial(
            state=state, value=value, params=params, distributions=ranges, intermediate_values=values
        )  # fmt: skip
        trial.datetime_start = start + datetime.timedelta(seconds=number)
        trial.datetime_complete = trial.datetime_start + datetime.timedelta(seconds=draw.uniform(1, 9))
        found.append(trial)
    study.add_trials(found)
    return study


@pytest.mark.browser
@pytest.mark.slow
def test_a_large_study_stays_small_and_says_what_was_left_out(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "large.html"
    page.write_text(render(make_report(large_study(5000, 20), None)), encoding="utf-8")

    browser.open(page)

    assert page.stat().st_size < MAX_BYTES
    assert drawn(browser) > 5
    assert browser.said() == []
    text = page.read_text()
    assert "300 of 5,000 trials are drawn" in text
    assert "2,000 of 5,000 trials are drawn" in text


@pytest.mark.browser
def test_a_study_without_a_complete_trial_says_so(browser: Browser, tmp_path: Path) -> None:
    study = optuna.create_study(study_name="none")
    study.enqueue_trial({})
    page = tmp_path / "none.html"
    page.write_text(render(make_report(study, None)), encoding="utf-8")

    browser.open(page)

    assert drawn(browser) == 0
    assert "No trial is complete" in browser.run("return document.body.textContent")
    assert browser.said() == []
