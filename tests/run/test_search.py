"""Ways to search from the command line: each one flag away, nonsense refused in one line."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli, Outcome, rows

STUDY = ("study", "tiny.toml")
SEARCHED = ("--set", "space.hidden_size={low=4,high=16,step=4}", "--set", "space.learning_rate=0.001")


def shown(cli: Cli, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cli("show", name, "--format", "json").out)
    return found


def one_line(outcome: Outcome, expected: str) -> None:
    assert (outcome.code, outcome.lines) == (2, [expected])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ("--objectives", "mse,parameters", "--pruner", "median"),
            "pruner.name: median compares one value, and this study has mse and parameters; use --pruner none",
        ),
        (
            ("--objectives", "mse,parameters", "--sampler", "cmaes"),
            "sampler.name: cmaes knows one objective, and this study has mse and parameters"
            " (use one of: brute-force, gp, grid, nsga2, nsga3, qmc, random, tpe)",
        ),
        (
            ("--objectives", "mse,paramters"),
            "objectives: there is no 'paramters'; did you mean 'parameters'?"
            " (known: mse, mae, rmse, smape, mase, wql, crps, msis, parameters, train_seconds, latency_ms)",
        ),
        (
            ("--objectives", "mse,parameters", "--directions", "minimize"),
            "directions: 1 for 2 objectives; give one for each of objectives = [...]",
        ),
        (
            ("--objectives", "mse,parameters", "--stop-value", "1"),
            "stop.value: is for one objective, and this study has mse and parameters",
        ),
        (("--import", "nowhere"), "import_from: study 'nowhere' is not in this database (it holds no study yet)"),
        (("--preset", "tiny"), "space.preset: must be one of small, default, large, architecture, got 'tiny'"),
        (
            ("--set", "space.only=['windw']"),
            "space.only: windw is not searched; did you mean 'window_norm'?",
        ),
        (("--max-parameters", "0"), "constraints.max_parameters: must be at least 1, got 0"),
        (("--top", "5"), "top: says how many trials --promote NAME takes; give it too, or leave --top out"),
        (("--set", "enqueue=[{window=9}]"), "enqueue 1: window = 9, but the space fixes it at 8"),
    ],
)
def test_nonsense_is_refused_in_one_line(cli: Cli, arguments: tuple[str, ...], expected: str) -> None:
    outcome = cli(*STUDY, *arguments)
    assert outcome.code == 2
    assert len([line for line in outcome.lines if not line.startswith("try: ")]) == 1
    assert outcome.lines[0].startswith(expected)
    assert not Path("runs").exists()


def test_a_grid_needs_steps_and_says_how_many_combinations_there_are(cli: Cli) -> None:
    space = ("--set", "space.dropout=0.0", "--set", "space.recurrent_dropout=0.0", "--set", "space.pooling=last")
    fixed = (*space, "--set", "space.linear_skip=true", "--set", "space.window_norm=last")
    rates = ("--set", "space.learning_rate={low=0.001, high=0.1}")
    refused = cli(*STUDY, "--sampler", "grid", *fixed, *rates)
    one_line(refused, "space.learning_rate: is continuous; to enumerate it give it a step or choices")

    rates = ("--set", "space.learning_rate={choices=[0.001, 0.01]}")
    dry = cli(*STUDY, "--sampler", "grid", *fixed, *rates, "--trials", 50, "--dry-run").out.splitlines()
    assert "sampler         grid, 2 combinations" in dry
    assert "trials          2 in all, up to 2 epochs each" in dry
    assert "space           learning_rate = {choices = [0.001, 0.01], default = 0.001}" in dry
    assert 'space           pooling = "last"' in dry
    outcome = cli(*STUDY, "--sampler", "grid", *fixed, *rates, "--trials", 50)
    assert "; the grid has 2 combinations" in outcome.lines[1]
    assert len(rows()) == 2


def test_a_study_that_is_refused_is_not_created(cli: Cli, cached_cli: Cli) -> None:
    nowhere = cli(*STUDY, "--import", "tiny", "--storage", "sqlite:///new/study.db")
    assert cached_cli("study", "tiny.toml").code == 0
    begun = cli("study", "tiny.toml", "--import", "tiny", "--name", "other", "--stop-value", 1e9)

    assert (nowhere.code, begun.code) == (2, 2)
    assert not Path("new").exists()
    assert [line for line in begun.lines if line.startswith("stop.value: stop value 1e+09 reached by trial ")]
    assert cli("show", "other").code == 2


def test_a_stop_value_ends_the_study_and_one_that_is_met_is_refused(cli: Cli) -> None:
    outcome = cli(*STUDY, "--stop-value", 1e9)
    assert outcome.code == 0
    assert outcome.lines[-1].startswith("stopped: stop value 1e+09 reached by trial 0 (")
    assert len(rows()) == 1
    assert shown(cli, "tiny")["stopped"] == outcome.lines[-1].removeprefix("stopped: ")

    again = cli(*STUDY, "--stop-value", 1e9)  # the same command has nothing to do
    assert (again.code, len(rows())) == (0, 1)
    other = cli(*STUDY, "--stop-value", 5e8)
    assert other.code == 2
    assert other.lines[0].startswith("stop.value: stop value 5e+08 reached by trial 0")
    assert cli(*STUDY).code == 0
    assert len(rows()) == 3


def test_several_objectives_end_in_a_front(cli: Cli) -> None:
    options = ("--objectives", "mse,parameters", "--sampler", "nsga2", "--trials", 6, *SEARCHED)
    assert cli(*STUDY, *options).code == 0
    summary = shown(cli, "tiny")
    values = {t["number"]: t["value"] for t in summary["trials"]}
    front = [n for n, v in values.items() if not any(w[0] <= v[0] and w[1] <= v[1] and w != v for w in values.values())]
    assert summary["front"] == front
    assert summary["best"]["number"] in front
    table = cli("show", "tiny").out
    assert "Pareto front  mse (minimize)  parameters (minimize)" in table
    assert "knee" in table
    assert "tiny" in cli("studies").out

    limit = sorted(values[n][1] for n in front)[0]
    assert cli("refit", "tiny", "-o", "model", "--pick", f"parameters<={limit}", "--json").code == 0
    card = json.loads(Path("model/model.json").read_text())
    smallest = next(n for n in front if values[n][1] == limit)
    assert f'"trial": {smallest}' in json.dumps(card)
    one_line(
        cli("refit", "tiny", "-o", "other", "--pick", "mae<=1"),
        "--pick: use knee, or a bound such as 'parameters<=1000' (objectives: mse, parameters), got 'mae<=1'",
    )
    one_line(
        cli("refit", "tiny", "-o", "other", "--pick", "knee", "--trial", 0),
        "--pick: selects a trial, and so does --trial; leave out one of them",
    )


def test_no_network_above_the_limit_is_trained(cli: Cli) -> None:
    assert cli(*STUDY, "--max-parameters", 600, "--trials", 4, *SEARCHED, "--sampler", "random").code == 0
    trials = shown(cli, "tiny")["trials"]
    assert all((t["attrs"]["parameters"] > 600) == (t["epochs"] == 0) for t in trials)
    assert sum(t["epochs"] > 0 for t in trials) == 4
    assert any(t["epochs"] == 0 for t in trials)


def test_a_subset_first_then_the_best_on_everything(cli: Cli) -> None:
    cli(*STUDY, "--set", "data.fraction=0.5", "--trials", 4, "--set", "pruner.n_startup_trials=9", *SEARCHED)
    best = sorted(shown(cli, "tiny")["trials"], key=lambda t: t["value"])[:2]

    outcome = cli("study", "--promote", "tiny", "--top", 2, "--workers", 1)

    assert outcome.code == 0
    assert "84 train" in outcome.lines[0]
    assert "pruner none" in outcome.lines[1]  # what is promoted is trained to its end
    promoted = shown(cli, "tiny-promoted")["trials"]
    assert [t["params"] for t in promoted] == [t["params"] for t in best]
    assert cli("study", "--promote", "tiny", "--top", 2, "--workers", 1).code == 0
    assert len(shown(cli, "tiny-promoted")["trials"]) == 2
    one_line(
        cli("study", "--promote", "tiny", "--top", 3),
        "top: study 'tiny-promoted' exists and promoted 2, not 3; give --name",
    )
    asked = cli("study", "--promote", "tiny", "--name", "other", "--pruner", "asha", "--top", 1, "--workers", 1)
    assert "pruner asha" in asked.lines[1]
    one_line(
        cli("refit", "tiny", "-o", "model", "--pick", "parameters<=20000"),
        "--pick: study 'tiny' has one objective, so the best is known; leave it out",
    )


def test_ranges_narrowed_and_trials_imported(cli: Cli) -> None:
    cli(*STUDY, "--trials", 8, "--pruner", "none", *SEARCHED)
    values = sorted(shown(cli, "tiny")["trials"], key=lambda t: t["value"])

    assert cli("study", "--narrow-from", "tiny", "--trials", 2, "--workers", 1).code == 0
    dropouts = [t["params"]["dropout"] for t in values[:2]]
    for trial in shown(cli, "tiny-narrowed")["trials"]:
        assert min(dropouts) <= trial["params"].get("dropout", dropouts[0]) <= max(dropouts)

    imported = cli("study", "--import", "tiny", "--trials", 2, "--name", "more", "--workers", 1)
    assert "begins with 8 trials of study tiny" in imported.err
    assert [t["value"] for t in shown(cli, "more")["trials"]][:8] == [t["value"] for t in shown(cli, "tiny")["trials"]]
    refused = cli("study", "--import", "tiny", "--name", "other", "--horizon", 3)
    one_line(refused, "import_from: study 'tiny' is another search: it has data.horizon = 4, this one has 3")
    Path("mine.py").write_text(
        "def space(trial):\n    return {'x': trial.suggest_float('x', 0, 1)}\n"
        "def objective(trial, params):\n    return params['x']\n"
    )
    (line,) = cli("study", "mine.py", "--import", "tiny").lines
    assert line.startswith("import_from: study 'tiny' is another search: it has task forecast and params hidden_size, ")
    assert line.endswith("; this has the objective mine.py")
    assert cli("study", "mine.py", "--trials", 1, "--workers", 1).code == 0
    one_line(
        cli(*STUDY, "--name", "other", "--import", "mine"),
        "import_from: study 'mine' is another search: it has the objective mine.py and params x;"
        " this has data to train on",
    )


def test_hyperbands_brackets_are_shown(cli: Cli) -> None:
    cli(*STUDY, "--pruner", "hyperband", "--epochs", 4, "--trials", 6)
    lines = cli("show", "tiny").out.splitlines()
    header = next(i for i, line in enumerate(lines) if line.split()[:2] == ["bracket", "first"])
    counted = [int(line.split()[3]) for line in lines[header + 1 : header + 4] if line.strip()]
    assert sum(counted) == 6


def test_lr_search_recommends_a_range_and_draws_it(cli: Cli) -> None:
    arguments = ("lr-search", "tiny.toml", "--rounds", 2, "--draws", 4, "--epochs", 1, "--high", 1000)
    outcome = cli(*arguments, "-o", "lr.html", "--json")
    found = json.loads(outcome.out)
    assert outcome.code == 0
    assert found["low"] <= found["value"] <= found["high"]
    page = Path("lr.html").read_text()
    assert f"<b>{found['value']:.2g}</b>" in page
    assert f"<b>{found['low']:.2g} to {found['high']:.2g}</b>" in page
    assert html.escape(found["space"]) in page
    embedded = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert embedded is not None
    (panel,) = json.loads(embedded[1])["panels"]
    assert [(s["x0"], s["x1"]) for s in panel["layout"]["shapes"]] == [(found["low"], found["high"])]
    points = [trace for trace in panel["data"] if trace["mode"] == "markers"]
    assert sum(len(trace["x"]) for trace in points) == 8
    assert {trace["name"] for trace in points} <= {"round 1", "round 2", "diverged"}
    summary = shown(cli, "tiny-lr")
    assert len(summary["trials"]) == 8
    assert set(summary["counts"]) <= {"COMPLETE", "PRUNED"}
    assert {tuple(t["params"]) for t in summary["trials"]} == {("learning_rate",)}
    again = cli(*arguments, "-o", "lr.html", "--json")
    assert json.loads(again.out) == found
    assert any(line.endswith("; to continue the search, give a higher --rounds") for line in again.lines)

    narrowed = cli("study", "--narrow-from", "tiny-lr", "--trials", 1, "--workers", 1)
    assert (narrowed.code, narrowed.lines[0].split(": ")[1]) == (0, outcome.lines[0].split(": ")[1])
    assert narrowed.lines[1].startswith("1 trial of up to 10 epochs, sampler tpe, pruner median")
    params = shown(cli, "tiny-lr-narrowed")["trials"][0]["params"]
    assert len(params) > 1
    assert params["learning_rate"] in {t["params"]["learning_rate"] for t in summary["trials"]}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("-o", "x.png"), "-o: x.png does not end in .html, and HTML is what is written"),
        (("-o", "tiny.csv/x.html"), "-o: cannot write below tiny.csv: Not a directory"),
        (("--set", "pruner.name=asha"), "pruner.name: lr-search decides it; leave it out"),
        (("--set", "sampler.name=tpe"), "sampler.name: lr-search decides it; leave it out"),
        (("--set", "space.learning_rate=0.01"), "space.learning_rate: lr-search decides it; give --low and --high"),
        (("--set", "training.epochs=9"), "training.epochs: lr-search decides it; give --epochs"),
    ],
)
def test_an_lr_search_that_cannot_end_well_is_refused_before_it_trains(
    cli: Cli, arguments: tuple[str, ...], expected: str
) -> None:
    one_line(cli("lr-search", "tiny.toml", *arguments), expected)
    assert not Path("runs").exists()
