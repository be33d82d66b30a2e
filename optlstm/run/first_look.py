"""A first look at a data file: what a study of it would read, with what its refusals propose."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna

from optlstm.config.sources import layer, read_override
from optlstm.config.validate import check_config
from optlstm.data.table import DataFile
from optlstm.errors import InputError, Problem
from optlstm.study.database.connection import Database
from optlstm.study.record import flatten
from optlstm.tasks.base import Task
from optlstm.tasks.registry import DEFAULT_TASK, task_class

_MOST = 10  # proposals, one upon the other


@dataclass(frozen=True)
class FirstLook:
    """What a study of a file would read.

    Args:
        given: Keys that differ from the defaults.
        reasons: The refusal that proposed a key's value.
    """

    task: Task
    given: dict[str, Any]
    reasons: dict[str, str] = field(default_factory=dict)


def first_look(path: Path, raw: Mapping[str, Any]) -> FirstLook:
    """Read a file as a study would, and take what its refusals propose, where they propose one thing.

    Args:
        raw: What is known of it, as the tables of a config.

    Raises:
        InputError: Nothing is proposed, or two things are, of which only a person knows which is right.
    """
    config = layer({"data": {"path": str(path)}}, raw)
    if "task" not in config:
        config["task"] = _task(config)
    reasons: dict[str, str] = {}
    for _ in range(_MOST):
        try:
            return _look(config, reasons)
        except InputError as error:
            fixes = {key: (value, line) for line in error.problems for key, value in _fix(line).items()}
            new = {key: entry for key, entry in fixes.items() if key not in reasons and key not in flatten(raw)}
            if not new:
                raise
            for key, (value, line) in new.items():
                config = layer(config, read_override(f"{key}={'true' if value is True else value}"))
                reasons[key] = f"proposed: {re.sub(' .columns: .*', '', line.removeprefix('data: '))}"
    return _look(config, reasons)


def with_free_name(look: FirstLook, name: str, database: Database | None) -> FirstLook:
    """With the study's name: a study that has it already would be continued, and by its own horizon."""
    names = [] if database is None else optuna.get_all_study_names(database.rdb)
    if name not in names:
        return replace(look, given={**look.given, "name": name})
    free = next(new for i in itertools.count(2) if (new := f"{name}-{i}") not in names)
    taken = f"there is a study '{name}' in the database already"
    return replace(look, given={**look.given, "name": free}, reasons={**look.reasons, "name": taken})


def _look(config: Mapping[str, Any], reasons: dict[str, str]) -> FirstLook:
    task = _read(config)
    horizon = task.record().get("horizon")
    decided = {} if horizon is None else {"data.horizon": horizon}  # who has a file looks at it
    return FirstLook(task, {**decided, **flatten(config)}, reasons)


def _fix(line: str) -> Mapping[str, Any]:
    sure = isinstance(line, Problem) and not line.otherwise
    return {key: value for key, value in line.fix.items() if key.startswith("data.")} if sure else {}  # type: ignore[attr-defined]


def _read(config: Mapping[str, Any]) -> Task:
    checked, problems = check_config(config)
    if checked is None or problems:
        raise InputError(problems)
    return task_class(checked.task).read(checked.data)


def _task(config: Mapping[str, Any]) -> str:
    """By the usual names of columns: texts and sequences have labels."""
    checked, problems = check_config(config)
    if checked is None or problems:
        raise InputError(problems)
    path = Path(str(checked.data.path))
    if path.suffix == ".ts":
        return "sequence"
    names = DataFile(path, checked.data.form).names
    if "label" not in names or "y" in names:
        return DEFAULT_TASK
    return "text" if "text" in names else "sequence"
