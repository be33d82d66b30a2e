"""The search space of a study: what suits the task's data, with the changes that `[space]` asks for."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from importlib import resources
from typing import Any

from optlstm.errors import InputError, did_you_mean
from optlstm.study.declaration import merge, parse_space
from optlstm.study.space import Space
from optlstm.tasks.base import Task
from optlstm.tasks.space import PRESETS, every_step, preset
from optlstm.training.hparams import NETWORK_PARAMS, used_by, validate_value


def task_space(kind: type[Task], task: Task | None, changes: Mapping[str, Any]) -> Space:
    """The space of a task's data; a generic one where they could not be read.

    Args:
        changes: the `[space]` section; `base` in it takes the place of the task's default space.

    Raises:
        InputError: With every problem of `changes`.
    """
    changes = dict(changes)
    if isinstance(changes.get("base"), Mapping):
        base = changes.pop("base")
    else:
        base = task.default_space() if task else kind.generic_space()
        if changes.get("supervision") == "every_step":
            base = every_step(base)
    name = changes.pop("preset", "default")
    if name not in PRESETS:
        near = did_you_mean(str(name), PRESETS)
        raise InputError(f"space.preset: must be one of {', '.join(PRESETS)}, got {name!r}{near}")
    base, only = preset(base, name), changes.pop("only", None)
    space = parse_space(merge(base, changes), used_by(kind.name), validate_value)
    return space if only is None else _only(space, only)


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
