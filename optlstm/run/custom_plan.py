"""From a config with an objective of one's own to what a run needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from optlstm.backends.job import Job
from optlstm.config.schema import StudyConfig, TrainingConfig
from optlstm.config.validate import attempt, check_config
from optlstm.errors import InputError
from optlstm.run.custom_objective import MakeOwn, OwnFile
from optlstm.run.plan import Plan, enumerable, study_record
from optlstm.study.define_by_run import FunctionSpace
from optlstm.study.pbt import Population
from optlstm.study.warm_start import params_problems
from optlstm.training.metric import Metric
from optlstm.util.files import Location

# Sections that say how an LSTM of the program is trained: a file of one's own says it itself.
FOREIGN = ("data", "model", "constraints", "space")
FOREIGN_TRAINING = ("patience", "metric", "device")


@dataclass(frozen=True)
class OwnTask:
    """What a file is to the rest of the program."""

    file: OwnFile
    space: FunctionSpace
    warnings: tuple[str, ...] = ()
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("value"),)

    def describe(self) -> str:
        return f"{self.file.name}, params {', '.join(p.name for p in self.space.params) or 'none'}"

    def record(self) -> dict[str, Any]:
        return {"file": self.file.name, "fingerprint": self.file.fingerprint}


@dataclass(frozen=True)
class OwnPlan(Plan):
    """A plan whose workers run the file's objective."""

    task: Any

    @property
    def metric(self) -> Metric:
        return self.task.metrics[0]  # type: ignore[no-any-return]

    @property
    def population(self) -> Population | None:
        if self.config.scheduler != "pbt":
            return None
        searched = tuple(p.name for p in self.space.params if p.kind != "categorical")
        return self.population_of(self.config.pbt.params or searched)

    def job(self, checkpoints: Location) -> Job:
        config = self.config
        factory = MakeOwn(self.task.file, config.seed, config.training.epochs, checkpoints)
        return Job(factory, None, config.training.threads, config.trial_timeout)


def own_plan(raw: Mapping[str, Any], found: Sequence[str] = ()) -> OwnPlan:
    """Check a config and its file, and run the file.

    Raises:
        InputError: With every problem, one line each.
    """
    config, more = check_config(raw)
    problems = [*found, *more]
    file = attempt(problems, lambda: OwnFile.read(str(raw["objective"])))
    space = attempt(problems, lambda: _space(file)) if file else None
    if config is not None and file is not None:
        problems += [
            f"{section}: {file.name} brings its own; leave it out"
            for section in FOREIGN
            if getattr(config, section) != StudyConfig.model_fields[section].get_default(call_default_factory=True)
        ]
        problems += [
            f"training.{key}: {file.name} brings its own; leave it out"
            for key in FOREIGN_TRAINING
            if getattr(config.training, key) != TrainingConfig.model_fields[key].default
        ]
    if config is not None and space is not None:
        problems += enumerable(config, space) + params_problems(config.enqueue, space, "enqueue")
        searched = [p.name for p in space.params]
        problems += [
            f"pbt.params: '{name}' is not in the space (searched: {', '.join(searched)})"
            for name in config.pbt.params or ()
            if name not in searched
        ]
    if problems or config is None or file is None or space is None:
        raise InputError(problems)
    task = OwnTask(file, space)
    names = config.several
    directions = config.directions or ("minimize",) * max(1, len(names))
    training = {"epochs": config.training.epochs, "threads": config.training.threads}
    record = study_record(
        config,
        space,
        {"task": "own", "objective": task.record(), "training": training},
        dict(zip(names, directions, strict=True)) if names else {},
        directions[0],
    )
    return OwnPlan(config, task, space, record)


def _space(file: OwnFile) -> FunctionSpace:
    module = file.module()
    try:
        return FunctionSpace.probe(module.space)
    except InputError as error:
        raise InputError([f"objective: {file.name}: {problem}" for problem in error.problems]) from error
