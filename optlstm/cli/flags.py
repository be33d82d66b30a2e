"""The flags of `study` and `lr-search` that set config keys: options made of the table in `config/flags.py`."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from optlstm.config.flags import FLAGS, STORAGE_VARIABLE, Flag
from optlstm.config.sources import read_layers

Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="override any config key: training.patience=3", rich_help_panel="Search"
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="print the result only", rich_help_panel="Output")]
AsJson = Annotated[bool, typer.Option("--json", help="print the result as JSON", rich_help_panel="Output")]


def _parameter(flag: Flag) -> inspect.Parameter:
    """What typer makes an option of. The config checks its text."""
    kind: Any = list[str] | None if flag.repeatable else bool | None if flag.is_switch else str | None
    option = typer.Option(flag.name, help=flag.help_text(), metavar=flag.metavar, rich_help_panel=flag.panel)
    annotation: Any = Annotated[kind, option]
    return inspect.Parameter(flag.argument, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def config_flags(name: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a command the flags of the table that command `name` has.

    Its parameter `flags` is what was typed: key -> value, without the flags left out.
    """
    chosen = [flag for flag in FLAGS if flag.is_of(name)]

    def decorate(function: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(function)
        def command(**options: Any) -> int:
            typed = {flag.key: flag.value(options.pop(flag.argument)) for flag in chosen}
            return function(**options, flags={key: value for key, value in typed.items() if value not in (None, [])})

        parameters = []
        for parameter in inspect.signature(function, eval_str=True).parameters.values():
            keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
            parameters += [_parameter(flag) for flag in chosen] if parameter.name == "flags" else keyword
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return command

    return decorate


def read_config(
    study_file: Path | None, overrides: list[str] | None, flags: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """The raw config that file, environment, `--set` and flags make, and its problems so far."""
    nested: dict[str, Any] = {}
    for key, value in flags.items():
        section, _, rest = key.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[rest] = value
    storage = os.environ.get(STORAGE_VARIABLE)
    return read_layers(study_file, {"storage": storage} if storage else {}, overrides or (), nested)
