"""`study --from-model`: a new study that starts from a model and a newer file."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

import optlstm
from optlstm.models.card import Card
from optlstm.models.warm_start import data_settings
from optlstm.report.command import command_of
from optlstm.study.database.connection import open_database
from optlstm.study.record import CONFIG_KEY
from optlstm.study.results import load_study
from optlstm.tasks.options import DataConfig
from optlstm.tasks.registry import task_class
from optlstm.training.metric import Goal
from tests.cli.test_bad_input import refuses
from tests.conftest import URL, Cli, rows, series
from tests.tasks.forecast.samples import write
from tests.tasks.test_tasks import lines, texts

SEARCH = ("study", "--from-model", "model", "--data", "newer.csv", "--epochs", 1, "--workers", 1, "--trials", 3)
SPACE = ("--set", "space.window={choices=[6, 9]}", "--set", "space.patch=4", "--set", "space.dropout=0.2")


def test_its_networks_params_are_tried_first_as_far_as_the_space_has_them(cli: Cli, mixed: Path) -> None:
    Path("newer.csv").write_text(series(180, "ds,y"))
    small = ("--set", "space.hidden_size=4", "--set", "data.folds=0", "--set", "artifacts=0", *SPACE)

    done = cli(*SEARCH, *small)

    assert done.code == 0, done.err
    trained = optlstm.load("model").card.trials
    trials = json.loads(cli("show", "model-again", "--format", "json").out)["trials"]
    for network, trial in zip(trained, trials[:2], strict=True):
        lost = {"window"} if network.params["window"] == 8 else set()
        assert {name for name, value in trial["params"].items() if value != network.params[name]} <= lost
    assert {line for line in done.lines if line.startswith("from_model: ")} == {
        "from_model: network 1: window = 8 is outside the space (one of 6, 9); left out",
        "from_model: network 1: dropout = 0.0, but the space fixes it at 0.2; left out",
        "from_model: network 2: dropout = 0.0, but the space fixes it at 0.2; left out",
    }
    command = command_of(load_study(open_database(URL), "model-again").user_attrs[CONFIG_KEY], "as-reported")
    assert cli(*shlex.split(command)[3:], "--workers", 1).code == 0
    assert rows("as-reported") == rows("model-again")
    shutil.rmtree("model")
    again = ("./model/" if argument == "model" else argument for argument in SEARCH)
    assert "nothing to do: the study has 3 trials: 3 complete" in cli(*again, *small).err
    other = cli("study", "--from-model", "other", "--name", "model-again")
    assert other.lines == ["from_model: study 'model-again' exists and started from 'model', not 'other'; give --name"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "data: a model holds no data; name the file to search on with --data FILE"),
        (("--data", "t.csv", "--task", "text"), "task: model model is of task forecast, not 'text'; leave --task out"),
        (("mine.py",), "from_model: model model is of task forecast, and this study has a custom objective"),
        (("--data", "tiny.csv", "--promote", "tiny"), "from_model: promote says what is tried first, too; leave one"),
        (
            ("--data", "tiny.csv", "--set", "enqueue=[{dropout=0.1}]"),
            "enqueue: the params of model model are tried first; leave it or --from-model out",
        ),
        (
            ("--data", "tiny.csv", "--from-model", "modell"),
            "model modell: there is no such folder; did you mean 'model'?",
        ),
    ],
)
def test_what_cannot_start_from_it_is_refused(cli: Cli, made: Path, arguments: tuple[str, ...], problem: str) -> None:
    Path("mine.py").write_text("def objective(trial):\n    return 1.0\n")
    Path("t.csv").write_text(texts())
    refuses(cli, ("study", "--from-model", "model", *arguments), [[problem]])


@pytest.mark.parametrize(
    ("task", "file", "settings", "loss"),
    [
        ("forecast", "panel.csv", {"series": "unique_id", "gaps": "interpolate", "calendar": ("hour",)}, None),
        ("forecast", "panel.csv", {"future": ("promo",), "past": ("kind",), "scaling": "global", "horizon": 4}, None),
        ("forecast", "panel.csv", {"quantiles": (0.1, 0.9), "positive": True, "season": 12}, "quantiles"),
        ("sequence", "lines.csv", {"class_weights": "balanced"}, None),
        ("sequence", "numbers.csv", {"kind": "number", "cap": 3.0}, "mae"),
        ("sequence", "steps.csv", {"series": "id", "time": "t", "label": "up", "channels": ("x",)}, None),
        ("sequence", "steps.csv", {"series": "id", "label": "z", "per_step": True, "causal": True}, None),
        ("text", "texts.csv", {"lowercase": False, "vocabulary": 50, "min_count": 2, "max_tokens": 9}, None),
    ],
)
def test_a_file_is_read_as_the_models_was(
    folder: Path, task: str, file: str, settings: dict[str, Any], loss: str | None
) -> None:
    write(folder / "panel.csv")
    Path("lines.csv").write_text(lines(40))
    Path("numbers.csv").write_text(lines(40, tuple(f"{i}.5" for i in range(20))))
    steps = [f"{i},{t},{t * (-1) ** i},{i % 2},{t % 2}" for i in range(30) for t in range(5)]
    Path("steps.csv").write_text("\n".join(["id,t,x,up,z", *steps]))
    Path("texts.csv").write_text(texts(40))
    kind, path = task_class(task), str(folder / file)
    read = kind.read(DataConfig(path=path, **settings))
    card = Card.model_construct(task=read.evaluator(Goal(loss)).card_section(), data=read.record())

    again = kind.read(DataConfig(path=path, **data_settings(card)))

    assert again.record() == read.record()
