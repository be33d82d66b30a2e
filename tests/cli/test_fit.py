"""`fit`: search and refit inside a time limit. The clock is made up: what it decides is when the search ends."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pandas as pd
import pytest

import optlstm
from optlstm.backends.driver import Run
from optlstm.backends.trial import Decision
from optlstm.run.budget import Budget
from optlstm.run.plan import make_plan
from optlstm.study.database.connection import open_database
from optlstm.study.record import BUDGET_KEY, MODEL_KEY
from optlstm.study.results import load_study, study_record
from optlstm.training import network_cost
from optlstm.training.network_cost import TrainingCost
from tests.conftest import URL, Cli, rows
from tests.waiting import wait_until

FIT = ("fit", "tiny.toml", "-o", "m")


@pytest.fixture(autouse=True)
def _two_trials(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search has time for two trials; a step takes as long on every machine."""
    Path("tiny.toml").write_text(Path("tiny.toml").read_text().replace("trials = 3\n", ""))
    over = property(lambda budget: budget._hopeless or len(budget._finished) >= 2)
    monkeypatch.setattr(Budget, "passed", over)
    monkeypatch.setattr(network_cost, "training_cost", lambda problem, hp: TrainingCost(0.001, 0.001, 2))


def test_it_searches_refits_and_tests_and_the_same_command_again_trains_nothing(cli: Cli) -> None:
    first = cli(*FIT, "--minutes", 5, "--json")

    assert first.code == 0, first.err
    assert "as many trials as fit into 5 min 0 s, of up to 2 epochs" in first.lines[1]
    assert any(line.startswith("best baseline on the validation rows: ") for line in first.lines)
    assert any("best so far, " in line and " left" in line for line in first.lines)
    assert first.lines[-1].endswith(" of 5 min 0 s")
    result = json.loads(first.out)
    assert (result["study"], result["counts"], result["model"]) == ("tiny-fit", {"COMPLETE": 2}, "m")
    assert {"test", "baselines", "intervals"} <= result.keys()
    assert load_study(open_database(URL), "tiny-fit").user_attrs[BUDGET_KEY] > 0
    made, table = Path("m/model.json").read_bytes(), rows("tiny-fit")
    again = cli(*FIT, "--minutes", 5)
    assert again.lines == [
        "nothing to do: the study has ended, and m holds its model; to search on give more --minutes, for another model"
        " another --name and -o"
    ]
    assert "python -m optlstm predict m --data " in again.out
    assert json.loads(cli(*FIT, "--minutes", 4, "--json").out) == result
    assert rows("tiny-fit") == table
    assert Path("m/model.json").read_bytes() == made


