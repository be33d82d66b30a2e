"""A new study that starts from a model: its networks' params are tried first, on files such as it reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optlstm.config.sources import layer
from optlstm.errors import InputError
from optlstm.run.study_config import FROM_MODEL, with_stored_config
from optlstm.study.database.connection import Database
from optlstm.study.results import find_study
from optlstm.tasks.forecast.losses import has_quantiles
from optlstm.util.user_code import Stored

if TYPE_CHECKING:
    from optlstm.models.card import Card
    from optlstm.tasks.forecast.losses import HeadSpec

# Keys of `data` that say what a file's columns are and what is made of them, by the part of the card that has them.
# How the rows are split, and how many of them an epoch has, is not taken over.
_OF_SECTION = (
    *("label", "text", "series", "time", "time_format", "horizon", "scaling", "sort", "repeated", "resample"),
    *("resample_sum", "gaps", "per_step", "causal", "level", "lowercase", "max_tokens"),
)
_OF_DATA = (
    *("past", "future", "static", "categorical", "calendar", "short", "season", "quantiles", "positive", "cap"),
    *("every", "class_weights", "vocabulary", "min_count"),
)


def with_start(
    database: Database | None, name: str, raw: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Stored]]:
    """`with_stored_config`, where a new study may start from a model too.

    Raises:
        InputError: As that; or the model cannot be read, or is not of this search.
    """
    if raw.get(FROM_MODEL) is not None:
        folder = str(Path(str(raw[FROM_MODEL])).expanduser())  # `model/` is `model`
        raw = {**raw, FROM_MODEL: folder}
        if find_study(database, name) is None:
            raw = layer(_config_from_model(folder, raw), raw)
    return with_stored_config(database, name, raw)


def _config_from_model(folder: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a study that starts from the model in a folder.

    Args:
        raw: What is given, and wins.

    Raises:
        InputError: The study cannot start from it.
    """
    from optlstm.models.folder import card_of  # it brings torch

    card = card_of(Path(folder))
    if problems := _problems(folder, card, raw):
        raise InputError(problems)
    head, params = _head(card), [{**trained.params, **trained.custom} for trained in card.trials]
    given = raw.get("enqueue")
    if given is not None and given != params:  # a report's command gives both
        raise InputError(f"enqueue: the params of model {folder} are tried first; leave it or --from-model out")
    return {
        "task": card.task.kind,
        "data": data_settings(card),
        "training": {} if head is None else {"loss": head.loss},
        "enqueue": params,
    }


def _problems(folder: str, card: Card, raw: Mapping[str, Any]) -> list[str]:
    """Why this search cannot start from the model."""
    data, model = raw.get("data"), raw.get("model")
    if raw.get("objective") is not None:
        return [f"from_model: model {folder} is of task {card.task.kind}, and this study has a custom objective"]
    problems = []
    if raw.get("task", card.task.kind) != card.task.kind:
        problems.append(f"task: model {folder} is of task {card.task.kind}, not {raw['task']!r}; leave --task out")
    if not isinstance(data, Mapping) or not data.get("path"):
        problems.append("data: a model holds no data; name the file to search on with --data FILE")
    if card.factory is not None and not (isinstance(model, Mapping) and model.get("factory")):
        problems.append(
            f"model.factory: the networks of model {folder} are made by {card.factory!r}, which is imported when you "
            f"name it: --set model.factory={card.factory}"
        )
    return problems


def _head(card: Card) -> HeadSpec | None:
    """What the networks' numbers are; None: scores of classes, or several labels."""
    part: Any = card.task if card.task.kind == "forecast" else card.task.labels
    return getattr(part, "head", None)


def data_settings(card: Card) -> dict[str, Any]:
    """The `data` section of a study on a file such as the model reads."""
    section, head = card.task.model_dump(mode="json"), _head(card)
    data = {key: section[key] for key in _OF_SECTION if key in section}
    data |= {key: card.data[key] for key in _OF_DATA if key in card.data}
    data |= {key: value for key, value in section["form"].items() if key != "usual_decimal"}
    if card.task.kind == "forecast":
        data["target"] = section["columns"]
    else:
        kind = "classes" if card.task.classes else card.data.get("kind")
        data |= {"kind": kind} if kind != "several" else {}
    if section.get("series") and card.task.kind == "sequence":
        data["channels"] = section["columns"]
    if head is None or not has_quantiles(head.loss, ()):
        data.pop("quantiles", None)
    return {key: value for key, value in data.items() if value not in (None, [])}
