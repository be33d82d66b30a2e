"""From a config to what a run needs: data read and split, the space, the study's record. All problems at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from optlstm.backends.trial import Job
from optlstm.config.population import (
    check_growth,
    check_pbt_params,
    check_population,
    custom_mutable,
    mutable,
    population,
)
from optlstm.config.schema import StudyConfig, TrainingConfig
from optlstm.config.validate import attempt, check_config, check_data_config
from optlstm.errors import InputError
from optlstm.run.custom_objective import CustomTask, make_custom_objective
from optlstm.run.goals import deciding_metric, metric_function, objective_problems, training_goal, undefined_problems
from optlstm.run.make_objective import make_objective
from optlstm.run.precision import precision_notes, with_precision
from optlstm.run.stored import STORED_REMEDIES, stored_code, stored_config
from optlstm.run.study_record import custom_record, task_record
from optlstm.run.task_space import (
    custom_names,
    hyperparameters,
    task_space,
    without_unread,
)
from optlstm.study.pbt import Population, read_explore
from optlstm.study.record import StudyRecord
from optlstm.study.registry import EXHAUSTIVE
from optlstm.study.space import Space
from optlstm.study.stopping import Stopping
from optlstm.study.warm_start import params_problems, possible_part
from optlstm.tasks.base import Task
from optlstm.tasks.registry import DEFAULT_TASK, TASKS, task_class
from optlstm.training.factory import Factory
from optlstm.training.hparams import NETWORK_PARAMS, Hyperparameters
from optlstm.training.metric import Goal, Metric
from optlstm.util.files import Location
from optlstm.util.user_code import Stored, UserFunction

if TYPE_CHECKING:
    import optuna

    from optlstm.study.constraints import Measure

# What says how optlstm trains its networks: a custom objective decides it itself.
TASK_SECTIONS = ("data", "model", "constraints", "space")
TASK_TRAINING = ("patience", "loss", "metric", "device", "precision")


@dataclass(frozen=True)
class Plan:
    """A sound config, with what it stands for.

    Args:
        task: The data to learn from, or the file of a custom objective.
        make_objective: Called in a worker with the task's data and `checkpoints=FOLDER`; gives the objective.
        population: The rules of `--scheduler pbt`, or None.
        factory: Of custom networks.
        function: A custom metric.
        notes: On the space and the training, for who runs it.
    """

    config: StudyConfig
    task: Task | CustomTask
    space: Space
    record: StudyRecord
    make_objective: Callable[..., Callable[[Any], Any]]
    population: Population | None = None
    factory: Factory | None = None
    function: UserFunction | None = None
    notes: tuple[str, ...] = ()

    @property
    def metric(self) -> Metric:
        """The validation metric that decides."""
        return deciding_metric(self.task, self.config)

    @property
    def goal(self) -> Goal:
        """What training minimises, and which metrics decide."""
        assert not isinstance(self.task, CustomTask)
        return training_goal(self.task, self.config, self.function)

    @property
    def stopping(self) -> Stopping:
        """When the study stops early."""
        return Stopping(**self.config.stop.model_dump())

    @property
    def measure(self) -> Measure | None:
        """What constraints ask of params before they are trained, in this process; None where there are none."""
        return self._measure if self.record.constraints else None

    def _measure(self, params: Mapping[str, Any]) -> dict[str, float]:
        from optlstm.training.network_cost import measure  # it brings torch

        return measure(self.problem, params, tuple(self.record.constraints), custom_names(self.space))

    @cached_property
    def problem(self) -> Any:
        """The task's data and networks, set up in this process."""
        job = self.job("")
        objective: Any = job.make_objective(job.data)
        return objective.problem

    def job(self, checkpoints: Location, captured: bool = True) -> Job:
        """What workers need.

        Args:
            captured: Whether a custom objective prints to its trials' logs.
        """
        make = partial(self.make_objective, checkpoints=checkpoints)
        if isinstance(self.task, CustomTask):
            make = partial(make, captured=captured)
        return Job(make, self.task.data(), self.config.training.threads, self.config.trial_timeout)


