"""The statements that every report makes, on Optuna's tables and without its object mapper, most of their cost.

What they write is what Optuna's storage writes; anyone may read it with Optuna.
"""

from __future__ import annotations

import json
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import Connection, Table, bindparam, insert, select, update

_TRIALS: Table = models.TrialModel.__table__
_VALUES: Table = models.TrialIntermediateValueModel.__table__
_FINITE = models.TrialIntermediateValueModel.TrialIntermediateValueType.FINITE
_PARAMS: Table = models.TrialParamModel.__table__
TRIAL_SYSTEM: Table = models.TrialSystemAttributeModel.__table__
TRIAL_USER: Table = models.TrialUserAttributeModel.__table__
STUDY_USER: Table = models.StudyUserAttributeModel.__table__
STUDY_SYSTEM: Table = models.StudySystemAttributeModel.__table__

_ATTR_OF_RUNNING = (
    select(_TRIALS.c.state, TRIAL_SYSTEM.c.value_json)
    .select_from(
        _TRIALS.outerjoin(
            TRIAL_SYSTEM,
            (TRIAL_SYSTEM.c.trial_id == _TRIALS.c.trial_id) & (TRIAL_SYSTEM.c.key == bindparam("name")),
        )
    )
    .where(_TRIALS.c.trial_id == bindparam("trial"))
)
_NEWER = select(_TRIALS.c.trial_id).where(
    _TRIALS.c.study_id == bindparam("study"), _TRIALS.c.trial_id > bindparam("after")
)
_INSERT_VALUE = insert(_VALUES)
_INSERT_PARAM = insert(_PARAMS)


def state_and_attr(connection: Connection, trial_id: int, key: str) -> tuple[TrialState, Any]:
    """A trial's state, and one of its system attributes (None where it has none)."""
    state, stored = connection.execute(_ATTR_OF_RUNNING, {"trial": trial_id, "name": key}).one()
    return state, None if stored is None else json.loads(stored)


def insert_value(connection: Connection, trial_id: int, step: int, value: float) -> None:
    """A finite intermediate value of a step that has none.

    Raises:
        IntegrityError: The step has one.
    """
    row = {"trial_id": trial_id, "step": step, "intermediate_value": value, "intermediate_value_type": _FINITE}
    connection.execute(_INSERT_VALUE, row)


def insert_param(
    connection: Connection, trial_id: int, name: str, value: float, distribution: BaseDistribution
) -> None:
    """A param of a new trial, as its distribution represents it inside."""
    kind = distribution_to_json(distribution)
    row = {"trial_id": trial_id, "param_name": name, "param_value": value, "distribution_json": kind}
    connection.execute(_INSERT_PARAM, row)


def put_attr(connection: Connection, table: Table, of: int, key: str, stored: str) -> None:
    """Set an attribute of a trial or a study, its value as JSON."""
    owner = table.c.trial_id if "trial_id" in table.c else table.c.study_id
    found = update(table).where(owner == of, table.c.key == key).values(value_json=stored)
    if connection.execute(found).rowcount == 0:
        connection.execute(insert(table), {owner.name: of, "key": key, "value_json": stored})


def study_attrs(connection: Connection, table: Table, study_id: int) -> dict[str, Any]:
    """A study's user or system attributes."""
    rows = connection.execute(select(table.c.key, table.c.value_json).where(table.c.study_id == study_id))
    return {key: json.loads(stored) for key, stored in rows}


def has_newer(connection: Connection, study_id: int, trial_id: int) -> bool:
    """Whether a study has trials behind this id."""
    return connection.execute(_NEWER.limit(1), {"study": study_id, "after": trial_id}).first() is not None
