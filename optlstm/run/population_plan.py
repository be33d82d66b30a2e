"""What a population of networks asks of a config: params that may change, and networks that can grow."""

from __future__ import annotations

from optlstm.config.schema import PbtConfig, StudyConfig
from optlstm.config.validate import attempt
from optlstm.errors import did_you_mean
from optlstm.study.pbt import load_explore
from optlstm.study.space import Space
from optlstm.tasks.base import Task
from optlstm.training.hparams import GROWING, PBT_PARAMS


def mutable(pbt: PbtConfig, space: Space) -> tuple[str, ...]:
    """The params that a copy may change."""
    wanted = pbt.params or tuple(p.name for p in space.params if p.name in PBT_PARAMS)
    grown = tuple(p.name for p in space.params if p.name in GROWING and p.name not in wanted)
    return wanted + (grown if pbt.morph else ())


def population_problems(config: StudyConfig, space: Space) -> list[str]:
    """What `[pbt]` asks that this space cannot give."""
    pbt, searched = config.pbt, {p.name for p in space.params}
    problems = []
    for name in pbt.params or ():
        if name not in searched:
            near = did_you_mean(name, searched)
            why = "is fixed in this space" if name in space.fixed else f"is not in the space{near}"
            problems.append(f"pbt.params: '{name}' {why} (searched: {', '.join(searched)})")
        elif name in GROWING and not pbt.morph:
            problems.append(f"pbt.params: '{name}' changes the network's shape; add pbt.morph = true")
        elif name not in PBT_PARAMS + GROWING:
            allowed = ", ".join(PBT_PARAMS + GROWING)
            problems.append(f"pbt.params: '{name}' cannot change while weights are kept (those that can: {allowed})")
    may_normalise = space.fixed.get("layer_norm") is True or "layer_norm" in searched
    if pbt.morph and {"hidden_size_2", "hidden_size_3"} & ({*searched} | {k for k, v in space.fixed.items() if v}):
        problems.append("pbt.morph: layers of different widths cannot grow; leave out hidden_size_2 and hidden_size_3")
    if pbt.morph and may_normalise and "hidden_size" in searched:
        problems.append("pbt.morph: hidden_size cannot grow under layer_norm; fix space.layer_norm = false")
    endless = [p.name for p in space.params if p.name in GROWING and p.values() is None]
    problems += [f"pbt.morph: space.{name} must have a step or choices to grow along" for name in endless if pbt.morph]
    if not problems and not mutable(pbt, space) and pbt.explore is None:
        problems.append(f"pbt.params: none of {', '.join(PBT_PARAMS)} is searched, so a copy could not differ")
    if pbt.explore is not None:
        attempt(problems, lambda: load_explore(str(pbt.explore)))
    return problems


def rigid(config: StudyConfig, task: Task) -> list[str]:
    """Why networks cannot grow."""
    record = task.record()
    if record.get("folds"):
        return ["pbt.morph: the networks of a cross-validation do not grow; set data.folds = 0"]
    if record.keys() & {"past", "future", "static", "calendar"}:
        return ["pbt.morph: networks with covariates do not grow; leave it out"]
    return ["pbt.morph: networks of one's own do not grow; leave it out"] if config.model.factory else []
