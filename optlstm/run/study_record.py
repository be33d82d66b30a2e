"""The record of a study: what makes it this search, and no other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from optlstm.config.schema import StudyConfig
from optlstm.run.custom_objective import CustomTask
from optlstm.run.goals import deciding_metric
from optlstm.run.task_space import start_configurations
from optlstm.study.pruners import PRUNERS
from optlstm.study.record import StudyRecord
from optlstm.study.registry import resolved_options
from optlstm.study.samplers import SAMPLERS
from optlstm.study.space import Space
from optlstm.study.warm_start import possible_part, searched_part
from optlstm.tasks.base import Task
from optlstm.training.factory import Factory
from optlstm.util.user_code import UserFunction


def task_record(
    config: StudyConfig, task: Task, space: Space, factory: Factory | None, function: UserFunction | None
) -> StudyRecord:
    """Of a study that trains networks on data.

    Args:
        function: A custom metric.
    """
    training, (losses, metrics, _) = config.training, task.goals[task.kind]
    # The device is no part: a study begun on a laptop is continued where there is a GPU.
    trained: dict[str, Any] = {"epochs": training.epochs, "patience": training.patience, "threads": training.threads}
    metric = deciding_metric(task, config)
    trained |= {} if training.precision == "fp32" else {"precision": training.precision}
    trained |= {} if training.loss in (None, next(iter(losses))) else {"loss": training.loss}
    trained |= {} if training.metric is None and metric == metrics[0] else {"metric": metric.name}
    stored: dict[str, Any] = {"task": config.task, "data": task.record(), "training": trained}
    if factory is not None:
        stored["model"] = {"factory": factory.reference, "fingerprint": factory.function.fingerprint}
    if function is not None:
        stored["metric"] = {"function": function.reference, "fingerprint": function.fingerprint}
    higher = {metric.name for metric in metrics if metric.higher}
    usual = {name: "maximize" if name in higher else "minimize" for name in config.several}
    return _record(config, space, stored, dict(zip(usual, config.directions or usual.values(), strict=True)))


def custom_record(config: StudyConfig, task: CustomTask) -> StudyRecord:
    """Of a study with a custom objective."""
    names = config.several
    directions = config.directions or ("minimize",) * max(1, len(names))
    training = {"epochs": config.training.epochs, "threads": config.training.threads}
    stored = {"task": "own", "objective": task.record(), "training": training}
    several = dict(zip(names, directions, strict=True)) if names else {}
    return _record(config, task.space, stored, several, directions[0])


def _first_params(config: StudyConfig, space: Space, task: str) -> tuple[Mapping[str, Any], ...]:
    """What is tried after the space's defaults: `enqueue`, or the task's start configurations."""
    if config.enqueue is not None and config.from_model:
        parts = (possible_part(params, space, {})[0] for params in config.enqueue)
        return tuple(part for part in parts if part)
    if config.enqueue is not None:
        return tuple(searched_part(params, space) for params in config.enqueue)
    begun = (config.import_from, config.narrow_from, config.promote)  # with trials, or ranges, that know more
    if any(begun) or not config.defaults_first or config.sampler.name == "grid":  # which has its own points
        return ()
    return start_configurations(task, space)


def _record(
    config: StudyConfig, space: Space, task: Mapping[str, Any], several: Mapping[str, str], direction: str = "minimize"
) -> StudyRecord:
    """What a config makes of a study.

    Args:
        task: What the trials learn, and from what.
        several: Objectives with their directions; empty where there is one.
    """
    return StudyRecord(
        space=space,
        seed=config.seed,
        epochs=config.training.epochs,
        sampler=config.sampler.name,
        pruner=config.pruner.name,
        sampler_options=resolved_options(SAMPLERS[config.sampler.name], config.sampler.options),
        pruner_options=resolved_options(PRUNERS[config.pruner.name], config.pruner.options),
        direction=cast("Any", direction),
        scheduler=config.scheduler,
        scheduler_options=config.pbt.model_dump(mode="json") if config.scheduler == "pbt" else {},
        objectives=several,
        constraints=config.constraints.limits,
        enqueued=_first_params(config, space, str(task["task"])),
        defaults_first=config.defaults_first and config.promote is None and config.from_model is None,
        diverged="FAIL" if config.diverged == "fail" else "PRUNED",
        imported=config.import_from,
        task=task,
    )