def make_plan(
    raw: Mapping[str, Any],
    problems: Sequence[str] = (),
    stored: Mapping[str, Stored] = {},
    *,
    explores: bool = True,
) -> Plan:
    """Check a config and its data, and read the data; or run the file of its custom objective.

    Args:
        raw: The merged config as plain tables.
        problems: Met while it was merged, to be reported with the others.
        stored: Of the keys that name code: those that only a study's database has. The command names the others.
        explores: Whether a population will be changed by it; without, its function is not read.

    Raises:
        InputError: With every problem of the config, the data and the space, one line each.
    """
    config, more = check_config(raw)
    all_problems = [*problems, *more]
    explore = None
    if config and config.scheduler == "pbt" and config.pbt.explore is not None and explores:
        reference = config.pbt.explore
        explore = attempt(all_problems, lambda: read_explore(reference, stored.get("pbt.explore")))
    plan = _task_plan if raw.get("objective") is None else _custom_plan
    return plan(raw, config, all_problems, stored, explore)


def stored_plan(study: optuna.Study, factory: str | None = None, *, custom: bool = False, **changes: Any) -> Plan:
    """The plan of a study that trained networks on data, its data read again.

    Args:
        factory: What the command says makes its networks; None: it says nothing.
        custom: Of a study with a custom objective, too.
        changes: Of the config it was stored with.

    Raises:
        InputError: The data is gone, or does not fit any more; the study has a custom objective; its networks are of
            another factory, or of one that must not be run.
    """
    config = stored_config(study)
    if config.get("objective") is not None and not custom:
        raise InputError(f"study '{study.study_name}' has a custom objective, which cannot be trained again")
    code = stored_code(study, config, {"model": {"factory": factory}} if factory else {}, STORED_REMEDIES)
    if factory is not None:
        Factory.named(factory, config.get("model", {}).get("factory"), f"study '{study.study_name}'")
    return make_plan({**config, "name": study.study_name, **changes}, (), code, explores=False)


def _task_plan(
    raw: Mapping[str, Any],
    config: StudyConfig | None,
    problems: list[str],
    stored: Mapping[str, Stored],
    explore: UserFunction | None,
) -> Plan:
    if problems and raw.get("task", DEFAULT_TASK) not in [*TASKS]:  # of another task, more would only mislead
        raise InputError(problems)
    data = config.data if config else check_data_config(raw)
    kind = task_class(raw["task"] if raw.get("task") in TASKS else DEFAULT_TASK)
    if config and data and config.scheduler == "pbt" and config.pbt.morph and kind.name == "forecast":
        # Networks of a cross-validation do not grow: series are folded by default, but not those of growing networks.
        data = data.model_copy(update={"folds": data.folds or 0})
    task = attempt(problems, lambda: kind.read(data)) if data else None
    section = raw.get("space", {})
    reference = config.model.factory if config else None
    function = attempt(problems, partial(metric_function, config, stored)) if config else None
    named, notes = stored.get("model.factory"), list[str]()
    factory = attempt(problems, partial(Factory.read, reference, named)) if reference else None
    read_space = partial(task_space, kind, task, section, factory)
    space = attempt(problems, read_space) if isinstance(section, Mapping) and (factory or not reference) else None
    if config and task and space and factory:
        space = attempt(problems, partial(_read_space, config, task, space, factory, section, notes))
    if config and space and "base" in section:
        config = _with_fitting_params(config, space)
    if config:
        _check_together(config, task, space, problems)
    if problems or config is None or task is None or space is None:
        raise InputError(problems)
    notes += _left_out(config, space)
    decided = with_precision(config)
    make = partial(
        make_objective,
        problem=task.problem,
        factory=factory,
        goal=training_goal(task, config, function),
        device=config.training.device,
        threads=config.training.threads,
        precision=decided.training.precision,
        space=space,
        seed=config.seed,
        epochs=config.training.epochs,
        patience=0 if config.scheduler == "pbt" else config.training.patience,  # members live as long as each other
        metric=deciding_metric(task, config),
        objectives=tuple(config.several),
    )
    rules = population(config, mutable(config.pbt, space), explore) if config.scheduler == "pbt" else None
    record = task_record(decided, task, space, factory, function)
    return Plan(decided, task, space, record, make, rules, factory, function, (*notes, *precision_notes(decided)))


