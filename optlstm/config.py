"""The config of a study: TOML file < command line, every default stated once, every problem reported at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from optlstm.errors import InputError, did_you_mean
from optlstm.study.failures import FAILURES_IN_A_ROW, STORAGE_TIMEOUT_S
from optlstm.study.pruners import PRUNERS, check_pruner
from optlstm.study.registry import check, in_words
from optlstm.study.samplers import MULTI_OBJECTIVE, SAMPLERS
from optlstm.tasks.options import DataConfig, Section, as_toml
from optlstm.tasks.task import DEFAULT_TASK, check_keys, check_task, task_class

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

T = TypeVar("T")
CHOICES = {"sampler": "tpe", "pruner": "median"}  # sections with a name and its options, and the default name
MOST_SEED = 2**32 - 1  # NumPy's, which some samplers draw from
NAME_LENGTH = 512  # what Optuna's tables hold, so that a name means the same on every database
NAME_RULE = f"must be 1 to {NAME_LENGTH} printable characters"


def is_name(text: str) -> bool:
    """Whether a study may have this name, in any database."""
    return bool(text.strip()) and len(text) <= NAME_LENGTH and text.isprintable()


class TrainingConfig(Section):
    epochs: int = Field(10, ge=1, description="most epochs of a trial")
    patience: int = Field(4, ge=0, description="end a trial after so many epochs without a better value; 0: never")
    threads: int = Field(1, ge=1, description="torch threads per trial; another number changes the last bits")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    metric: str | None = Field(None, description="validation metric that decides (default: the task's first)")


class ModelConfig(Section):
    factory: str | None = Field(None, description="module:function that makes the networks (default: LSTMs of optlstm)")


class RayConfig(Section):
    address: str | None = Field(None, description="cluster: auto or host:port (default: a Ray of its own, on loopback)")
    cpus_per_trial: float = Field(1.0, gt=0, description="CPUs a trial reserves on Ray")
    gpus_per_trial: float = Field(0.0, ge=0, description="GPUs a trial reserves on Ray; fractions too")


class PbtConfig(Section):
    population: int = Field(8, ge=2, description="members trained side by side")
    interval: int = Field(2, ge=1, description="epochs between two exploits")
    quantile: float = Field(0.25, gt=0, le=0.5, description="share that is replaced, and that it is copied from")
    factors: tuple[float, ...] = Field((0.8, 1.25), min_length=1, description="a number is multiplied by one of these")
    resample_probability: float = Field(0.25, ge=0, le=1, description="chance that a param is drawn anew instead")
    params: tuple[str, ...] | None = Field(
        None, min_length=1, description="params that change (default: the training's)"
    )
    morph: bool = Field(False, description="hidden_size and num_layers change too, and the weights grow with them")
    burn_in: int = Field(0, ge=0, description="no exploit before this epoch")
    explore: str | None = Field(None, description="module:function in place of the built-in explore")
    synchronous: bool = Field(True, description="members wait for each other; false: faster, and not reproducible")


class TrackingConfig(Section):
    trackers: tuple[str, ...] = Field((), description="who follows the study: tensorboard, mlflow, wandb")
    project: str = Field("optlstm", min_length=1, description="MLflow's experiment, W&B's project")
    wandb_mode: Literal["offline", "online"] = Field("offline", description="W&B: files to sync later, or at once")


class StopConfig(Section):
    value: float | None = Field(None, allow_inf_nan=False, description="stop when a trial is as good as this")
    no_improvement: int | None = Field(None, ge=1, description="stop after so many trials without a better one")
    terminator: bool = Field(False, description="stop when Optuna's terminator sees no more to gain")
    failures: int = Field(
        FAILURES_IN_A_ROW, ge=0, description="stop after so many trials in a row that failed alike; 0: never"
    )

    @property
    def given(self) -> list[str]:
        """The rules that are asked for."""
        return [key for key, value in self if key != "failures" and value not in (None, False)]


class ConstraintConfig(Section):
    max_parameters: int | None = Field(None, ge=1, description="most parameters a network may have")
    max_latency_ms: float | None = Field(None, gt=0, description="longest time for one forecast, on this machine")

    @property
    def limits(self) -> dict[str, float]:
        """What is limited, and to how much: {"parameters": 50000}."""
        return {key.removeprefix("max_"): value for key, value in self if value is not None}


class LrSearchConfig(Section):
    rounds: int = Field(3, ge=1, description="rounds of draws, each in a narrower range")
    draws: int = Field(8, ge=2, description="draws a round")
    keep: float = Field(0.3, gt=0, le=1, description="share of a round's draws that the next range is made from")
    low: float = Field(1e-6, gt=0, allow_inf_nan=False, description="smallest learning rate")
    high: float = Field(1.0, gt=0, allow_inf_nan=False, description="greatest learning rate")
    epochs: int = Field(3, ge=1, description="epochs of a draw")


class Choice(BaseModel):
    """A name from a registry and its options."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class StudyConfig(Section):
    name: str | None = Field(None, description="the study's name (default: the data file's)")
    task: str = Field(DEFAULT_TASK, description="what to learn")
    seed: int = Field(0, ge=0, le=MOST_SEED, description="seed of the whole search")
    trials: int = Field(20, ge=1, description="the study's trials in all")
    timeout: float | None = Field(
        None, gt=0, description="seconds after which to stop (continue with the same command)"
    )
    trial_timeout: float | None = Field(
        None, gt=0, description="seconds without a report after which a trial has hung, and fails (default: never)"
    )
    storage: str = Field("sqlite:///runs/optlstm.db", description="database URL")
    storage_timeout: float = Field(STORAGE_TIMEOUT_S, gt=0, description="seconds that the database may be away for")
    storage_path: str = Field("runs", description="folder (or URL) for checkpoints; with several nodes, one they share")
    backend: Literal["local", "ray"] = Field("local", description="who runs the trials: this machine, or Ray")
    scheduler: Literal["study", "asha", "pbt"] = Field(
        "study", description="who ends poor trials: study (its pruner), asha (Ray's ASHAScheduler), pbt (a population)"
    )
    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="trials at a time; auto: one per core, on Ray what the cluster holds"
    )
    keep: int = Field(3, ge=0, description="best trials whose weights stay on disk; unfinished trials keep theirs")
    ray: RayConfig = RayConfig()  # type: ignore[call-arg]
    pbt: PbtConfig = PbtConfig()  # type: ignore[call-arg]
    lr_search: LrSearchConfig = LrSearchConfig()  # type: ignore[call-arg]
    stop: StopConfig = StopConfig()  # type: ignore[call-arg]
    constraints: ConstraintConfig = ConstraintConfig()  # type: ignore[call-arg]
    enqueue: tuple[dict[str, Any], ...] = Field((), description="params to try first, after the space's defaults")
    import_from: str | None = Field(None, description="study of this database whose trials a new study begins with")
    narrow_from: str | None = Field(None, description="study whose best quarter gives a new study its ranges")
    promote: str | None = Field(None, description="study whose best trials are run again, on all the data")
    top: int = Field(10, ge=1, description="how many trials are promoted")
    defaults_first: bool = Field(True, description="begin with the space's defaults")
    diverged: Literal["fail", "prune"] = Field("fail", description="how a trial ends whose loss is not finite")
    objective: str | None = Field(None, description="Python file with space(trial) and objective(trial, params)")
    objectives: tuple[str, ...] | None = Field(None, min_length=2, description="several values to trade off")
    directions: tuple[Literal["minimize", "maximize"], ...] | None = Field(
        None, min_length=1, description="minimize or maximize, for each of objectives (default: what is better)"
    )
    data: DataConfig = DataConfig()  # type: ignore[call-arg]
    training: TrainingConfig = TrainingConfig()  # type: ignore[call-arg]
    model: ModelConfig = ModelConfig()  # type: ignore[call-arg]
    artifacts: int = Field(
        3, ge=0, description="best trials whose forecasts are drawn for the dashboard at the end; 0: none"
    )
    tracking: TrackingConfig = TrackingConfig()  # type: ignore[call-arg]
    sampler: Choice = Field(Choice(name=CHOICES["sampler"]), description="what proposes the trials")
    pruner: Choice = Field(Choice(name=CHOICES["pruner"]), description="what ends poor trials early")
    space: dict[str, Any] = Field(default_factory=dict, description="changes to the task's search space")

    @field_validator("task")
    @classmethod
    def _task_is_known(cls, value: str) -> str:
        return check_task(value)

    @field_validator("objectives", "directions", mode="before")
    @classmethod
    def _lists_in_one_text(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("name")
    @classmethod
    def _name_fits_every_database(cls, value: str | None) -> str | None:
        if value is not None and not is_name(value):
            raise ValueError(NAME_RULE)
        return value

    @property
    def several(self) -> tuple[str, ...]:
        """The names of several objectives; none where there is one."""
        return self.objectives or ()

    def stored(self) -> dict[str, Any]:
        """What a study keeps to be continued by its name alone. Where it is kept, and by whom it is run, is no part."""
        where = {"name", "storage", "storage_timeout", "storage_path", "timeout", "stop", "workers", "backend", "ray"}
        return self.model_dump(mode="json", exclude=where | ({"trials"} if self.scheduler == "pbt" else set()))


def default_choices(raw: Mapping[str, Any]) -> dict[str, str]:
    """The sampler and pruner of a config that names none; the schedulers that decide themselves bring their own."""
    pruner = {"asha": "asha", "pbt": "none"}.get(str(raw.get("scheduler")), CHOICES["pruner"])
    if raw.get("objectives") is not None:
        pruner = "none"
    return {**CHOICES, "pruner": pruner}


def check_config(raw: Mapping[str, Any]) -> tuple[StudyConfig | None, list[str]]:
    """The config `raw` stands for, and one line per problem; no config where its shape is wrong."""
    filled = dict(raw)
    for section, name in default_choices(raw).items():
        if isinstance(raw.get(section, {}), Mapping):
            filled[section] = {"name": name, **raw.get(section, {})}
    config, problems, choices = None, [], []
    try:
        config = StudyConfig.model_validate(filled)
    except ValidationError as error:
        problems = _problems(error)
    for section, registry in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
        choice = filled.get(section)
        if isinstance(choice, Mapping) and isinstance(choice.get("name"), str):
            options = {key: value for key, value in choice.items() if key != "name"}
            choices += check(section, registry, choice["name"], options)
    if config is not None and not choices:
        problems += check_pruner(config.pruner.name, config.pruner.options, config.training.epochs)
        problems += _scheduler_problems(config)
        problems += _objective_problems(config) + _start_problems(config)
    if config is not None and config.objective is None:
        attempt(problems, lambda: check_keys(config.task, config.data))
        problems += _metric_problems(config)
    if config is not None:
        from optlstm.study.tracking import check_trackers  # it brings optuna, which `--help` does not need

        problems += check_trackers(config.tracking.trackers)
    return config, problems + choices


def _metric_problems(config: StudyConfig) -> list[str]:
    names, metric = [m.name for m in task_class(config.task).metrics], config.training.metric
    if metric is None or metric in names:
        return []
    return [f"training.metric: must be one of {', '.join(names)}, got {metric!r}{did_you_mean(metric, names)}"]


def _scheduler_problems(config: StudyConfig) -> list[str]:
    """What does not go together with the scheduler."""
    problems, pruner = [], config.pruner.name
    if config.scheduler == "asha":
        if config.backend != "ray":
            problems.append("scheduler: asha is Ray's own and needs --backend ray; on local use --pruner asha")
        if pruner != "asha":
            problems.append(f"pruner.name: with --scheduler asha Ray decides, and {pruner} would not; drop it")
    elif config.pruner.options.get("brackets", 1) != 1:
        problems.append("pruner.brackets: several brackets are for --scheduler asha; here use --pruner hyperband")
    if config.scheduler == "pbt":
        if pruner != "none":
            problems.append(f"pruner.name: a population replaces its poor members itself; drop the pruner {pruner}")
        if config.training.patience != TrainingConfig.model_fields["patience"].default:
            problems.append("training.patience: the members of a population all live to their last epoch; drop it")
        if "trials" in config.model_fields_set:
            problems.append("trials: with --scheduler pbt they follow from pbt.population; drop trials")
        if config.pbt.interval >= config.training.epochs:
            epochs = config.training.epochs
            problems.append(
                f"pbt.interval: {config.pbt.interval} epochs leave no exploit in training.epochs = {epochs}"
            )
        elif all(e < config.pbt.burn_in for e in range(0, config.training.epochs, config.pbt.interval)):
            burn_in, epochs = config.pbt.burn_in, config.training.epochs
            problems.append(f"pbt.burn_in: {burn_in} epochs leave no exploit in training.epochs = {epochs}")
        problems += [f"pbt.factors: must be above 0, got {f}" for f in config.pbt.factors if f <= 0]
    return problems


def _objective_problems(config: StudyConfig) -> list[str]:
    """What does not go together with several objectives, with constraints, with rules to stop."""
    problems = []
    own_alone = config.objective is not None and not config.objectives and len(config.directions or ()) == 1
    if config.directions and not own_alone and len(config.directions) != len(config.objectives or ()):
        given, wanted = len(config.directions), len(config.objectives or ())
        problems.append(f"directions: {given} for {wanted} objectives; give one for each of objectives = [...]")
    if len(set(config.objectives or ())) < len(config.objectives or ()):
        problems.append(f"objectives: {', '.join(config.objectives or ())} names one twice")
    if several := config.several:
        names = " and ".join(several)
        if config.pruner.name != "none":
            problems.append(
                f"pruner.name: {config.pruner.name} compares one value, and this study has {names}; use --pruner none"
            )
        if config.sampler.name not in MULTI_OBJECTIVE:
            problems.append(
                f"sampler.name: {config.sampler.name} knows one objective, and this study has {names}"
                f" (use one of: {', '.join(sorted(MULTI_OBJECTIVE))})"
            )
        if config.scheduler != "study":
            problems.append(f"scheduler: {config.scheduler} compares one value, and this study has {names}")
        problems += [f"stop.{key}: is for one objective, and this study has {names}" for key in config.stop.given]
    if config.scheduler == "pbt":
        problems += [f"stop.{key}: a population ends as one; use epochs or --timeout" for key in config.stop.given]
        if config.constraints.limits:
            problems.append("constraints: a population's copies change without asking; bound space.hidden_size instead")
    return problems


def _start_problems(config: StudyConfig) -> list[str]:
    """What does not go together with the trials a study begins with."""
    given = [key for key in ("enqueue", "import_from", "promote") if getattr(config, key)]
    problems = []
    if config.sampler.name == "grid":
        problems += [f"{key}: a grid has its own points, and no other; use another sampler" for key in given]
    if config.scheduler == "pbt" and config.import_from:
        problems.append("import_from: a population begins with its own members; use enqueue")
    if config.constraints.limits and config.import_from:
        problems.append("import_from: with constraints use enqueue, so that every trial is measured here")
    if config.promote and config.import_from:
        problems.append("import_from: values of a promoted study come from other data; leave one of the two out")
    return problems


def check_lr_search(raw: Mapping[str, Any], problems: list[str]) -> LrSearchConfig:
    """The `lr_search` section; what is wrong with it goes into the list, and the defaults stand in."""
    section = raw.get("lr_search", {})
    try:
        options = LrSearchConfig.model_validate(section if isinstance(section, Mapping) else {})
    except ValidationError:  # the config as a whole says what
        return LrSearchConfig()  # type: ignore[call-arg]
    if options.low >= options.high:
        problems.append(f"lr_search.low: {options.low:g} is not below lr_search.high = {options.high:g}")
        return LrSearchConfig()  # type: ignore[call-arg]
    return options


def check_data_config(raw: Mapping[str, Any]) -> DataConfig | None:
    """The `data` section alone, so that its file is checked even where something else is wrong."""
    section = raw.get("data", {})
    if isinstance(section, Mapping):  # neither of these says which file and columns to read
        section = {key: value for key, value in section.items() if key not in ("horizon", "splits")}
    try:
        return DataConfig.model_validate(section)
    except ValidationError:
        return None


def attempt(problems: list[str], action: Callable[[], T]) -> T | None:
    """What `action` returns; None where it raises an InputError, whose problems go into the list."""
    try:
        return action()
    except InputError as error:
        problems.extend(error.problems)
        return None


def _problems(error: ValidationError) -> list[str]:
    """Pydantic's findings in our words, one line per key."""
    found: dict[tuple[str, ...], list[ErrorDetails]] = {}
    for detail in error.errors():
        path = tuple(part for part in detail["loc"] if isinstance(part, str) and not _is_union_branch(part))
        found.setdefault(path, []).append(detail)
    return [f"{'.'.join(path)}: {_problem(path, details)}" for path, details in found.items()]


def _problem(path: tuple[str, ...], details: list[ErrorDetails]) -> str:
    value = details[0]["input"]
    if details[0]["type"] == "extra_forbidden":
        keys = _section(path[:-1]).model_fields
        return f"unknown key{did_you_mean(path[-1], keys)} (keys: {', '.join(keys)})"
    if path[0] in CHOICES and isinstance(value, str):
        return f"write {path[0]}.name = {value!r}, so that its options can stand beside it"
    words = in_words(details)
    secret = path[0] == "storage"  # it may hold a password
    return words if secret or "got" in words else f"{words}, got {as_toml(value)!r}"


def _is_union_branch(part: str) -> bool:
    return part.startswith(("tuple[", "constrained-", "literal[", "function-"))


def _section(path: Sequence[str]) -> type[BaseModel]:
    model: type[BaseModel] = StudyConfig
    for part in path:
        field = model.model_fields[part]
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            model = field.annotation
    return model