def test_after_its_end_more_minutes_go_on_and_a_lost_model_is_trained_again(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli(*FIT, "--minutes", 5)
    made = Path("m/model.json").read_bytes()

    Path("m/model.safetensors").unlink()
    lost = cli(*FIT, "--minutes", 5)

    assert "training the model" in lost.err
    assert Path("m/model.json").read_bytes() == made
    monkeypatch.setattr(Budget, "passed", property(lambda budget: len(budget._finished) >= 3))
    longer = cli(*FIT, "--minutes", 6)
    assert "training the model" in longer.err
    assert [state for _, state, *_ in rows("tiny-fit")] == ["COMPLETE"] * 3
    assert "training the model" not in cli(*FIT, "--minutes", 6).err


def test_every_model_that_a_study_made_is_kept(cli: Cli) -> None:
    cli(*FIT, "--minutes", 5)
    made = Path("m/model.json").read_bytes()
    other = cli(*FIT[:2], "-o", "other", "--minutes", 5)

    assert any(
        line.startswith("the time of study tiny-fit was used for an earlier model; this one is trained in the ")
        and line.endswith(" left; a fuller one: more --minutes, or python -m optlstm refit tiny-fit -o other")
        for line in other.lines
    )
    again = cli(*FIT, "--minutes", 5)
    assert again.lines[0].startswith("nothing to do: the study has ended, and m holds its model")
    assert Path("m/model.json").read_bytes() == made


def test_the_model_that_an_older_version_noted_is_kept(cli: Cli) -> None:
    cli(*FIT, "--minutes", 5)
    digest = optlstm.load("m").card.digest
    optuna.load_study(study_name="tiny-fit", storage=URL).set_user_attr(MODEL_KEY, {"seconds": 300, "sha256": digest})

    assert cli(*FIT, "--minutes", 5).lines[0].startswith("nothing to do: ")
    cli(*FIT[:2], "-o", "other", "--minutes", 5)
    assert cli(*FIT, "--minutes", 5).lines[0].startswith("nothing to do: ")


def test_without_time_for_a_trial_the_model_is_the_best_baseline(cli: Cli) -> None:
    done = cli(*FIT, "--minutes", 1e-6)

    assert done.code == 0, done.err
    assert "there was no time for a trial: the model is linear; give more --minutes and another --name" in done.out
    assert "\nstudy tiny-fit: linear forecasts only, on train + validation\n" in f"\n{done.out}"
    model = optlstm.load("m")
    assert repr(model).startswith("<optlstm Model of study 'tiny-fit', linear forecasts only; test mae ")
    assert sum(model.card.ensemble.values()) == pytest.approx(1)
    assert not any(name.startswith("trial") for name in model.card.ensemble)
    assert [trained.schedule[-1].last for trained in model.card.trials] == [0]
    assert (model.test["mse"] or 9) < (model.card.test.baselines["naive"]["mse"] or 0)
    assert len(model.predict("tiny.csv")) == 4
    named = cli(*FIT, "--name", "tiny-fit", "--minutes", 2e-6)
    assert "it was cut down for 0.0 s, and stays so; another --name begins one anew" in named.lines
    longer = cli(*FIT, "--minutes", 5)
    assert "study tiny-fit was cut down for 0.0 s: another one is begun" in longer.lines
    assert [state for _, state, *_ in rows("tiny-fit-2")] == ["COMPLETE"] * 2
    assert not rows("tiny-fit")


def test_a_short_time_makes_shorter_epochs_and_bars_slow_configurations(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = TrainingCost(step=0.01, validation=0.1, steps=1000)
    monkeypatch.setattr(network_cost, "training_cost", lambda problem, hp: cost)
    monkeypatch.setattr("optlstm.run.budget.time", SimpleNamespace(monotonic=lambda: 0.0))
    data = {"path": "tiny.csv", "horizon": 4}
    plan = make_plan({"data": data, "space": {"window": 8}, "workers": 1, "name": "x"})

    long = Budget(36_000, 0.0).adapt(plan)
    short = Budget(400, 0.0).adapt(plan)
    hopeless = Budget(0.5, 0.0)
    hopeless.adapt(plan)

    assert "data" not in long
    assert "training" not in long
    # 360 s less 2.4 s of evaluation, 12 trials of 10 epochs: 2.98 s an epoch, less its validation, 288 steps of 16.
    assert short["data"]["epoch_windows"] == pytest.approx(288 * 16, rel=0.02)
    assert short["constraints"]["max_work"] == pytest.approx(2 * network_cost.work(plan.problem, _defaults(plan)))
    assert hopeless.passed


def test_what_is_left_decides_how_much_is_refitted() -> None:
    whole = SimpleNamespace(user_attrs={"train_seconds": 10.0, "best_epoch": 3}, last_step=10)
    early = SimpleNamespace(user_attrs={"train_seconds": 25.0, "best_epoch": 2}, last_step=5)  # it stopped: 10 s again
    ledger = SimpleNamespace(
        ranking=[whole, early, whole], paused=[],
        record=SimpleNamespace(task={"task": "forecast"}, objectives={}, epochs=10),
    )  # fmt: skip
    chosen, rounds = [], []
    for seconds in (400, 120, 35, 20, 12):
        budget = Budget(seconds, time.monotonic())  # all of it is left
        budget._ledger = ledger  # type: ignore[assignment]
        options = budget.refit_options() or {}
        more = options.pop("more", None)
        chosen.append(options)
        rounds.append(
            more and next(n for n in range(1, 20) if not (setattr(budget, "_spent", 30.0 * n) or more(n, 30.0)))
        )

    assert chosen == [{"top": 3}, {"top": 3}, {"top": 2}, {"top": 1}, {"top": 3, "retrain": False}]
    assert rounds == [9, 3, 1, 1, None]


def test_from_python(folder: Path) -> None:
    frame = pd.DataFrame({"ds": pd.date_range("2024", periods=120), "y": np.sin(np.arange(120) * 2 * np.pi / 7)})
    small = {"window": 8, "patch": 4, "hidden_size": 4, "num_layers": 1}

    model = optlstm.fit(
        frame, minutes=5, horizon=3, epochs=1, space=small, folds=0, workers=1, progress=False, name="p"
    )

    assert len(rows("p")) == 2
    assert len(model.predict(frame)) == 3
    assert study_record(load_study(open_database(URL), "p"))["training"]["epochs"] == 1


def test_interrupted_it_says_how_to_go_on_and_goes_on(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    report = Run.report

    def interrupt(run: Run, number: int, epoch: int, value: float) -> Decision:
        if (number, epoch) == (1, 1):
            os.kill(os.getpid(), signal.SIGINT)
            wait_until(lambda: run.stop_reason)
        return report(run, number, epoch, value)

    monkeypatch.setattr(Run, "report", interrupt)
    stopped = cli(*FIT, "--minutes", 5)

    monkeypatch.setattr(Run, "report", report)
    assert stopped.code == 130
    assert "  python -m optlstm fit --name tiny-fit --minutes 5 -o m" in stopped.lines
    assert not Path("m").exists()
    assert cli("fit", "--name", "tiny-fit", "--minutes", 5, "-o", "m").code == 0
    interrupted = rows("tiny-fit")
    cli(*FIT[:2], "-o", "other", "--name", "other", "--minutes", 5)
    assert rows("other")[:2] == interrupted[:2]


def test_interrupted_while_the_model_is_trained_it_says_that_the_search_is_saved(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("optlstm.models.fit.finished", interrupt)
        stopped = cli(*FIT, "--minutes", 5)

    assert stopped.code == 130
    assert stopped.lines[-3:-1] == [
        "stopped while the model was being trained; the search is saved, and this trains the model:",
        "  python -m optlstm fit --name tiny-fit --minutes 5 -o m",
    ]
    assert not Path("m").exists()
    cli("fit", "--name", "tiny-fit", "--minutes", 5, "-o", "m")
    assert [state for _, state, *_ in rows("tiny-fit")] == ["COMPLETE"] * 2
    assert optlstm.load("m").test


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--minutes", 0), "minutes: must be a number above 0, got 0.0"),
        (("--set", "trials=3"), "trials: fit decides it; leave it out, or use study and refit"),
        (("--set", "scheduler=pbt"), "scheduler: fit decides it; leave it out, or use study and refit"),
    ],
)
def test_what_fit_decides_is_not_asked_for(cli: Cli, arguments: tuple[object, ...], line: str) -> None:
    refused = cli(*FIT, *arguments)

    assert (refused.code, refused.lines[0]) == (2, line)
    assert not Path("runs").exists()


def _defaults(plan: object) -> object:
    from optlstm.training.hparams import Hyperparameters

    space = plan.space  # type: ignore[attr-defined]
    return Hyperparameters.from_params({**space.fixed, **space.defaults()})