def _check_together(config: StudyConfig, task: Task | None, space: Space | None, problems: list[str]) -> None:
    """Add to `problems` what does not go together: of the config, its data, its space and this machine."""
    if space:
        problems += objective_problems(config)
        problems += check_population(config.pbt, space) if config.scheduler == "pbt" else []
        problems += _search_problems(config, space)
    if task and space:
        attempt(problems, lambda: task.check_space(space))
        if not any(problem.startswith(("training.loss", "training.metric")) for problem in problems):
            problems += undefined_problems(task, config)
        if config.scheduler == "pbt" and config.pbt.morph:
            problems += check_growth(config, task.record())
    if config.training.device not in ("auto", "cpu"):
        from optlstm.training.runtime import resolve_device  # it brings torch

        attempt(problems, partial(resolve_device, config.training.device))


def _custom_plan(
    raw: Mapping[str, Any],
    config: StudyConfig | None,
    problems: list[str],
    stored: Mapping[str, Stored],
    explore: UserFunction | None,
) -> Plan:
    task = attempt(problems, lambda: CustomTask.read(str(raw["objective"]), stored.get("objective")))
    if config is not None and task is not None:
        given = [key for key in TASK_SECTIONS if not _is_default(config, key)]
        given += [f"training.{key}" for key in TASK_TRAINING if not _is_default(config.training, key)]
        problems += [f"{key}: {task.file.name} brings its own; leave it out" for key in given]
        problems += _search_problems(config, task.space)
        problems += check_pbt_params(config.pbt, task.space) if config.scheduler == "pbt" else []
    if problems or config is None or task is None:
        raise InputError(problems)
    make = partial(
        make_custom_objective,
        file=task.file,
        seed=config.seed,
        epochs=config.training.epochs,
        threads=config.training.threads,
        maximize=(config.directions or ("minimize",))[0] == "maximize",
        driver=os.getpid(),
    )
    rules = population(config, custom_mutable(config.pbt, task.space), explore) if config.scheduler == "pbt" else None
    return Plan(config, task, task.space, custom_record(config, task), make, rules)


def _is_default(section: StudyConfig | TrainingConfig, key: str) -> bool:
    return bool(getattr(section, key) == type(section).model_fields[key].get_default(call_default_factory=True))


def _read_space(
    config: StudyConfig, task: Task, space: Space, factory: Factory, section: Mapping[str, Any], notes: list[str]
) -> Space:
    """The space of custom networks, which are tried with its defaults: what they do not read is not searched.

    Args:
        section: `[space]` as it is given; a study that exists has its whole space there, and keeps it.
        notes: Gets what is said of it.
    """
    hp = hyperparameters(space, space.defaults())
    read = factory.check(hp, task.data().shape(hp, training_goal(task, config)))
    if "base" in section:
        return space
    kept = without_unread(space, read, section)
    if unread := [param.name for param in space.params if param not in kept.params]:
        notes.append(f"model.factory: not searched, as its network does not read them: {', '.join(unread)}")
    of_network = {*NETWORK_PARAMS, *custom_names(kept)}
    if idle := [name for name in kept.defaults() if name in of_network and name not in read]:
        notes.append(
            f"model.factory: searched, though with the defaults its network does not read them: {', '.join(idle)}"
        )
    return kept


def _with_fitting_params(config: StudyConfig, space: Space) -> StudyConfig:
    """Of a study that exists, without params to try first that the space does not hold: the space was changed, and
    that is what its refusal says.
    """
    fitting = tuple(params for params in config.enqueue or () if not params_problems([params], space, "enqueue"))
    return config if config.enqueue is None else config.model_copy(update={"enqueue": fitting})


def _search_problems(config: StudyConfig, space: Space) -> list[str]:
    """Why this sampler cannot enumerate this space, if it is one that does; and params to try first that do not fit."""
    problems: list[str] = []
    if config.sampler.name in EXHAUSTIVE:
        attempt(problems, space.grid if config.sampler.name == "grid" else space.check_finite)
    return problems + ([] if config.from_model else params_problems(config.enqueue or (), space, "enqueue"))


def _left_out(config: StudyConfig, space: Space) -> list[str]:
    """What the networks of the model that the study starts from have, and its space has not."""
    defaults = asdict(Hyperparameters())
    lost = [possible_part(params, space, defaults)[1] for params in config.enqueue or () if config.from_model]
    return [f"{line}; left out" for line in params_problems(lost, space, "from_model: network")]
