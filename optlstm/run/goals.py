"""What a study's training minimises, and which metrics decide."""

from __future__ import annotations

from collections.abc import Mapping

from optlstm.config.schema import StudyConfig
from optlstm.errors import did_you_mean
from optlstm.run.custom_objective import CustomTask
from optlstm.tasks.base import Task
from optlstm.tasks.registry import goals
from optlstm.training.metric import METRIC_SIGNATURE, Goal, Metric
from optlstm.util.user_code import Stored, UserFunction

MORE_OBJECTIVES = ("parameters", "train_seconds", "latency_ms")  # beside a task's own metrics


def deciding_metric(task: Task | CustomTask, config: StudyConfig) -> Metric:
    """The validation metric that decides: the one that is given, the loss's, or else the task's first."""
    losses, metrics, _ = task.goals[task.kind]
    wanted = config.training.metric or losses.get(config.training.loss or "")
    if wanted and ":" in wanted:
        return Metric(wanted)
    return next((metric for metric in metrics if metric.name == wanted), metrics[0])


def training_goal(task: Task, config: StudyConfig, function: UserFunction | None = None) -> Goal:
    """Of a task: its loss, and the metrics that decide.

    Args:
        function: A custom metric.
    """
    return Goal(config.training.loss, (deciding_metric(task, config).name, *config.several), function=function)


def metric_function(config: StudyConfig, stored: Mapping[str, Stored]) -> UserFunction | None:
    """The custom metric. Raises InputError where it cannot be imported, or must not be: see `Stored`."""
    reference = config.training.metric or ""
    if ":" not in reference or not goals(config.task, config.data.kind).custom:
        return None
    return UserFunction.read("training.metric", reference, METRIC_SIGNATURE, stored.get("training.metric"))


def objective_problems(config: StudyConfig) -> list[str]:
    """Which of `objectives` the task has no metric for."""
    known = [*(metric.name for metric in goals(config.task, config.data.kind).metrics), *MORE_OBJECTIVES]
    return [
        f"objectives: there is no '{name}'{did_you_mean(name, known)} (known: {', '.join(known)})"
        for name in config.several
        if name not in known
    ]


def undefined_problems(task: Task, config: StudyConfig) -> list[str]:
    """Why the loss, or a metric that decides, has no value on these data."""
    loss, goal = config.training.loss or "", training_goal(task, config)
    losses, metrics, _ = task.goals[task.kind]
    needed = {loss, losses.get(loss), config.training.metric, *goal.metrics}
    known = {True: list(losses), False: [metric.name for metric in metrics]}  # by whether they are losses
    left = {key: ", ".join(name for name in names if name not in task.undefined) for key, names in known.items()}
    return [
        f"training: {name} is not defined on these data: {why}; take another (known: {left[name == loss]})"
        for name, why in task.undefined.items()
        if name in needed
    ]
