"""The command in a report: read by the command line, it makes the config it was written from."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from optlstm.cli.flags import read_config
from optlstm.config.flags import FLAGS
from optlstm.config.schema import StudyConfig
from optlstm.config.validate import check_config
from optlstm.report.command import command_of


def typed(command: str) -> tuple[dict[str, Any], list[str]]:
    """The flags of a command by key, and its `--set` texts."""
    keys = {flag.name: flag for flag in FLAGS if "study" in flag.commands}
    words = iter(shlex.split(command)[4:])
    flags, overrides = {}, []
    for word in words:
        if word == "--set":
            overrides.append(next(words))
        else:
            name, _, text = word.partition("=")
            flags[keys[name].key] = keys[name].value(text)
    return flags, overrides


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 3, "scheduler": "pbt", "pruner": {"name": "none"}, "pbt": {"morph": True, "factors": (0.5, 2.0)}},
        {"objectives": ("mse", "parameters"), "directions": ("minimize", "minimize"), "pruner": {"name": "none"}},
        {"data": {"target": ("a", "b"), "horizon": 4, "time": "2020"}, "constraints": {"max_latency_ms": 1.5}},
        {"data": {"target": ("a,b", "c")}, "space": {"preset": "small", "dropout": {"low": 0.0, "high": 0.2}}},
        {"import_from": "other", "sampler": {"name": "tpe", "multivariate": True}, "training": {"epochs": 3}},
    ],
)
def test_the_command_makes_the_same_config(changes: dict[str, Any]) -> None:
    config = StudyConfig.model_validate(changes).stored()

    flags, overrides = typed(command_of(config, "again"))
    raw, problems = read_config(None, overrides, flags)

    again, more = check_config(raw)
    assert [*problems, *more] == []
    assert again is not None
    assert (again.name, again.stored()) == ("again", config)


def test_what_has_a_flag_is_written_with_it() -> None:
    config = StudyConfig.model_validate({"objectives": ("mse", "parameters"), "constraints": {"max_parameters": 900}})

    command = command_of(config.stored(), "small")

    assert {"--objectives=mse,parameters", "--max-parameters=900", "--name=small"} <= set(shlex.split(command))


def test_a_switch_takes_no_value_so_it_is_set_by_its_key() -> None:
    words = shlex.split(command_of({"stop": {"terminator": True}}, "ended"))

    assert words[4:] == ["--set", "stop.terminator=true", "--name=ended"]
