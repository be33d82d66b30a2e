"""Attributes of studies and trials as they are read: anyone who may write to a database decides what stands there.

Each attribute that something here or in Optuna computes with has its type in this file, and is refused where it holds
something else. Others are shown, and nothing more.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from annotated_types import Ge, Lt
from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, TypeAdapter, ValidationError

from optlstm.errors import InputError
from optlstm.study.record import (
    BUDGET_KEY,
    CONFIG_KEY,
    ENVIRONMENT_KEY,
    FOLDER_KEY,
    METRIC_NAMES_KEY,
    MODEL_KEY,
    NODES_KEY,
    NOTES_KEY,
    PLANNED_KEY,
    REASON_KEY,
    RECORD_KEY,
    STOPPED_KEY,
    UID_KEY,
)
from optlstm.study.registry import in_words

MAX_DEPTH = 64  # of nested lists and tables; Python's own limit is met at some hundreds
Whole = Annotated[int, Ge(0), Lt(1 << 53)]
Number = StrictInt | StrictFloat
Begins = Sequence[tuple[str, Any]]
Scalar = bool | int | float | str | None


class _Table(BaseModel):
    """Keys that are not named here are no more than shown, or checked where they are used."""

    model_config = ConfigDict(extra="allow", strict=True)


class _Named(_Table):
    name: str


class _Rungs(_Named):
    grace_period: Annotated[int, Ge(1)] | None = None
    reduction_factor: Annotated[int, Ge(2), Lt(1 << 20)] | None = None


class _Entry(_Table):
    low: Number | None = None
    high: Number | None = None
    step: Number | None = None
    choices: list[Scalar] | None = None
    when: dict[str, list[Scalar]] | None = None


class _Training(_Table):
    epochs: Whole | None = None
    metric: str | None = None


class _Data(_Table):
    target: list[str] | None = None
    classes: list[Scalar] | None = None
    kind: str | None = None
    splits: list[Whole] | None = None
    horizon: Whole | None = None
    rows: Whole | None = None
    texts: Whole | None = None
    sequences: Whole | None = None
    windows: Whole | None = None
    folds: Whole | None = None
    overlapping: bool | None = None
    time_format: str | None = None
    epoch_steps: Annotated[int, Ge(1), Lt(1 << 53)] | None = None
    season: Annotated[int, Ge(1), Lt(1 << 53)] | None = None
    fingerprint: str | None = None


class _Objective(_Table):
    file: str
    fingerprint: str


class _Record(_Table):
    seed: int
    sampler: _Named
    pruner: _Rungs
    space: dict[str, _Entry | Scalar | list[Scalar]]
    task: str | None = None
    scheduler: _Named | None = None
    training: _Training | None = None
    data: _Data | None = None
    objective: _Objective | None = None
    objectives: dict[str, str] | None = None
    constraints: dict[str, Number] | None = None


class _Code(_Table):
    factory: str | None = None
    explore: str | None = None


class _Files(_Table):
    path: str | None = None
    validation_path: str | None = None
    test_path: str | None = None
    vectors: str | None = None


class _Config(_Table):
    """The rest is checked as any config is, by the commands that use it."""

    keep: Whole | None = None
    trials: Whole | None = None
    top: Whole | None = None
    scheduler: str | None = None
    objective: str | None = None
    promote: str | None = None
    narrow_from: str | None = None
    import_from: str | None = None
    from_model: str | None = None
    sampler: _Named | None = None
    pruner: _Named | None = None
    space: dict[str, Any] | None = None
    training: dict[str, Any] | None = None
    tracking: dict[str, Any] | None = None
    data: _Files | None = None
    model: _Code | None = None
    pbt: _Code | None = None


class _Owner(_Table):
    host: str
    pid: Annotated[int, Ge(1), Lt(1 << 31)]
    started: Number
    token: str


class _Lease(_Table):
    owner: _Owner
    expires: Number
    released: Number = 0.0


class _Made(_Table):
    """The last model alone, as the first versions noted it."""

    seconds: Number
    sha256: str


STUDY_USER: dict[str, Any] = {
    RECORD_KEY: _Record,
    CONFIG_KEY: _Config,
    UID_KEY: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")],
    FOLDER_KEY: str,
    ENVIRONMENT_KEY: dict[str, Scalar],
    NOTES_KEY: list[str],
    STOPPED_KEY: str | None,
    "optlstm:generation": Whole,
    "optlstm:forgiven": Whole,
    BUDGET_KEY: Annotated[Number, Ge(0)],
    PLANNED_KEY: Annotated[Number, Ge(0)],
    MODEL_KEY: _Made | dict[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")], Number],
}
STUDY_SYSTEM: dict[str, Any] = {METRIC_NAMES_KEY: list[str], "dashboard:note_ver": Whole}
# Of the trials of our own studies; those of other programs may mean something else.
TRIAL_USER: dict[str, Any] = {
    REASON_KEY: str,
    "traceback": str,
    "failure": str,
    "infeasible": bool,
    "imported_from": str,
    "member": Whole,
    "parent": Whole,
    "replaces": Whole,
    "from_epoch": Whole,
}
TRIAL_SYSTEM: dict[str, Any] = {
    "optlstm:lease": _Lease,
    NODES_KEY: list[str],
    "fixed_params": dict[str, Scalar],
    "constraints": list[Number],
    "grid_id": Whole,
    "search_space": dict[str, list[Scalar]],
    "x_for_tell": list[Number],
}
# Of Optuna's samplers and pruners, and of its dashboard: by the beginning of the key.
STUDY_SYSTEM_BEGINS: Begins = (
    ("qmc:", Whole),
    ("NSGAIISampler:parent:", list[Whole]),
    ("NSGAIIISampler:parent:", list[Whole]),
    ("dashboard:note_str:", str),
    ("dashboard:artifacts:", str),
)
TRIAL_SYSTEM_BEGINS: Begins = (
    ("completed_rung_", float),
    ("constraints:", Number),
    ("cma:optimizer", str),
    ("sepcma:optimizer", str),
    ("cmawm:optimizer", str),
    ("cma:generation", Whole),
    ("sepcma:generation", Whole),
    ("cmawm:generation", Whole),
    ("NSGAIISampler:generation", Whole),
    ("NSGAIIISampler:generation", Whole),
    ("tpe:relative_params", str),
    ("gp:relative_params", str),
)


def decode(stored: str, subject: str, key: str) -> Any:
    """The JSON value of an attribute. Raises InputError where it is none, or nested too deep to be one of ours."""
    if stored.count("[") + stored.count("{") > MAX_DEPTH and depth(stored) > MAX_DEPTH:
        raise refusal(subject, key, f"it is nested more than {MAX_DEPTH} deep")
    try:
        return json.loads(stored)
    except (ValueError, RecursionError):
        raise refusal(subject, key, "it is not JSON") from None


def depth(text: str) -> int:
    """How deep the lists and tables of a JSON text are nested."""
    deepest = now = 0
    quoted = escaped = False
    for c in text:
        if quoted:
            quoted = escaped or c != '"'
            escaped = c == "\\" and not escaped
        elif c == '"':
            quoted = True
        elif c in "[{":
            now += 1
            deepest = max(deepest, now)
        elif c in "]}":
            now -= 1
    return deepest


def read(stored: str, subject: str, key: str, types: Mapping[str, Any], begins: Begins = ()) -> Any:
    """The value of an attribute. Raises InputError where it is computed with and of another type, or no JSON."""
    value = decode(stored, subject, key)
    kind = types.get(key) or next((kind for beginning, kind in begins if key.startswith(beginning)), None)
    if kind is not None:
        _check(kind, subject, key, value)
    return value


def problem_of_trial_attr(key: str, stored: str) -> str | None:
    """Why a trial's user attribute could not be read again once it is written; None where it can."""
    try:
        read(stored, "", key, TRIAL_USER)
    except InputError as error:
        return str(error).partition("writes: ")[2].partition("; restore")[0]
    return None


def check_lineage(subject: str, number: int, attrs: Mapping[str, Any]) -> None:
    """Raises InputError where a trial of a population descends from none that can have been before it."""
    if "parent" in attrs and not (attrs["parent"] < number and attrs.keys() >= {"member", "from_epoch"}):
        raise refusal(subject, "parent", f"trial {number} cannot be a copy of trial {attrs['parent']}")


def _check(kind: Any, subject: str, key: str, value: Any) -> None:
    try:
        _adapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"][:2])
        problem = in_words([e for e in error.errors() if e["loc"] == error.errors()[0]["loc"]])
        raise refusal(subject, key, f"{where + ' ' if where else ''}{problem}") from None


def refusal(subject: str, key: str, problem: str) -> InputError:
    return InputError(
        f"storage: {subject}: attribute {key!r:.80} is not what optlstm or Optuna writes: {problem:.200}; restore it"
        " from a copy, or delete the study"
    )


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
