"""What `[pbt]` asks of a space and a task: params that may change, and networks that can grow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optlstm.config.schema import PbtConfig, StudyConfig
from optlstm.errors import did_you_mean
from optlstm.study.pbt import Population
from optlstm.study.space import Space
from optlstm.training.hparams import GROWING, PBT_PARAMS
from optlstm.util.user_code import UserFunction


def population(config: StudyConfig, params: tuple[str, ...], explore: UserFunction | None) -> Population:
    """The rules of a population that changes `params`, by the built-in rule or by `explore`."""
    options = config.pbt.model_dump(exclude={"params", "morph", "explore"})
    return Population(**options, explore=explore, epochs=config.training.epochs, params=params, growing=GROWING)


def mutable(pbt: PbtConfig, space: Space) -> tuple[str, ...]:
    """The hyperparameters that a copy may change."""
    wanted = pbt.params or tuple(p.name for p in space.params if p.name in PBT_PARAMS)
    grown = tuple(p.name for p in space.params if p.name in GROWING and p.name not in wanted)
    return wanted + (grown if pbt.morph else ())


def custom_mutable(pbt: PbtConfig, space: Space) -> tuple[str, ...]:
    """The params of a custom objective that a copy may change."""
    return pbt.params or tuple(p.name for p in space.params if p.kind != "categorical")


def check_pbt_params(pbt: PbtConfig, space: Space) -> list[str]:
    """Problems of params that are not searched."""
    if space.is_open:
        return ["scheduler: pbt has to know the params before they run; give the objective space(trial)"]
    searched = {p.name for p in space.params}
    problems = []
    for name in pbt.params or ():
        if name not in searched:
            near = did_you_mean(name, searched)
            why = "is fixed in this space" if name in space.fixed else f"is not in the space{near}"
            problems.append(f"pbt.params: '{name}' {why} (searched: {', '.join(p.name for p in space.params)})")
    return problems


def check_population(pbt: PbtConfig, space: Space) -> list[str]:
    """What `[pbt]` asks that a space of networks cannot give."""
    searched, problems = {p.name for p in space.params}, check_pbt_params(pbt, space)
    for name in pbt.params or ():
        if name in GROWING and name in searched and not pbt.morph:
            problems.append(f"pbt.params: '{name}' changes the network's shape; add pbt.morph = true")
        elif name in searched and name not in PBT_PARAMS + GROWING:
            allowed = ", ".join(PBT_PARAMS + GROWING)
            problems.append(f"pbt.params: '{name}' cannot change while weights are kept (those that can: {allowed})")
    if pbt.morph:
        problems += _growth_problems(space)
    if not problems and not mutable(pbt, space) and pbt.explore is None:
        problems.append(f"pbt.params: none of {', '.join(PBT_PARAMS)} is searched, so a copy could not differ")
    return problems


def _growth_problems(space: Space) -> list[str]:
    searched = {p.name for p in space.params}
    problems = []
    if {"hidden_size_2", "hidden_size_3"} & (searched | {k for k, v in space.fixed.items() if v}):
        problems.append("pbt.morph: layers of different widths cannot grow; leave out hidden_size_2 and hidden_size_3")
    may_normalise = space.fixed.get("layer_norm") is True or "layer_norm" in searched
    if may_normalise and "hidden_size" in searched:
        problems.append("pbt.morph: hidden_size cannot grow under layer_norm; fix space.layer_norm = false")
    endless = [p.name for p in space.params if p.name in GROWING and p.values() is None]
    return problems + [f"pbt.morph: space.{name} must have a step or choices to grow along" for name in endless]


def check_growth(config: StudyConfig, task: Mapping[str, Any]) -> list[str]:
    """Why the networks of a task, given by its record, cannot grow."""
    if task.get("folds"):
        return ["pbt.morph: the networks of a cross-validation do not grow; set data.folds = 0"]
    if task.keys() & {"past", "future", "static", "calendar"}:
        return ["pbt.morph: networks with covariates do not grow; leave it out"]
    return ["pbt.morph: custom networks do not grow; leave it out"] if config.model.factory else []
