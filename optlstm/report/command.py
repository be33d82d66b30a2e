"""The command that runs a study again, from the config it was made with."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from optlstm.config.flags import FLAGS, STUDY
from optlstm.config.schema import CHOICES, StudyConfig
from optlstm.util.toml_text import toml, toml_key

# What does not change the trials.
LEFT_OUT = ("artifacts", "tracking")


def command_of(config: Mapping[str, Any], name: str) -> str:
    """What differs from the defaults, as flags and `--set`; the order is that of the config."""
    defaults = StudyConfig.model_validate({}).model_dump(mode="json")
    flags = {flag.key: flag.name for flag in FLAGS if STUDY in flag.commands and not flag.is_switch}
    parts = ["python", "-m", "optlstm", "study"]
    for key, value in _differing(config, defaults):
        if key.split(".")[0] in LEFT_OUT:
            continue
        listed = isinstance(value, list | tuple) and not any("," in str(entry) for entry in value)
        if key in flags and (listed or isinstance(value, str | int | float)):
            parts += [f"{flags[key]}={','.join(value) if listed else value}"]
        else:
            parts += ["--set", f"{key}={toml(value)}"]
    return shlex.join([*parts, f"--name={name}"])


def _differing(config: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    # Schedulers that end trials themselves determine the pruner.
    implied = {"asha": "asha", "pbt": "none"}.get(str(config.get("scheduler"))) if not prefix else None
    for key, value in config.items():
        default = defaults.get(key)
        if key in CHOICES and not prefix and isinstance(value, Mapping):
            default = {"name": implied if implied and key == "pruner" else CHOICES[key]}
        if isinstance(value, Mapping):
            if key == "space" and not prefix:
                yield from ((f"space.{toml_key(name)}", entry) for name, entry in value.items())
            else:
                yield from _differing(value, default if isinstance(default, Mapping) else {}, f"{prefix}{key}.")
        elif value is not None and value != default:
            yield f"{prefix}{key}", value
