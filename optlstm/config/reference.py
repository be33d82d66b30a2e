"""Every key of a study file with type, default, tasks and meaning, read from the schema."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from optlstm.config.schema import CHOICES, Choice, StudyConfig
from optlstm.tasks.registry import TASKS, task_class
from optlstm.training.hparams import FACETS, MEANINGS, Facets, used_by
from optlstm.util.toml_text import toml

_KINDS: dict[Any, str] = {str: "text", int: "whole number", float: "number", bool: "true or false", dict: "table"}
_BOUNDS = ((Ge, "ge", "≥"), (Gt, "gt", ">"), (Le, "le", "≤"), (Lt, "lt", "<"))


@dataclass(frozen=True)
class Key:
    """A key of a study file.

    Args:
        name: As `--set` takes it.
        default: In TOML; "" where there is none, or where it depends on the data.
        tasks: That read it; empty: all of them.
    """

    name: str
    kind: str
    default: str
    tasks: tuple[str, ...]
    meaning: str

    @property
    def section(self) -> str:
        return self.name.rpartition(".")[0]


def schema_keys() -> Iterator[Key]:
    """The keys of the schema, section by section; those without a section come first."""
    readers = {task: task_class(task).keys for task in TASKS}
    sections: dict[str, Mapping[str, FieldInfo]] = {"": StudyConfig.model_fields}
    for name, field in StudyConfig.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            sections[name] = field.annotation.model_fields
    for section, fields in sections.items():
        for name, field in fields.items():
            if not section and name in sections:
                continue
            tasks = tuple(t for t, keys in readers.items() if name in keys) if section == "data" else ()
            chosen = section in CHOICES  # their only key is `name`; the options are the registry's
            outer = StudyConfig.model_fields[section] if chosen else field
            default = CHOICES[section] if chosen else field.get_default(call_default_factory=True)
            yield Key(
                f"{section}.{name}" if section else name,
                kind_in_words(field.annotation, field.metadata),
                "" if default in (None, {}) else toml(default),
                () if len(tasks) == len(TASKS) else tasks,
                str(outer.description),
            )


def space_keys() -> Iterator[Key]:
    """The hyperparameters: fixed by a value, searched by a table."""
    for name, meaning in MEANINGS.items():
        facets, tasks = FACETS[name], tuple(task for task in TASKS if name in used_by(task))
        default = used_by(tasks[0])[name]
        yield Key(
            f"space.{name}", _of_facets(facets), toml(default), () if len(tasks) == len(TASKS) else tasks, meaning
        )


def kind_in_words(annotation: Any, metadata: Any = ()) -> str:
    """`whole number ≥ 1`, `"local" or "ray"`, `list of text`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        words = kind_in_words(arguments[0], _flat(arguments[1:]))
    elif origin is Literal:
        words = " or ".join(json.dumps(value) for value in arguments)
    elif origin in (Union, types.UnionType):
        words = " or ".join(kind_in_words(part) for part in arguments if part is not type(None))
    elif origin is tuple:
        items = [kind_in_words(part) for part in arguments if part is not Ellipsis]
        words = f"list of {items[0]}" if Ellipsis in arguments else f"list of {len(items)}: {items[0]}"
    elif origin is dict:
        words = _KINDS[dict]
    elif annotation is Choice:
        words = "table with a name"
    else:
        words = _KINDS[annotation]
    bounds = [f"{sign} {getattr(entry, at)}" for kind, at, sign in _BOUNDS for entry in metadata if type(entry) is kind]
    return " ".join([words, ", ".join(bounds)]).rstrip()


def _flat(metadata: Any) -> list[Any]:
    return [entry for part in metadata for entry in (part.metadata if isinstance(part, FieldInfo) else [part])]


def _of_facets(facets: Facets) -> str:
    if facets.kind is str:
        return " or ".join(json.dumps(choice) for choice in facets.choices)
    ends = ((facets.least, Ge), (facets.above, Gt), (facets.most, Le), (facets.below, Lt))
    words = kind_in_words(facets.kind, [end(bound) for bound, end in ends if bound is not None])
    return " or ".join([words, *(json.dumps(choice) for choice in facets.choices)])
