"""Custom networks: tuned, refitted, saved and loaded as the LSTMs are; never imported because a file says so."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import optlstm
from optlstm.errors import InputError
from optlstm.run.plan import make_plan
from optlstm.training.factory import Factory, Shape
from optlstm.training.hparams import Hyperparameters
from tests.cli.test_bad_input import refuses
from tests.conftest import Cli, rows
from tests.docs.test_commands import ROOT, blocks
from tests.tasks.forecast.samples import write
from tests.tasks.label.test_steps import STUDY as STEPS_STUDY
from tests.tasks.label.test_steps import regimes
from tests.tasks.test_tasks import SEQUENCES, TEXTS, lines, texts

MODULE = """
import torch
from torch import nn

LOADED = []


class Forecaster(nn.Module):
    def __init__(self, config, inputs, outputs):
        super().__init__()
        self.window, self.inputs = inputs["window"], inputs
        self.norm = nn.BatchNorm1d(config.hidden_size)  # counts its batches in whole numbers
        self.first = nn.Linear(inputs["window"] + inputs.get("static", 0), config.hidden_size)
        self.head = nn.Linear(config.hidden_size, outputs)

    def forward(self, x, covariates=None, static=None):
        x = x[:, -self.window:]
        assert covariates is None or covariates.shape[1] == self.inputs["covariates"]
        x = x if static is None else torch.cat([x, static], dim=1)
        return self.head(torch.relu(self.norm(self.first(x))))


class Taught(Forecaster):
    def every_step(self, x):
        return torch.stack([self(x[:, first:first + self.window]) for first in (0, 4)], dim=1)


class Classifier(nn.Module):
    def __init__(self, config, inputs, outputs):
        super().__init__()
        known = inputs.get("vocabulary")
        self.read = nn.Embedding(known, 4) if known else nn.Linear(inputs["channels"], 4)
        self.head = nn.Linear(4, outputs)

        self.per_step = "per_step" in inputs

    def forward(self, x, lengths):
        return self.head(self.read(x) if self.per_step else self.read(x).mean(dim=1))


def make(config, inputs, outputs):
    return (Forecaster if "window" in inputs else Classifier)(config, inputs, outputs)


def taught(config, inputs, outputs):
    return Taught(config, inputs, outputs)


def wrong(config, inputs, outputs):
    return make(config, inputs, outputs + 1)


def nothing(config, inputs, outputs):
    return None
