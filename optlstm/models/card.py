"""`model.json`: all that is known of a model, checked to the last byte before anything is made of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from optlstm.errors import InputError, ModelFileError
from optlstm.tasks.base import Metrics
from optlstm.tasks.forecast.card import upgraded
from optlstm.tasks.forecast.predictor import ForecastSection
from optlstm.tasks.label.predict import SequenceSection, TextSection
from optlstm.training.hparams import Hyperparameters

FORMAT = 1
CARD_FILE, WEIGHT_FILE = "model.json", "model.safetensors"

TaskSection = Annotated[ForecastSection | SequenceSection | TextSection, Field(discriminator="kind")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Stretch(_Part):
    """Epochs that were trained with the same params; a trial of a population has several."""

    trial: int
    first: int
    last: int
    params: dict[str, Any]


class Trained(_Part):
    """Networks of one trial's params, each from a seed of its own."""

    trial: int
    value: float | None  # the trial's best validation value
    params: dict[str, bool | int | float | str]
    grown_layers: Annotated[int, Field(ge=0)]
    schedule: Annotated[list[Stretch], Field(min_length=1)]
    seeds: Annotated[list[int], Field(min_length=1)]  # one per network

    def hyperparameters(self) -> Hyperparameters:
        """Raises InputError where a param is none, or out of its range."""
        hp = Hyperparameters.from_params(self.params)
        if self.grown_layers >= hp.num_layers:
            raise InputError(f"grown_layers: {self.grown_layers} of {hp.num_layers} layers")
        return replace(hp, grown_layers=self.grown_layers)


class Training(_Part):
    """How the weights came about."""

    refit: bool  # false: the weights are the trials' own, as the study left them
    trained_on: list[str]  # parts of the data
    epochs: int  # that the learning-rate schedule stretches over


class Origin(_Part):
    """Where the params come from. Nothing of when, by whom or on what machine: the same search is the same file."""

    name: str
    seed: int
    sampler: dict[str, Any]
    pruner: dict[str, Any]
    scheduler: dict[str, Any]


class Test(_Part):
    """The untouched test rows, scored once."""

    metrics: Metrics
    members: list[Metrics]
    spread: dict[str, Metrics] = {}
    steps: dict[str, list[float | None]]
    baselines: dict[str, Metrics]
    baseline_steps: dict[str, dict[str, list[float | None]]]
    beaten_by: dict[str, list[str]]


class Weights(_Part):
    size: Annotated[int, Field(ge=0)]  # bytes
    sha256: str


class Card(_Part):
    """What `model.json` holds, checksum and format aside.

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
    factory: Annotated[str, Field(max_length=1000)] | None = None  # module:function that made the networks; None: ours

    @property
    def members(self) -> int:
        """How many networks there are."""
        return sum(len(trained.seeds) for trained in self.trials)

    def hyperparameters(self) -> list[Hyperparameters]:
        """Of every network. Raises as `Trained.hyperparameters`."""
        return [hp for trained in self.trials for hp in [trained.hyperparameters()] * len(trained.seeds)]

    def to_bytes(self) -> bytes:
        """The one text of this card, the sum of its own content in it."""
        content = {"format": FORMAT, **self.model_dump(mode="json")}
        return _text({**content, "sha256": _sum(content)})


def read_card(raw: bytes) -> Card:
    """Raises ModelFileError where `raw` is not, byte for byte, what `to_bytes` gave, or says what no card may."""
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{CARD_FILE} is not JSON (truncated or altered)") from error
    if not isinstance(content, dict) or "format" not in content:
        raise ModelFileError(f"{CARD_FILE} is not a model's card")
    if content["format"] != FORMAT or isinstance(content["format"], bool):
        by = content.get("versions")
        maker = f", of optlstm {by['optlstm']}" if isinstance(by, dict) and "optlstm" in by else ""
        raise ModelFileError(
            f"{CARD_FILE} has format {str(content['format'])[:20]}{maker}; this optlstm reads format {FORMAT}"
        )
    claimed = content.pop("sha256", None)
    try:
        altered = _sum(content) != claimed or _text({**content, "sha256": claimed}) != raw
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
        raise ModelFileError(f"{CARD_FILE} says what no card says: {where}: {first['msg'][:200]}") from error


def _sum(content: dict[str, Any]) -> str:
    return hashlib.sha256(_text(content)).hexdigest()


def _text(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
