"""What a task is to the rest of the program: data that were read and checked, and what can be learned from them.

A new task is a class of this shape, the problem it names, a reader in `optlstm/data/`, and a line in `TASKS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from optlstm.errors import InputError, did_you_mean
from optlstm.tasks.options import DataConfig
from optlstm.training.metric import Metric

if TYPE_CHECKING:
    from optlstm.tasks.evaluation import Finish

# Task: where its class is. Importing one loads neither torch nor pandas.
DEFAULT_TASK = "forecast"
TASKS = {
    "forecast": "optlstm.tasks.forecast.series_task:Forecast",
    "sequence": "optlstm.tasks.label.sequence_task:SequenceTask",
    "text": "optlstm.tasks.label.text_task:TextTask",
}


class Bounds(Protocol):
    """The part of a search space that a task looks at."""

    def largest(self, name: str) -> Any:
        """The largest value a numeric param can take, fixed or searched; None where it is neither."""
        ...


class Task(Protocol):
    """Data of one kind, read, checked and split. It imports no torch: the driver trains nothing."""

    name: ClassVar[str]
    keys: ClassVar[tuple[str, ...]]  # of the `data` section that mean something to it
    metrics: ClassVar[tuple[Metric, ...]]  # the default `training.metric` first
    problem: ClassVar[str]  # `module:name` of what makes the `Problem` in a worker, from (data(), device)

    @classmethod
    def read(cls, data: DataConfig) -> Task:
        """Read, check and split the data.

        Raises:
            InputError: with every problem, one line each.
        """
        ...

    @classmethod
    def generic_space(cls) -> dict[str, object]:
        """A space to check a user's against while the data cannot be read."""
        ...

    @property
    def warnings(self) -> Sequence[str]:
        """What is allowed, and worth knowing; one line each."""
        ...

    def default_space(self) -> dict[str, object]:
        """The space of a study that declares none, in the form of a study file's `[space]` section."""
        ...

    def check_space(self, space: Bounds) -> None:
        """Raises InputError where these data cannot feed some configuration of `space`."""
        ...

    def describe(self) -> str:
        """The data in a line: name, size, split."""
        ...

    def record(self) -> dict[str, Any]:
        """What of the data decides the trials (their numbers and how they are split), not where the files are."""
        ...

    def data(self) -> Any:
        """What workers need: pickles, its arrays NumPy's, nothing of it a tensor."""
        ...

    def finish(self) -> Finish:
        """What a refit asks once the search is over."""
        ...


def task_class(name: str) -> type[Task]:
    """Raises KeyError for a name that is not in TASKS."""
    return cast("type[Task]", load(TASKS[name]))


def load(reference: str) -> Any:
    """What `module:name` names. Raises ImportError or AttributeError."""
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