"""
FACTORY = ("--set", "model.factory=networks_of_mine:make")
TINY = ("study", "tiny.toml", *FACTORY)


@pytest.fixture(autouse=True)
def _module(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    Path("networks_of_mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(folder))
    yield
    sys.modules.pop("networks_of_mine", None)


# (8 + 1) x 4, 2 x 4, (4 + 1) x 4, or of seven numbers for each of four steps (4 + 1) x 28
@pytest.mark.parametrize(("loss", "parameters"), [("mse", "64"), ("quantiles", "184")])
def test_from_study_to_forecasts(cli: Cli, loss: str, parameters: str) -> None:
    done = cli(*TINY, "--loss", loss)
    assert done.code == 0, done.err
    assert re.search(rf"parameters +{parameters} *\n", done.out)
    json.loads(cli("refit", "tiny", "-o", "model", "--json", "--seeds", "2").out)

    assert json.loads(Path("model/model.json").read_text())["factory"] == "networks_of_mine:make"
    predict = ("predict", "model", "--data", "tiny.csv", "-o", "out.csv")
    assert cli(*predict, "--factory", "networks_of_mine:make").code == 0
    forecast = optlstm.load("model", factory="networks_of_mine:make").predict("tiny.csv")
    np.testing.assert_allclose(pd.read_csv("out.csv")["y"], forecast["y"], rtol=1e-6)


def test_networks_of_any_window_make_an_ensemble_that_is_checked_updated_and_explained(cli: Cli) -> None:
    """Those of the docs, which take their own window and no longer one."""
    Path("networks_of_mine.py").write_text(blocks(ROOT / "docs" / "custom-networks.md")[0][1])
    first, longer = "".join(f"{i},{i % 7}\n" for i in range(120)), "".join(f"{i},{i % 7}\n" for i in range(150))
    Path("tiny.csv").write_text(f"ds,y\n{first}")
    searched = ("--set", "space.window={choices=[8,16]}", "--sampler", "grid", "--pruner", "none")
    assert cli(*TINY, *searched, "--set", 'space.only=["window"]').code == 0
    made = cli("refit", "tiny", "-o", "model", "--top", 2)
    assert made.code == 0, made.err

    Path("newer.csv").write_text(f"ds,y\n{longer}")
    newer = ("model", "--data", "newer.csv")
    report = ("report", "tiny", "-o", "r.html", "--model", "model")
    for command in (("check", *newer), ("explain", *newer), ("update", *newer, "-o", "new"), report):
        refuses(cli, command, [["--factory networks_of_mine:make"]])
        done = cli(*command, "--factory", "networks_of_mine:make")
        assert done.code == 0, done.err
    assert optlstm.load("new", factory="networks_of_mine:make").card.history[0].rows == 150


def test_a_folder_imports_nothing_by_itself(cli: Cli) -> None:
    cli(*TINY)
    cli("refit", "tiny", "-o", "model")
    del sys.modules["networks_of_mine"]
    predict = ("predict", "model", "--data", "tiny.csv", "-o", "out.csv")

    refuses(cli, predict, [["made by 'networks_of_mine:make'", "--factory networks_of_mine:make"]])
    refuses(cli, (*predict, "--factory", "os:system"), [["os:system is not what made them"]])
    assert "networks_of_mine" not in sys.modules

    changed = MODULE.replace("nn.Linear(config.hidden_size, outputs)", "nn.Linear(config.hidden_size, outputs, False)")
    Path("networks_of_mine.py").write_text(changed)
    lines = refuses(cli, (*predict, "--factory", "networks_of_mine:make"), [["makes networks of other weights"]])
    assert "head.bias" in lines[0]


def test_our_own_models_need_no_factory(cli: Cli) -> None:
    cli("study", "tiny.toml")
    cli("refit", "tiny", "-o", "model")

    command = ("predict", "model", "--data", "tiny.csv", "-o", "out.csv", "--factory", "networks_of_mine:make")
    refuses(cli, command, [["the networks of model model are optlstm's own"]])


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        ("networks_of_mine:wrong", "its network gives [2, 5] for x of [2, 8], not [2, 4]"),
        ("networks_of_mine:nothing", "gave NoneType, not an nn.Module"),
        ("networks_of_mine:maek", "has no maek(config, inputs, outputs) -> nn.Module"),
        ("networks_of_mien:make", "there is no module 'networks_of_mien'"),
        ("networks_of_mine", "must be module:function"),
    ],
)
def test_what_makes_no_networks_is_refused(cli: Cli, factory: str, expected: str) -> None:
    refuses(cli, ("study", "tiny.toml", "--set", f"model.factory={factory}"), [["model.factory: ", expected]])


def test_every_step_is_taught_where_a_network_has_the_method() -> None:
    hp, shape = Hyperparameters(window=8, patch=4, supervision="every_step"), Shape({"window": 8}, 4, 4)
    Factory.read("networks_of_mine:taught").check(hp, shape)
    Factory.read("networks_of_mine:make").check(replace(hp, supervision="last_step"), shape)

    for factory, changes, expected in (
        ("make", {}, "raised AttributeError: 'Forecaster' object has no attribute 'every_step'"),
        (
            "taught",
            {"patch": 2},
            r"its network's every_step gives .* for x of \[2, 10\], not \[2, 2, 4\]|raised RuntimeError",
        ),
    ):
        with pytest.raises(InputError, match=rf"model\.factory: networks_of_mine:{factory}: {expected}"):
            Factory.read(f"networks_of_mine:{factory}").check(replace(hp, **changes), shape)


def test_another_factory_is_another_study(cli: Cli) -> None:
    cli(*TINY)
    del sys.modules["networks_of_mine"]
    Path("networks_of_mine.py").write_text(MODULE.replace("relu", "tanh"))

    done = cli(*TINY, "--trials", "4")

    assert done.code == 2
    assert "model" in done.err


def test_every_task_takes_them(cli: Cli) -> None:
    Path("lines.csv").write_text(lines())
    Path("texts.csv").write_text(texts())
    write(Path("p.csv"))
    covariates = ("--set", "data.future=kind", "--set", "data.past=promo", "--set", "data.static=shop")
    panel = ("study", "--data", "p.csv", "--horizon", "4", "--set", "space.window=8", *covariates)

    regimes([9, 14, 7, 12] * 3).to_csv("steps.csv", index=False)
    for name, command in (("sequence", SEQUENCES), ("text", TEXTS), ("panel", panel), ("steps", STEPS_STUDY)):
        done = cli(*command, *FACTORY, "--name", name, "--trials", "1", "--epochs", "1", "--workers", "1")
        assert done.code == 0, done.err
    for name in ("sequence", "panel", "steps"):
        assert cli("refit", name, "-o", f"{name}-model").code == 0
        assert optlstm.load(f"{name}-model", factory="networks_of_mine:make").test


SEARCH = (
    MODULE.replace("self.read(x)", "(self.read(x) * config_heads)")
    .replace(
        "def make(",
        """
