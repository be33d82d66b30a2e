"""The interface between a task and the rest of the program.

Task       the data, read, checked and split, and the search space that suits them. No torch.
Problem    made from `Task.data()` in a worker: batches, loss, validation scores (`optlstm.training.loop.Problem`).
Evaluator  the task after the search: the data of a refit, the task's part of the model's card, the evaluation.
Evaluation scores of model and baselines on the test rows.
Predictor  trained networks on new files.

A new task has one of each, a reader in `optlstm/data/`, a section in `models/card.py` and a line in
`tasks/registry.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field, field_validator

from optlstm.data.file_format import FileOptions, encoding_problem, separator_problem
from optlstm.tasks.options import FORM, DataConfig
from optlstm.training.hparams import Hyperparameters
from optlstm.training.metric import DEFAULT_GOAL, Goal, Metric
from optlstm.util.format import rounded

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

Text = Annotated[str, Field(max_length=10_000)]
Positive = Annotated[float, Field(gt=0)]
Metrics = dict[str, float | None]  # None: not defined on these rows
TunedNetwork = tuple[Hyperparameters, "nn.Module"]  # of a cross-validation: one network a fold


class CardPart(BaseModel):
    """A part of a model's card. A file is not trusted: strict types, finite numbers, no other keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class FormCard(CardPart):
    """What was said of the form of the files; the fields are those of `FileOptions`."""

    separator: Annotated[str, Field(max_length=1)] | None = None
    decimal: Literal[".", ","] | None = None
    thousands: Literal[".", ","] | None = None
    encoding: Annotated[str, Field(max_length=100)] | None = None
    header: bool | Annotated[int, Field(ge=1)] | None = None
    missing: list[float | Text] = Field(default_factory=list)
    usual_decimal: Literal[".", ","] | None = None

    @classmethod
    def of(cls, options: FileOptions, usual_decimal: str | None = None) -> FormCard:
        return cls.model_validate({**asdict(options), "missing": list(options.missing), "usual_decimal": usual_decimal})

    @property
    def options(self) -> FileOptions:
        return FileOptions(**{**self.model_dump(), "missing": tuple(self.missing)})

    def options_with(self, reading: DataConfig | None) -> FileOptions:
        """These options, but for what is said of a new file."""
        given = reading.model_fields_set.intersection(FORM) if reading is not None else ()
        return replace(self.options, **{key: getattr(reading, key) for key in given})

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, value: str | None) -> str | None:
        if value is not None and (problem := encoding_problem(value)):
            raise ValueError(problem)
        return value

    @field_validator("separator")
    @classmethod
    def _separator_is_one(cls, value: str | None) -> str | None:
        if value is not None and (problem := separator_problem(value)):
            raise ValueError(problem)
        return value


class Bounds(Protocol):
    """The part of a search space that a task looks at."""

    def largest(self, name: str) -> Any:
        """The largest value a numeric param can take, fixed or searched; None where it is neither."""

    def allows(self, **values: Any) -> bool:
        """Whether a configuration can have all of these values of fixed and categorical params."""


class Goals(NamedTuple):
    """What can be learned of one kind of targets."""

    losses: Mapping[str, str]  # the default `training.loss` first; each with its default `training.metric`
    metrics: tuple[Metric, ...]  # the default `training.metric` first
    custom: bool = False  # whether a metric may be `module:function`


class Task(Protocol):
    """Data of one kind, read, checked and split. It imports no torch: the driver trains nothing."""

    name: ClassVar[str]
    keys: ClassVar[tuple[str, ...]]  # of the `data` section that it reads
    goals: ClassVar[Mapping[str, Goals]]  # by kind of target, as `data.kind` and the record have it; the usual first
    problem: ClassVar[str]  # `module:function` that makes the `Problem` in a worker: (data(), device, factory, goal)

    @classmethod
    def read(cls, data: DataConfig) -> Task:
        """Read, check and split the data.

        Raises:
            InputError: with every problem, one line each.
        """

    @classmethod
    def generic_space(cls) -> dict[str, object]:
        """A space to check a study's space against where the data cannot be read."""

    @property
    def kind(self) -> str:
        """Of the target: one of `goals`."""

    @property
    def warnings(self) -> Sequence[str]:
        """What looks odd in the data; one line each."""

    @property
    def undefined(self) -> Mapping[str, str]:
        """Losses and metrics that have no value on these data, and why."""

    def default_space(self) -> dict[str, object]:
        """The space of a study that declares none, in the form of a study file's `[space]` section."""

    def check_space(self, space: Bounds) -> None:
        """Raises InputError where these data cannot feed some configuration of `space`."""

    def describe(self) -> str:
        """The data in a line: name, size, split."""

    def record(self) -> dict[str, Any]:
        """What determines the trials: fingerprint, split and options of the data, not the place of the files."""

    def data(self) -> Any:
        """The data of `problem`: it pickles, and holds NumPy arrays, no tensors."""

    def evaluator(self, goal: Goal = DEFAULT_GOAL) -> Evaluator:
        """The task after the search, for a refit."""


