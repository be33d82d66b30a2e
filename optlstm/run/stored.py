"""What a study's database says of its config: data to be checked, and code, which its word alone does not run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from typing import Any

import optuna

from optlstm.config.schema import from_database
from optlstm.errors import InputError
from optlstm.study.record import CONFIG_KEY
from optlstm.study.results import study_record
from optlstm.tasks.registry import TASKS
from optlstm.util.time_formats import INTEGER
from optlstm.util.user_code import Stored

Remedy = Callable[[str, str], str]  # of the code and the study
# By the key that names code: what to type to name it to a command that continues the study, or uses its networks.
REMEDIES: dict[str, Remedy] = {
    "objective": lambda code, study: f"study {shlex.quote(code)} --name {shlex.quote(study)}",
    "model.factory": lambda code, study: f"--set model.factory={shlex.quote(code)}",
    "training.metric": lambda code, study: (
        f"study --name {shlex.quote(study)} --set training.metric={shlex.quote(code)}"
    ),
    "pbt.explore": lambda code, study: f"--set pbt.explore={shlex.quote(code)}",
}
STORED_REMEDIES: dict[str, Remedy] = {**REMEDIES, "model.factory": lambda code, study: f"--factory {shlex.quote(code)}"}
_FINGERPRINTS = {
    "objective": "objective",
    "model.factory": "model",
    "training.metric": "metric",
}  # key: the section of the record that has it


def stored_config(study: optuna.Study) -> dict[str, Any]:
    """The config that a study was made with; empty where another program made it.

    Defaults change from version to version, and a study keeps those that it was made with: they are in its record.
    """
    config, record = from_database(study.user_attrs.get(CONFIG_KEY, {})), study_record(study)
    config["enqueue"] = record.get("enqueue", [])
    if record.get("task") in TASKS:
        config["space"] = {**config.get("space", {}), "base": record["space"]}
    if record.get("task") == "forecast":
        data = record.get("data") or {}
        kept = {"epoch_steps": data.get("epoch_steps", 1), "season": data.get("season", 0)}
        if not data.get("overlapping"):  # those of the default may overlap, those that are asked for do not
            kept["folds"] = data.get("folds", 0)
        form = data.get("time_format")
        if form is None and str(data.get("first", "")).lstrip("-").isdecimal():
            form = INTEGER  # digits that are read as dates now
        kept |= {} if form is None else {"time_format": form}
        config["data"] = {**config.get("data", {}), **kept}
    elif record.get("task") in TASKS and "classes" in (record.get("data") or {}):
        config["data"] = {**config.get("data", {}), "kind": "classes"}  # numbers may be told by other rules now
    return config


def stored_code(
    study: optuna.Study, config: Mapping[str, Any], given: Mapping[str, Any], remedies: Mapping[str, Remedy] = REMEDIES
) -> dict[str, Stored]:
    """The keys whose code only the study's database names.

    Args:
        config: That it was stored with.
        given: What the command says.
    """
    record, stored = study_record(study), {}
    for key, remedy in remedies.items():
        code = _value(config, key)
        if code is not None and _value(given, key) is None and is_code(key, code):
            section = record.get(_FINGERPRINTS.get(key, ""))
            fingerprint = section.get("fingerprint") if isinstance(section, Mapping) else None
            stored[key] = Stored(study.study_name, remedy(str(code), study.study_name), fingerprint)
    return stored


def is_code(key: str, value: object) -> bool:
    """Whether the value of a key that can name code does."""
    return key != "training.metric" or ":" in str(value)


def check_data_place(path: object) -> None:
    """Raises InputError where the file that a study read is not there; None: the study read the bundled series."""
    if path and isinstance(path, str) and not os.path.isfile(os.path.expanduser(path)):  # they raise nothing
        raise InputError(f"data: {path}, which the study read, is not there; give its new place with --data FILE")


def _value(config: Mapping[str, Any], key: str) -> Any:
    section, _, rest = key.partition(".")
    value = config.get(section)
    return value if not rest else value.get(rest) if isinstance(value, Mapping) else None