search = {"heads": {"choices": [1, 2, 4]}, "scale": {"low": 0.5, "high": 2.0, "log": True}}


def make(""",
    )
    .replace(
        "    return (Forecaster if",
        """    global config_heads
    config_heads = config.heads * config.scale
    if "window" in inputs:
        config = __import__("dataclasses").replace(config, hidden_size=8 * config.heads)
    return (Forecaster if""",
    )
)
SPACE = """
def space(trial):
    heads = trial.suggest_categorical("heads", [1, 2, 4])
    return {"heads": heads, "scale": trial.suggest_float("scale", 0.5, 2.0, log=True)}
"""


def test_params_that_a_factory_declares_are_searched_shown_refitted_and_loaded(cli: Cli) -> None:
    Path("networks_of_mine.py").write_text(SEARCH)
    done = cli(*TINY, "--trials", 3, "--set", "space.scale=2.0")
    assert done.code == 0, done.err
    best = json.loads(cli("show", "tiny", "--format", "json").out)["best"]
    heads = best["params"]["heads"]
    assert re.search(rf"parameters +{8 * heads * 9 + 2 * 8 * heads + (8 * heads + 1) * 4} *\n", done.out)
    assert cli("study", "--name", "tiny", *FACTORY, "--trials", 4).code == 0  # its space is the study's
    assert cli("refit", "tiny", "-o", "model").code == 0
    (trained,) = json.loads(Path("model/model.json").read_text())["trials"]
    assert trained["custom"] == {"heads": heads, "scale": 2.0}
    assert "heads" not in trained["params"]
    assert optlstm.load("model", factory="networks_of_mine:make").test


def test_they_are_declared_by_a_function_too_for_every_task(cli: Cli) -> None:
    Path("networks_of_mine.py").write_text(SEARCH)
    raw = {"name": "x", "data": {"path": "tiny.csv", "horizon": 4}, "model": {"factory": "networks_of_mine:make"}}
    (by_dict, *_) = [{p.name: p for p in make_plan(raw).space.params}[name] for name in ("heads", "scale")]
    del sys.modules["networks_of_mine"]
    Path("networks_of_mine.py").write_text(SEARCH.replace("search = ", "searched = ") + SPACE)
    by_function = {param.name: param for param in make_plan(raw).space.params}
    assert by_function["heads"] == by_dict
    assert (by_function["scale"].log, by_function["scale"].default) == (True, 1.0)
    Path("lines.csv").write_text(lines())
    Path("texts.csv").write_text(texts())
    for name, command in (("sequence", SEQUENCES), ("text", TEXTS)):
        done = cli(*command, *FACTORY, "--name", name, "--trials", "2", "--epochs", "1", "--workers", "1")
        assert done.code == 0, done.err
        trials = json.loads(cli("show", name, "--format", "json").out)["trials"]
        assert all({"heads", "scale"} <= trial["params"].keys() for trial in trials)


@pytest.mark.parametrize(
    ("search", "command", "expected"),
    [
        (
            "{'heads': 3}",
            (),
            "search: 'heads' must be a name that config has not yet, with a range or choices in a dict",
        ),
        ("{'sizes': {'choices': [1]}}", (), "search: 'sizes' must be a name that config has not yet"),
        ("{'heads': {'low': 2, 'high': 1}}", (), "space.heads: low = 2 is above high = 1"),
        ("{'heads': {'choices': [1, 'a']}}", (), "space.heads: choice 'a': must be a whole number, got 'a'"),
        ("{'heads': {'choices': [1, 2]}}", ("--set", "space.heads=true"), "space.heads: must be a whole number"),
        ("{'heads': {'choices': [1, 2]}}", ("--set", "space.haeds=1"), "did you mean 'heads'?"),
    ],
)
def test_a_declaration_is_checked_as_any_other(cli: Cli, search: str, command: tuple[str, ...], expected: str) -> None:
    Path("networks_of_mine.py").write_text(f"{MODULE}\nsearch = {search}\n")
    refuses(cli, (*TINY, *command), [[expected]])


@pytest.mark.ray
def test_on_ray_they_are_the_same_with_any_loss(cli: Cli, local_ray: None) -> None:
    Path("networks_of_mine.py").write_text(SEARCH)
    cli(*TINY, "--loss", "mase", "--name", "here")
    assert cli(*TINY, "--loss", "mase", "--name", "there", "--backend", "ray").code == 0

    assert rows("there") == rows("here")


@pytest.mark.parametrize(
    ("function", "space", "unread"),
    [
        ("make", {}, {"patch", "dropout", "recurrent_dropout", "num_layers"}),
        ("make", {"dropout": {"low": 0.0, "high": 0.5}}, {"patch", "recurrent_dropout", "num_layers"}),
        ("make", {"preset": "architecture"}, {"patch", "dropout", "num_layers", "hidden_size_2", "layer_norm"}),
        ("copies", {}, set()),
    ],
)
def test_what_a_network_does_not_read_is_not_searched(
    folder: Path, function: str, space: dict[str, object], unread: set[str]
) -> None:
    copies = "\nimport dataclasses\ndef copies(config, *sizes):\n    return make(dataclasses.replace(config), *sizes)\n"
    Path("networks_of_mine.py").write_text(MODULE + copies + "search = {'heads': {'choices': [1, 2]}}")
    raw = {"name": "x", "data": {"path": "tiny.csv", "horizon": 4}, "space": space}
    ours, custom = (make_plan({**raw, "model": model}) for model in ({}, {"factory": f"networks_of_mine:{function}"}))
    searched, left = ({param.name for param in plan.space.params} for plan in (ours, custom))
    assert unread <= searched - left
    assert {"hidden_size", "learning_rate", "batch_size", "window"} & searched <= left
    said = [note for note in custom.notes if "not searched, as its network does not read them" in note]
    assert bool(said) == bool(unread)
    assert all(name in said[0] for name in unread)
    idle = [note.rpartition(": ")[2] for note in custom.notes if "searched, though with the defaults" in note]
    asked = ["dropout", "heads"] if "dropout" in space else ["heads"]
    assert idle == ([", ".join(asked)] if function == "make" else [])
    # A study that exists keeps the space that it was made with.
    kept = make_plan(
        {**raw, "space": {"base": ours.space.spec()}, "model": {"factory": f"networks_of_mine:{function}"}}
    )
    assert (kept.space.params, kept.notes) == (ours.space.params, ())