class Evaluator(Protocol):
    """A task after the search: the data of a refit, the task's part of the card, the evaluation."""

    def training_data(self, joined: bool) -> Any:
        """The data for `Task.problem`. joined: trained on training and validation rows."""

    def card_section(self) -> Any:
        """The task's part of the card."""

    def blend(
        self,
        tuned: Callable[[], Sequence[TunedNetwork]],
        windows: Sequence[int],
        networks: int,
        joined: bool,
        metric: str,
    ) -> Blend | None:
        """The weights of the trials' networks and of forecasts that are not trained; None: the networks' mean.

        Args:
            tuned: gives each trial's network, trained on the training rows alone; it may take long.
            windows: window lengths that the study searched.
            networks: how many the model has of each trial.
            joined: as of `training_data`.
            metric: the validation metric that decides.
        """

    def validation_baselines(self, metric: Metric, window: int) -> dict[str, float]:
        """What a trial has to be better than: by name, values as trials report them; of forecasts with this window."""

    def check_rivals(self) -> None:
        """Raises InputError where there are no statistical forecasts to be held against, or they are not installed."""

    def held_out(self, tuned: Callable[[], Sequence[TunedNetwork]], blend: Blend | None) -> Any:
        """What the model would have made of the validation rows, not having seen them; None: it is of no use.

        Args:
            tuned: as of `blend`.
            blend: the weights of its parts; None: all the same.
        """

    def evaluate(self, predictor: Any, joined: bool, rivals: bool = False, held_out: Any = None) -> Evaluation:
        """Score the test rows, once; where there are none, no metric has a value.

        Args:
            joined: baselines that learn, learn from training and validation rows.
            rivals: beside statistical forecasts, too.
            held_out: by which intervals are calibrated before the test: see `held_out`.
        """


@dataclass(frozen=True)
class Blend:
    """The weights of a model's parts.

    Args:
        trials: positions of those whose networks are part of the model.
        card_updates: fields of the task's part of the card.
        extras: tensors that are saved with the networks.
        mixture: the task's account of them, for `Evaluator.held_out`.
    """

    trials: tuple[int, ...]
    card_updates: dict[str, Any]
    extras: dict[str, Tensor]
    mixture: Any = None


@dataclass(frozen=True)
class Evaluation:
    """The scores on the test rows.

    Args:
        test: the saved model's metrics.
        steps: each metric by horizon step, where the task has steps.
        members: every network's metrics, in the order of the networks.
        baselines: metrics by name, on the same test rows; `baseline_steps` as `steps`.
        lower_is_better: by metric, of those in which model and baselines are compared.
        intervals: method and measured coverage of the prediction intervals; JSON.
        extras: tensors that are saved with the weights.
        card_updates: fields of the task's part of the card that the evaluation sets.
    """

    test: Metrics
    members: list[Metrics]
    baselines: dict[str, Metrics]
    lower_is_better: Mapping[str, bool]
    steps: dict[str, list[float | None]] = field(default_factory=dict)
    baseline_steps: dict[str, dict[str, list[float | None]]] = field(default_factory=dict)
    intervals: dict[str, Any] = field(default_factory=dict)
    extras: dict[str, Tensor] = field(default_factory=dict)
    card_updates: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_nothing(cls, card_updates: dict[str, Any]) -> Evaluation:
        """Where there are no test rows."""
        return cls({}, [], {}, {}, card_updates=card_updates)

    def beaten_by(self) -> dict[str, list[str]]:
        """Baselines that are better than the model: {metric: [name, ...]}, the best first."""
        winners = {}
        for metric, lower_is_better in self.lower_is_better.items():
            score, sign = self.test.get(metric), 1 if lower_is_better else -1
            if score is None:
                continue
            rivals = {name: metrics.get(metric) for name, metrics in self.baselines.items()}
            signed = {name: sign * rival for name, rival in rivals.items() if rival is not None}
            ahead = [name for name in signed if rounded(signed[name]) < rounded(sign * score)]
            better = sorted(ahead, key=signed.__getitem__)
            if better:
                winners[metric] = better
        return winners


class Predictor(Protocol):
    """A task's trained networks, for new data."""

    def predict(self, data: Path, **options: Any) -> pd.DataFrame:
        """Raises InputError where the data does not fit."""

    def write_csv(self, data: Path, out: Path, **options: Any) -> int:
        """The predictions as a CSV file, streamed; the number of rows. Raises as `predict`."""

    def score(self, data: Path, **options: Any) -> Metrics:
        """The task's metrics on data with true values. Raises as `predict`."""

    def export_module(self) -> ExportModule:
        """Raises InputError where the networks need more than one input."""


class ExportModule(NamedTuple):
    """A whole model as one module, for formats that other programs read."""

    module: nn.Module  # from raw input to raw output
    example: Tensor  # an input of two samples
    input_name: str
    output_names: tuple[str, ...]
    notes: tuple[str, ...] = ()  # for who uses the outputs
