"""From a config to what a run needs: data read and split, the space, the study's record. All problems at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from optlstm.backends.job import Job
from optlstm.config.schema import StudyConfig
from optlstm.config.validate import attempt, check_config, check_data_config
from optlstm.errors import InputError, did_you_mean
from optlstm.run.population_plan import mutable, population_problems, rigid
from optlstm.study.declaration import merge, parse_space
from optlstm.study.pbt import Population
from optlstm.study.pruners import PRUNERS
from optlstm.study.record import StudyRecord
from optlstm.study.registry import resolved_options
from optlstm.study.samplers import EXHAUSTIVE, SAMPLERS
from optlstm.study.space import Space
from optlstm.study.stopping import Stopping
from optlstm.study.warm_start import params_problems, searched_part
from optlstm.tasks.base import Task
from optlstm.tasks.registry import DEFAULT_TASK, TASKS, load, task_class
from optlstm.tasks.space import PRESETS, preset
from optlstm.training.factory import Factory
from optlstm.training.hparams import GROWING, Hyperparameters, used_by, validate_value
from optlstm.training.metric import Metric
from optlstm.util.files import Location

if TYPE_CHECKING:
    from optlstm.run.objective import Objective
    from optlstm.study.constraints import Measure


@dataclass(frozen=True)
class Plan:
    """A config that was found sound, with what it stands for."""

    config: StudyConfig
    task: Task
    space: Space
    record: StudyRecord
    factory: Factory | None = None  # of networks of one's own

    @property
    def population(self) -> Population | None:
        """The rules of `--scheduler pbt`, or None."""
        return self.population_of(mutable(self.config.pbt, self.space)) if self.config.scheduler == "pbt" else None

    def population_of(self, params: tuple[str, ...]) -> Population:
        """The rules of a population that changes `params`."""
        config, pbt = self.config, self.config.pbt
        return Population(
            population=pbt.population,
            epochs=config.training.epochs,
            interval=pbt.interval,
            quantile=pbt.quantile,
            factors=pbt.factors,
            resample_probability=pbt.resample_probability,
            params=params,
            growing=GROWING,
            burn_in=pbt.burn_in,
            explore=pbt.explore,
            synchronous=pbt.synchronous,
        )

    @property
    def metric(self) -> Metric:
        """The validation metric that decides."""
        metrics, wanted = self.task.metrics, self.config.training.metric
        return next((metric for metric in metrics if metric.name == wanted), metrics[0])

    @property
    def stopping(self) -> Stopping:
        """When the study has found enough."""
        stop = self.config.stop
        return Stopping(stop.value, stop.no_improvement, stop.terminator, stop.failures)

    @property
    def measure(self) -> Measure | None:
        """What constraints ask of params before they are trained; None where there are none."""
        return Measuring(self) if self.record.constraints else None

    def job(self, checkpoints: Location) -> Job:
        """What workers need."""
        config = self.config
        factory = MakeObjective(
            self.task.problem,
            self.metric,
            self.space,
            config.seed,
            config.training.epochs,
            0 if config.scheduler == "pbt" else config.training.patience,  # members live as long as each other
            config.training.threads,
            config.training.device,
            checkpoints,
            tuple(config.several),
            self.factory,
        )
        return Job(factory, self.task.data(), config.training.threads, config.trial_timeout)


@dataclass(frozen=True)
class MakeObjective:
    """Makes the objective in whatever process trains: sets the process up, and the problem on its device."""

    problem: str  # `module:Class`: the driver that pickles it loads no torch
    metric: Metric  # that decides
    space: Space
    seed: int
    epochs: int
    patience: int
    threads: int
    device: str
    checkpoints: Location
    objectives: tuple[str, ...] = ()
    factory: Factory | None = None

    def __call__(self, data: Any) -> Objective:
        from optlstm.run.objective import Objective
        from optlstm.training.runtime import choose_deterministic_kernels, prepare, resolve_device

        prepare(self.threads)
        device = resolve_device(self.device)
        choose_deterministic_kernels(device)
        problem = load(self.problem)(data, device, self.factory)
        return Objective(
            problem,
            self.space,
            self.seed,
            self.epochs,
            self.patience,
            self.checkpoints,
            threads=self.threads,
            metric=self.metric,
            objectives=self.objectives,
        )


class Measuring:
    """Measures configurations in this process, with the task's own networks; nothing is set up before it is asked."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._objective: Any = None

    def __call__(self, params: Mapping[str, Any]) -> dict[str, float]:
        from optlstm.training.network_cost import measure

        if self._objective is None:
            job = self.plan.job("")
            self._objective = job.make_objective(job.data)
        return measure(self._objective.problem, params, tuple(self.plan.record.constraints))


