"""The search space of a study: what suits the task's data, with the changes that `[space]` asks for."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from functools import partial
from importlib import resources
from typing import Any

from optlstm.errors import InputError, did_you_mean
from optlstm.study.declaration import merge, parse_space
from optlstm.study.define_by_run import FunctionSpace, middle
from optlstm.study.space import Param, Space
from optlstm.tasks.base import Task
from optlstm.tasks.space import PRESETS, every_step, preset
from optlstm.training.factory import Factory
from optlstm.training.hparams import FACETS, NETWORK_PARAMS, Hyperparameters, used_by, validate_value


def task_space(
    kind: type[Task], task: Task | None, changes: Mapping[str, Any], factory: Factory | None = None
) -> Space:
    """The space of a task's data; a generic one where they could not be read.

    Args:
        changes: the `[space]` section; `base` in it takes the place of the task's default space.
        factory: of custom networks, which may declare params.

    Raises:
        InputError: With every problem of `changes`.
    """
    changes, custom = dict(changes), {} if factory is None else _declared(factory)
    if isinstance(changes.get("base"), Mapping):
        base = changes.pop("base")
    else:
        base = task.default_space() if task else kind.generic_space()
        if changes.get("supervision") == "every_step":
            base = every_step(base)
        base = {**base, **custom}
    name = changes.pop("preset", "default")
    if name not in PRESETS:
        near = did_you_mean(str(name), PRESETS)
        raise InputError(f"space.preset: must be one of {', '.join(PRESETS)}, got {name!r}{near}")
    base, only = preset(base, name), changes.pop("only", None)
    known = {**used_by(kind.name), **{name: spec["default"] for name, spec in custom.items() if name not in FACETS}}
    space = parse_space(merge(base, changes), known, partial(_problem, custom))
    return space if only is None else _only(space, only)


def custom_names(space: Space) -> set[str]:
    """Those of a checked space that a factory has declared: the others are hyperparameters."""
    return {*space.fixed, *(param.name for param in space.params)} - FACETS.keys()


def hyperparameters(space: Space, params: Mapping[str, Any]) -> Hyperparameters:
    """Of a trial of a task. Raises InputError as `Hyperparameters.from_params`."""
    return Hyperparameters.from_params({**space.fixed, **params}, custom_names(space))


def _declared(factory: Factory) -> dict[str, dict[str, Any]]:
    """A factory's own params as [space] has them, each with a default. Raises InputError."""
    declared, key = factory.declared, f"model.factory: {factory.reference}: "
    if not isinstance(declared, Mapping):
        try:
            asked = FunctionSpace.probe(declared)
        except InputError as error:
            raise InputError([key + problem for problem in error.problems]) from error
        if asked.conditional:
            raise InputError(
                f"{key}space(trial) must always ask for {', '.join(sorted(asked.conditional))}; or use search"
            )
        declared = {param.name: param.spec() for param in asked.params}
    problems = [
        f"{key}search: {name!r} must be a name that config has not yet, with a range or choices in a dict"
        for name, spec in declared.items()
        if not isinstance(spec, Mapping)
        or not str(name).isidentifier()
        or (name not in FACETS and hasattr(Hyperparameters, str(name)))
    ]
    if problems:
        raise InputError(problems)
    return {name: {**spec, "default": _default(spec)} for name, spec in declared.items()}


def _default(spec: Mapping[str, Any]) -> Any:
    """The one that is declared, the first choice, or the middle of the range; `parse_space` says what is wrong."""
    if "default" in spec:
        return spec["default"]
    if "choices" in spec:
        return next(iter(spec["choices"]), 0)
    low, high, step = spec.get("low", 0), spec.get("high", 0), spec.get("step")
    kind = "int" if all(type(v) is int for v in (low, high)) and spec.get("type", "int") == "int" else "float"
    try:
        return middle(Param(str(spec), kind, low, high, step, bool(spec.get("log"))))
    except (TypeError, ValueError):
        return 0 if kind == "int" else 0.0


def _problem(custom: Container[str], name: str, value: Any) -> str | None:
    return None if name in custom and name not in FACETS else validate_value(name, value)


def starts_name(task: str, space: Space) -> str:
    """The name of a space's list in `starts.json`: what is good at the last step need not be at every one."""
    return f"{task}, every step" if space.fixed.get("supervision") == "every_step" else task


def without_unread(space: Space, read: Container[str], section: Mapping[str, Any]) -> Space:
    """The space of a custom network: without what networks alone have a use for, and this one does not read.

    What `[space]` names itself is searched all the same.
    """
    named = {*section, *(section.get("only") or ())}
    kept = {p.name for p in space.params if p.name not in NETWORK_PARAMS or p.name in read or p.name in named}
    kept |= {other for param in space.params if param.name in kept for other in param.when}
    return Space(tuple(param for param in space.params if param.name in kept), space.fixed)


def start_configurations(task: str, space: Space) -> tuple[dict[str, Any], ...]:
    """Configurations to try after the defaults: good on many data sets; `starts.json` and its script say which.

    Args:
        task: Its name; where the file has no list of its spaces, they start from the defaults alone.
    """
    points = json.loads((resources.files("optlstm.tasks") / "starts.json").read_text())
    configurations = [space.defaults()]
    for point in points.get(starts_name(task, space), []):
        if (params := space.at(point)) not in configurations:
            configurations.append(params)
    return tuple(configurations[1:])


def _only(space: Space, names: Any) -> Space:
    """The space that searches `names` alone; every other param stays at its default."""
    searched = [param.name for param in space.params]
    if not isinstance(names, list | tuple) or not names:
        raise InputError(f"space.only: must be a list of params, got {names!r}")
    problems = [
        f"space.only: {name} is not searched{did_you_mean(str(name), searched)} (searched: {', '.join(searched)})"
        for name in names
        if name not in searched
    ]
    if problems:
        raise InputError(problems)
    kept = tuple(param for param in space.params if param.name in names)
    return Space(kept, {**space.fixed, **{k: v for k, v in space.defaults().items() if k not in names}})
