"""The config: what beats what, and what survives being merged, stored and read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from optlstm.config.schema import StudyConfig
from optlstm.config.sources import layer, read_layers, read_override, read_toml
from optlstm.config.validate import check_config
from optlstm.errors import InputError


def config(raw: dict[str, Any]) -> StudyConfig:
    checked, problems = check_config(raw)
    assert problems == []
    assert checked is not None
    return checked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("trials=3", {"trials": 3}),
        ("training.epochs = 20", {"training": {"epochs": 20}}),
        ("space.dropout.high=0.3", {"space": {"dropout": {"high": 0.3}}}),
        ("space.optimizer={choices=['adam','sgd']}", {"space": {"optimizer": {"choices": ["adam", "sgd"]}}}),
        ("data.splits=[.8,.1, -.1]", {"data": {"splits": [0.8, 0.1, -0.1]}}),
        ("name=v.8", {"name": "v.8"}),
        ("sampler.name=random", {"sampler": {"name": "random"}}),
        ("name=a=b", {"name": "a=b"}),
        ("data.target=OT,HUFL", {"data": {"target": "OT,HUFL"}}),
        ("sampler.multivariate=false", {"sampler": {"multivariate": False}}),
        ("name=", {"name": ""}),
    ],
)
def test_an_override_is_toml_or_plain_text(text: str, expected: dict[str, Any]) -> None:
    assert read_override(text) == expected


@pytest.mark.parametrize("text", ["", "epochs", "=3", "a..b=3", ".a=3", "a.=3"])
def test_an_override_without_a_key_and_a_value_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"use section\.key=VALUE"):
        read_override(text)


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000], ids=["a number too long", "nested too deep"])
def test_toml_beyond_what_python_takes_is_refused(tmp_path: Path, value: str) -> None:
    """Found by scripts/fuzz."""
    (tmp_path / "x.toml").write_text(f"seed = {value}")
    with pytest.raises(InputError, match="is not TOML"):
        read_toml(tmp_path / "x.toml")
    assert read_override(f"seed={value}") == {"seed": value}


def test_tables_are_merged_and_values_replaced() -> None:
    base = {"trials": 3, "training": {"epochs": 5, "patience": 2}, "space": {"dropout": {"low": 0.1}}}
    top = {"trials": 4, "training": {"epochs": 6}, "space": {"dropout": {"high": 0.2}}}

    assert layer(base, top) == {
        "trials": 4,
        "training": {"epochs": 6, "patience": 2},
        "space": {"dropout": {"low": 0.1, "high": 0.2}},
    }
    assert base["training"] == {"epochs": 5, "patience": 2}


@pytest.mark.parametrize("old", [{"name": "median", "n_warmup_steps": 3}, {"n_warmup_steps": 3}])
def test_another_pruner_starts_without_the_options_of_the_one_before(old: dict[str, Any]) -> None:
    assert layer({"pruner": old}, {"pruner": {"name": "asha"}}) == {"pruner": {"name": "asha"}}
    assert layer({"pruner": old}, {"pruner": {"name": "median"}})["pruner"]["n_warmup_steps"] == 3
    assert layer({"pruner": old}, {"pruner": {"n_startup_trials": 1}})["pruner"]["n_warmup_steps"] == 3


def test_flags_beat_overrides_beat_the_environment_beats_the_file(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text("trials = 1\nseed = 1\nstorage = 'f'\nname = 'f'\n[training]\nepochs = 1\npatience = 1\n")
    environment = {"storage": "e"}
    overrides = ["training.epochs=2", "seed=2", "trials=2"]

    raw, problems = read_layers(file, environment, overrides, {"trials": 3})

    assert problems == []
    assert raw == {"trials": 3, "seed": 2, "storage": "e", "name": "f", "training": {"epochs": 2, "patience": 1}}
    assert read_layers(file, environment, ["storage=s"], {})[0]["storage"] == "s"
    assert read_layers(file, {}, [], {})[0]["storage"] == "f"


def test_a_flag_and_overrides_make_one_choice_with_its_options(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text("[pruner]\nname = 'median'\nn_warmup_steps = 3\n")
    flags = {"pruner": {"name": "asha"}}

    raw, _ = read_layers(file, {}, ["pruner.grace_period=2", "pruner.reduction_factor=4"], flags)

    assert raw["pruner"] == {"name": "asha", "grace_period": 2, "reduction_factor": 4}


def test_a_data_path_is_absolute_wherever_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "study.toml"
    file.write_text("[data]\npath = 'a.csv'\n")

    assert read_layers(file, {}, [], {})[0]["data"]["path"] == str(tmp_path / "a.csv")
    assert read_layers(None, {}, ["data.path=b.csv"], {})[0]["data"]["path"] == str(tmp_path / "b.csv")
    assert read_layers(None, {}, [], {"data": {"path": "/c.csv"}})[0]["data"]["path"] == "/c.csv"


def test_what_cannot_be_read_is_reported_together(tmp_path: Path) -> None:
    raw, problems = read_layers(None, {}, ["a", "trials=2", "b"], {})
    with pytest.raises(InputError) as refused:
        read_layers(tmp_path / "none.toml", {}, ["a", "b"], {})

    assert raw == {"trials": 2}
    assert [line[:7] for line in problems] == ["--set a", "--set b"]
    assert len(refused.value.problems) == 3


def test_an_empty_config_is_the_defaults() -> None:
    defaults = config({})

    assert (defaults.trials, defaults.training.epochs, defaults.seed, defaults.workers) == (20, 10, 0, "auto")
    assert (defaults.sampler.name, defaults.pruner.name, defaults.backend) == ("tpe", "median", "local")
    assert config({"sampler": {"n_startup_trials": 3}}).sampler.name == "tpe"


@pytest.mark.parametrize("target", ["OT, HUFL", ["OT", "HUFL"], ("OT", "HUFL")])
def test_targets_come_as_a_list_or_with_commas(target: Any) -> None:
    assert config({"data": {"target": target}}).data.target == ("OT", "HUFL")


def test_row_counts_stay_whole_and_fractions_stay_fractions() -> None:
    counts = config({"data": {"splits": [70, 10, 20]}}).data.splits
    shares = config({"data": {"splits": [0.5, 0.5, 0]}}).data.splits

    assert [type(n) for n in counts] == [int, int, int]
    assert [type(n) for n in shares] == [float, float, float]


@pytest.mark.parametrize("raw", [{}, {"data": {"target": ["a"], "splits": [7, 1, 2]}, "sampler": {"name": "random"}}])
def test_what_a_study_stores_gives_the_same_config_back(raw: dict[str, Any]) -> None:
    reach = {"name": "x", "workers": 3, "storage": "sqlite:///secret.db", "timeout": 3.0}
    before = config({**reach, "trials": 4, **raw})

    stored = json.loads(json.dumps(before.stored()))
    after = config({key: value for key, value in stored.items() if value is not None})

    assert after.stored() == before.stored()
    assert not {"storage", "name", "workers", "timeout", "backend"} & stored.keys()


def test_every_problem_is_a_line_of_its_own() -> None:
    checked, problems = check_config(
        {"trials": 0, "trails": 1, "data": {"x": 1, "splits": 3}, "sampler": {"name": "tp"}, "pruner": {"n": 1}}
    )

    assert checked is None
    assert sorted(line.split(":")[0] for line in problems) == [
        "data.splits", "data.x", "pruner.n", "sampler.name", "trails", "trials",
    ]  # fmt: skip
    assert not any("\n" in line for line in problems)


def test_a_study_file_in_utf8_is_read(tmp_path: Path) -> None:
    file = tmp_path / "größe.toml"
    file.write_text("name = 'größe'\n", encoding="utf-8")

    assert read_toml(file) == {"name": "größe"}