def make_plan(raw: Mapping[str, Any], found: Sequence[str] = ()) -> Plan:
    """Check a config and its data, and read the data.

    Args:
        raw: The merged config as plain tables.
        found: Problems met while it was merged, to be reported with the others.

    Raises:
        InputError: With every problem of the config, the data and the space, one line each.
    """
    if raw.get("objective") is not None:
        from optlstm.run.custom_plan import own_plan

        return own_plan(raw, found)
    config, more = check_config(raw)
    problems = [*found, *more]
    data = config.data if config else check_data_config(raw)
    kind = task_class(raw["task"] if raw.get("task") in TASKS else DEFAULT_TASK)
    task = attempt(problems, lambda: kind.read(data)) if data else None
    section = raw.get("space", {})
    space = attempt(problems, lambda: _space(kind, task, section)) if isinstance(section, Mapping) else None
    if config and space:
        problems += _search_problems(config, kind, space)
    if config and space:
        problems += params_problems(config.enqueue, space, "enqueue")
    if config and task and space:
        attempt(problems, lambda: task.check_space(space))
        if config.scheduler == "pbt" and config.pbt.morph:
            problems += rigid(config, task)
    if config and config.training.device not in ("auto", "cpu"):
        attempt(problems, lambda: _check_device(config.training.device))
    factory = attempt(problems, lambda: _factory(config, task, space)) if config and config.model.factory else None
    if problems or config is None or task is None or space is None:
        raise InputError(problems)
    return Plan(config, task, space, _record(config, task, space, factory), factory)


def _factory(config: StudyConfig, task: Task | None, space: Space | None) -> Factory:
    """The networks of one's own, tried with the space's defaults."""
    found = Factory.read(str(config.model.factory))
    if task and space:
        hp = Hyperparameters.from_params({**space.fixed, **space.defaults()})
        found.check(hp, task.data().shape(hp))
    return found


def _space(kind: type[Task], task: Task | None, changes: Mapping[str, Any]) -> Space:
    base, changes = task.default_space() if task else kind.generic_space(), dict(changes)
    name = changes.pop("preset", "default")
    if name not in PRESETS:
        near = did_you_mean(str(name), PRESETS)
        raise InputError(f"space.preset: must be one of {', '.join(PRESETS)}, got {name!r}{near}")
    base, only = preset(base, name), changes.pop("only", None)
    space = parse_space(merge(base, changes), used_by(kind.name), validate_value)
    return space if only is None else _only(space, only)


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


MORE_OBJECTIVES = ("parameters", "train_seconds", "latency_ms")  # beside a task's own metrics


def _objectives(config: StudyConfig, kind: type[Task]) -> dict[str, str]:
    """Several objectives with their directions; none where there is one."""
    higher = {metric.name for metric in kind.metrics if metric.higher}
    usual = {name: "maximize" if name in higher else "minimize" for name in config.several}
    return dict(zip(usual, config.directions or usual.values(), strict=True))


def _search_problems(config: StudyConfig, kind: type[Task], space: Space) -> list[str]:
    known = [*(metric.name for metric in kind.metrics), *MORE_OBJECTIVES]
    problems = [
        f"objectives: there is no '{name}'{did_you_mean(name, known)} (known: {', '.join(known)})"
        for name in config.several
        if name not in known
    ]
    if config.scheduler == "pbt":
        problems += population_problems(config, space)
    return problems + enumerable(config, space)


def enumerable(config: StudyConfig, space: Space) -> list[str]:
    """Why this sampler cannot walk through this space, if it is one that does."""
    problems: list[str] = []
    if config.sampler.name in EXHAUSTIVE:
        attempt(problems, space.grid if config.sampler.name == "grid" else space.check_finite)
    return problems


def _check_device(name: str) -> None:
    from optlstm.training.runtime import resolve_device

    resolve_device(name)


def _record(config: StudyConfig, task: Task, space: Space, factory: Factory | None) -> StudyRecord:
    training = config.training
    # The device is no part: a study begun on a laptop goes on where there is a GPU.
    trained: dict[str, Any] = {"epochs": training.epochs, "patience": training.patience, "threads": training.threads}
    trained |= {} if training.metric is None else {"metric": training.metric}
    stored: dict[str, Any] = {"task": config.task, "data": task.record(), "training": trained}
    if factory is not None:
        stored["model"] = {"factory": factory.reference, "fingerprint": factory.fingerprint}
    return study_record(config, space, stored, _objectives(config, type(task)))


def study_record(
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
        enqueued=tuple(searched_part(params, space) for params in config.enqueue),
        defaults_first=config.defaults_first and config.promote is None,
        diverged="FAIL" if config.diverged == "fail" else "PRUNED",
        imported=config.import_from,
        task=task,
    )
