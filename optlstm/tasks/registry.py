"""The tasks by name, and which keys of the `data` section each of them reads."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from optlstm.errors import InputError, did_you_mean
from optlstm.tasks.base import Goals, Task
from optlstm.tasks.options import DataConfig

DEFAULT_TASK = "forecast"
TASKS = {  # name: `module:class`; importing it loads neither torch nor pandas
    "forecast": "optlstm.tasks.forecast.task:Forecast",
    "sequence": "optlstm.tasks.label.sequences:SequenceTask",
    "text": "optlstm.tasks.label.texts:TextTask",
}


def task_class(name: str) -> type[Task]:
    """Raises KeyError for a name that is not in TASKS."""
    return cast("type[Task]", load(TASKS[name]))


def goals(task: str, kind: str | None = None) -> Goals:
    """The losses and metrics of a task with targets of this kind; None: of all kinds, those of the usual one first."""
    kinds = task_class(task).goals
    chosen = [kinds[kind]] if kind is not None and kind in kinds else [*kinds.values()]
    losses = {name: metric for goals in chosen[::-1] for name, metric in goals.losses.items()}
    metrics = {metric.name: metric for goals in chosen for metric in goals.metrics}
    return Goals({**chosen[0].losses, **losses}, tuple(metrics.values()), any(goals.custom for goals in chosen))


def load(reference: str) -> Any:
    """Import `module:name`. Raises ImportError or AttributeError."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


def check_task(name: str) -> str:
    """Raises ValueError for an unknown task, in words that follow `task: `."""
    if name not in TASKS:
        raise ValueError(f"must be one of {', '.join(TASKS)}, got {name!r}{did_you_mean(name, TASKS)}")
    return name


def check_keys(name: str, data: DataConfig) -> None:
    """Raises InputError where the `data` section sets keys that this task would ignore."""
    keys = task_class(name).keys
    changed = [key for key, field in DataConfig.model_fields.items() if getattr(data, key) != field.default]
    unread = [key for key in changed if key not in keys]
    problems = [f"data.{key}: --task {name} does not read it (it reads {', '.join(keys)})" for key in unread]
    if problems:
        raise InputError(problems)
