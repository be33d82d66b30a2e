"""`model.json`: the description of a model, checked to the last byte before a network is made from it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from itertools import islice
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from optlstm.errors import InputError, ModelFileError
from optlstm.study.lineage import Segment
from optlstm.tasks.base import CardPart, Metrics
from optlstm.tasks.forecast.card import upgraded
from optlstm.tasks.forecast.predictor import ForecastSection
from optlstm.tasks.label.predict import SequenceSection, TextSection
from optlstm.training.hparams import Hyperparameters

FORMAT = 1
CARD_FILE, WEIGHT_FILE = "model.json", "model.safetensors"

TaskSection = Annotated[ForecastSection | SequenceSection | TextSection, Field(discriminator="kind")]


class Trained(CardPart):
    """Networks trained with one trial's params, each from another seed."""

    trial: int
    value: float | None  # the trial's best validation value
    params: dict[str, bool | int | float | str]
    custom: dict[str, bool | int | float | str] = Field(default_factory=dict)  # params of its factory's own
    grown_layers: Annotated[int, Field(ge=0)]
    pooled_width: Annotated[int, Field(ge=0)] | None = None  # None: of the first versions, which took hidden_size
    schedule: Annotated[list[Segment], Field(min_length=1)]
    seeds: Annotated[list[int], Field(min_length=1)]  # one per network

    def hyperparameters(self) -> Hyperparameters:
        """Raises InputError for an unknown param, or a value out of its range."""
        hp = Hyperparameters.from_params({**self.params, **self.custom}, self.custom)
        if self.grown_layers >= hp.num_layers:
            raise InputError(f"grown_layers: {self.grown_layers} of {hp.num_layers} layers")
        width = hp.hidden_size if self.pooled_width is None else self.pooled_width
        return replace(hp, grown_layers=self.grown_layers, pooled_width=width)


class Training(CardPart):
    """How the weights were trained."""

    refit: bool  # false: the weights are those that the study kept
    trained_on: list[str]  # parts of the data
    epochs: int  # length of the learning-rate schedule
    tuned_on: dict[str, Any] | None = None  # what was otherwise in the data of the study, where it has grown since


class Update(CardPart):
    """A step from an earlier model to this one: bit-reproducible, so its dates are those of the data."""

    parent: str  # SHA-256 of the earlier model's card
    how: Literal["continue", "refit", "keep"]
    rows: int
    first: str
    last: str
    scores: dict[str, Metrics]  # by name: the earlier model's, and of each way that was tried; on the newest rows


class Origin(CardPart):
    """The study of the params, without date, user and machine: the same search gives the same file."""

    name: str
    seed: int
    sampler: dict[str, Any]
    pruner: dict[str, Any]
    scheduler: dict[str, Any]


class Test(CardPart):
    """The untouched test rows, scored once."""

    metrics: Metrics
    members: list[Metrics]
    spread: dict[str, Metrics] = Field(default_factory=dict)
    steps: dict[str, list[float | None]]
    baselines: dict[str, Metrics]
    baseline_steps: dict[str, dict[str, list[float | None]]]
    beaten_by: dict[str, list[str]]


class Weights(CardPart):
    size: Annotated[int, Field(ge=0)]  # bytes
    sha256: str


class Card(CardPart):
    """The content of `model.json`, without checksum and format.

    The networks are those of the first trial (the best one), seed by seed, then those of the next.
    """

    trials: Annotated[list[Trained], Field(min_length=1)]
    task: TaskSection
    training: Training
    study: Origin
    data: dict[str, Any]  # fingerprint, rows, splits
    test: Test
    intervals: dict[str, Any]
    versions: dict[str, str]
    weights: Weights
    factory: Annotated[str, Field(max_length=1000)] | None = None  # module:function of custom networks
    history: list[Update] = Field(default_factory=list)  # what was made of the refitted model since, in order

    @model_validator(mode="after")
    def _each_part_has_its_weight(self) -> Card:
        parts = self.members + bool(self.task.linear)
        if len(self.task.weights) not in (0, parts):
            raise ValueError(f"{len(self.task.weights)} weights of {parts} parts")
        return self

    @property
    def members(self) -> int:
        """The number of networks."""
        return sum(len(trained.seeds) for trained in self.trials)

    @property
    def trained(self) -> bool:
        """Whether any network was."""
        return any(trained.schedule[-1].last > 0 for trained in self.trials)

    @property
    def only_linear(self) -> bool:
        """Whether its forecasts are linear ones alone."""
        return not self.trained and bool(self.task.linear)

    @property
    def ensemble(self) -> dict[str, float]:
        """The weight of each trial and of each linear forecast by name; empty where the model is its networks' mean.

        A network that was not trained has none.
        """
        if not self.task.weights:
            return {}
        weights = iter(self.task.weights)
        trials = {f"trial {t.trial}": sum(islice(weights, len(t.seeds))) for t in self.trials}
        return (trials if self.trained else {}) | dict(sorted(self.task.linear.items(), key=lambda part: -part[1]))

    def hyperparameters(self) -> list[Hyperparameters]:
        """Those of every network. Raises as `Trained.hyperparameters`."""
        return [hp for trained in self.trials for hp in [trained.hyperparameters()] * len(trained.seeds)]

    @property
    def digest(self) -> str:
        """The SHA-256 of `to_bytes`."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """The text of this card, with the checksum of its content."""
        absent: Any = {} if self.training.tuned_on else {"training": {"tuned_on"}}  # as in older versions
        absent |= {} if self.history else {"history": True}
        absent |= {} if any(trained.custom for trained in self.trials) else {"trials": {"__all__": {"custom"}}}
        absent |= {} if getattr(self.task, "known", ()) else {"task": {"known"}}
        content = {"format": FORMAT, **self.model_dump(mode="json", exclude=absent)}
        return _text({**content, "sha256": _checksum(content)})


def read_card(raw: bytes) -> Card:
    """Raises ModelFileError where `raw` is not, byte for byte, what `Card.to_bytes` gave, or is no valid card."""
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{CARD_FILE} is not JSON (truncated or altered)") from error
    if not isinstance(content, dict) or "format" not in content:
        raise ModelFileError(f"{CARD_FILE} is not a model's card")
    if content["format"] != FORMAT or isinstance(content["format"], bool):
        versions = content.get("versions")
        maker = f", of optlstm {versions['optlstm']}" if isinstance(versions, dict) and "optlstm" in versions else ""
        raise ModelFileError(
            f"{CARD_FILE} has format {str(content['format'])[:20]}{maker}; this optlstm reads format {FORMAT}"
        )
    claimed = content.pop("sha256", None)
    try:
        altered = _checksum(content) != claimed or _text({**content, "sha256": claimed}) != raw
    except ValueError:  # NaN or infinity
        altered = True
    if altered:
        raise ModelFileError(f"{CARD_FILE} is not what was written (altered)")
    del content["format"]
    if isinstance(content.get("task"), dict):
        content["task"] = upgraded(content["task"])
    try:
        return Card.model_validate_json(json.dumps(content))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:200]
        raise ModelFileError(f"{CARD_FILE} is invalid: {where}: {first['msg'][:200]}") from error


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(_text(content)).hexdigest()


def _text(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
