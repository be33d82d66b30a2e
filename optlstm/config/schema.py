"""The config of a study: TOML file < command line, every default stated once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from optlstm.study.failures import FAILURES_IN_A_ROW, STORAGE_TIMEOUT_S
from optlstm.tasks.options import DataConfig, Section
from optlstm.tasks.registry import DEFAULT_TASK, check_task
from optlstm.util.format import LONGEST_NAME, listed, seconds

CHOICES = {"sampler": "tpe", "pruner": "median"}  # sections with a name and its options, and the default name
MAX_SEED = 2**32 - 1  # NumPy's, which some samplers draw from
DIRECTIONS = ("minimize", "maximize")
NO_LIMIT = 2**31 - 1  # trials of a study that a timeout alone ends
NAME_RULE = f"must be 1 to {LONGEST_NAME} printable characters"


def is_name(text: str) -> bool:
    """Whether a study may have this name, in any database."""
    return bool(text.strip()) and len(text) <= LONGEST_NAME and text.isprintable()


def is_lr_search(sampler: str, space: Mapping[str, Any]) -> bool:
    """Whether a study's sampler and `[space]` are those that `lr-search` makes."""
    return sampler == "narrowing" and space.get("only") == ["learning_rate"]


def _in_seconds(value: Any) -> Any:
    try:
        return seconds(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError(f"must be seconds, or with a unit as 90s, 10m, 1.5h, got {value!r}") from None


class TrainingConfig(Section):
    epochs: int = Field(10, ge=1, description="most epochs of a trial")
    patience: int = Field(4, ge=0, description="end a trial after so many epochs without a better value; 0: never")
    threads: int = Field(1, ge=1, description="torch threads per trial; another number changes the last bits")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "fp32", description="of the LSTMs while they train; bf16: faster on processors that have it; auto: what is"
    )
    loss: str | None = Field(
        None,
        description="training loss; of forecasts mse (default), mae, huber, mase, quantiles, normal, ...",
    )
    metric: str | None = Field(
        None, description="validation metric that decides (default: the task's first, or that of the loss)"
    )


class ModelConfig(Section):
    factory: str | None = Field(None, description="module:function that makes the networks (default: LSTMs of optlstm)")


class RayConfig(Section):
    address: str | None = Field(None, description="cluster: auto or host:port (default: a new Ray, on loopback)")
    cpus_per_trial: float = Field(1.0, gt=0, description="CPUs a trial reserves on Ray")
    gpus_per_trial: Annotated[float, Field(ge=0)] | Literal["auto"] | None = Field(
        None,
        description="GPUs a trial takes, fractions too; 0: CPUs alone; auto: by the first trial's memory, not on Ray "
        "(default: all GPUs are used, on Ray one a trial)",
    )
    max_workers: int = Field(1000, ge=1, description="most trials at a time with --workers auto")
    wait_for_nodes: float = Field(
        900.0,
        ge=0,
        description="how long to wait for a node that a trial fits on, in seconds or as 90s, 10m",
    )

    @property
    def resources(self) -> dict[str, float]:
        """What a trial reserves, as Ray names it."""
        gpus = self.gpus_per_trial if isinstance(self.gpus_per_trial, float | int) else 0.0
        return {"cpu": self.cpus_per_trial, **({"gpu": gpus} if gpus else {})}

    @field_validator("wait_for_nodes", mode="before")
    @classmethod
    def _wait_has_a_unit(cls, value: Any) -> Any:
        return _in_seconds(value)


class PbtConfig(Section):
    population: int = Field(8, ge=2, description="members trained side by side")
    interval: int = Field(2, ge=1, description="epochs between two exploits")
    quantile: float = Field(0.25, gt=0, le=0.5, description="share that is replaced, and that it is copied from")
    factors: tuple[float, ...] = Field((0.8, 1.25), min_length=1, description="a number is multiplied by one of these")
    resample_probability: float = Field(0.25, ge=0, le=1, description="chance that a param is sampled again instead")
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
    max_work: float | None = Field(None, gt=0, description="most multiply-adds of the LSTM for a forecast, in millions")

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
    seed: int = Field(0, ge=0, le=MAX_SEED, description="seed of the whole search")
    trials: int = Field(20, ge=1, description="the study's trials in all")
    timeout: float | None = Field(
        None, gt=0, description="time after which to stop, in seconds or as 90s, 10m, 2h; alone: all trials that fit"
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
    enqueue: tuple[dict[str, Any], ...] | None = Field(
        None, description="params to try first, after the space's defaults (default: some that were good on other data)"
    )
    import_from: str | None = Field(None, description="study of this database whose trials a new study begins with")
    narrow_from: str | None = Field(None, description="study whose best quarter gives a new study its ranges")
    promote: str | None = Field(None, description="study whose best trials are run again, on all the data")
    top: int = Field(10, ge=1, description="how many trials are promoted")
    from_model: str | None = Field(None, description="folder of a model whose params a new study tries first")
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

    @field_validator("timeout", mode="before")
    @classmethod
    def _timeout_has_a_unit(cls, value: Any) -> Any:
        return _in_seconds(value)

    @field_validator("objectives", "directions", mode="before")
    @classmethod
    def _lists_in_one_text(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("directions", mode="before")
    @classmethod
    def _directions_are_two_words(cls, value: Any) -> Any:
        texts = value.split(",") if isinstance(value, str) else value
        if isinstance(texts, list | tuple) and any(str(text).strip() not in DIRECTIONS for text in texts):
            raise ValueError(f"{listed(DIRECTIONS)} are the words, one for each objective")
        return value

    @field_validator("name")
    @classmethod
    def _name_fits_every_database(cls, value: str | None) -> str | None:
        if value is not None and not is_name(value):
            raise ValueError(NAME_RULE)
        return value

    @property
    def total(self) -> int:
        """The study's trials in all; NO_LIMIT where a timeout alone is given."""
        return NO_LIMIT if self.timeout is not None and "trials" not in self.model_fields_set else self.trials

    @property
    def several(self) -> tuple[str, ...]:
        """The names of several objectives; none where there is one."""
        return self.objectives or ()

    @property
    def is_lr_search(self) -> bool:
        """Whether it is what `lr-search` makes: rounds of draws of the learning rate alone."""
        return is_lr_search(self.sampler.name, self.space)

    def stored(self) -> dict[str, Any]:
        """What a study keeps to be continued by its name alone. Without where it is stored and what runs it."""
        unknown = self.scheduler == "pbt" or self.total == NO_LIMIT
        kept = self.model_dump(mode="json", exclude={"trials"} if unknown else set())
        return without_reach(kept)


# Where a study is stored, what runs it, and whether it is sent elsewhere: every command says so itself.
REACH = frozenset(
    {"name", "storage", "storage_timeout", "storage_path", "timeout", "stop", "workers", "backend", "ray"}
)
TRACKING_REACH = frozenset({"wandb_mode"})


def without_reach(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without what no study keeps."""
    kept = {key: value for key, value in config.items() if key not in REACH}
    if isinstance(tracking := kept.get("tracking"), Mapping):
        kept["tracking"] = {key: value for key, value in tracking.items() if key not in TRACKING_REACH}
    return kept


def from_database(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The config that a database has of a study: what was never kept is not taken from it."""
    return without_reach({key: value for key, value in stored.items() if value is not None})
