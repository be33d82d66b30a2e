"""Optuna's tables, and the statements of every event, on the connection of its transaction.

Optuna's object mapper makes an object of every value, which would be most of the cost of a report.
"""

from __future__ import annotations

import functools
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import Column, Connection, Insert, Table, Update, bindparam, insert, select, update
from sqlalchemy.orm import Session

from optlstm.study.database import attributes

STUDIES: Table = models.StudyModel.__table__
DIRECTIONS: Table = models.StudyDirectionModel.__table__
TRIALS: Table = models.TrialModel.__table__
VALUES: Table = models.TrialValueModel.__table__
STEPS: Table = models.TrialIntermediateValueModel.__table__
PARAMS: Table = models.TrialParamModel.__table__
TRIAL_SYSTEM: Table = models.TrialSystemAttributeModel.__table__
TRIAL_USER: Table = models.TrialUserAttributeModel.__table__
STUDY_USER: Table = models.StudyUserAttributeModel.__table__
STUDY_SYSTEM: Table = models.StudySystemAttributeModel.__table__

_FINITE = models.TrialIntermediateValueModel.TrialIntermediateValueType.FINITE

_STATE_AND_ATTR = (
    select(TRIALS.c.state, TRIAL_SYSTEM.c.value_json)
    .select_from(
        TRIALS.outerjoin(
            TRIAL_SYSTEM,
            (TRIAL_SYSTEM.c.trial_id == TRIALS.c.trial_id) & (TRIAL_SYSTEM.c.key == bindparam("name")),
        )
    )
    .where(TRIALS.c.trial_id == bindparam("trial"))
)


def state_and_attr(connection: Connection, trial_id: int, key: str) -> tuple[TrialState, Any]:
    """A trial's state, and one of its system attributes (None where it has none)."""
    state, stored = connection.execute(_STATE_AND_ATTR, {"trial": trial_id, "name": key}).one()
    return state, None if stored is None else attributes.read(stored, "a trial", key, attributes.TRIAL_SYSTEM)


_RUNNING_WITH = (
    select(TRIALS.c.trial_id)
    .join(TRIAL_SYSTEM, TRIAL_SYSTEM.c.trial_id == TRIALS.c.trial_id)
    .where(TRIALS.c.trial_id >= bindparam("first"), TRIALS.c.state == TrialState.RUNNING)
    .where(TRIAL_SYSTEM.c.key == bindparam("name"), TRIAL_SYSTEM.c.value_json.contains(bindparam("text")))
)


def running_with(connection: Connection, first_id: int, key: str, text: str) -> set[int]:
    """The ids, from one on, of running trials whose system attribute has a text in it."""
    return set(connection.scalars(_RUNNING_WITH, {"first": first_id, "name": key, "text": text}).all())


def insert_value(connection: Connection, trial_id: int, step: int, value: float) -> None:
    """A finite intermediate value of a step that has none.

    Raises:
        IntegrityError: The step has one.
    """
    row = {"trial_id": trial_id, "step": step, "intermediate_value": value, "intermediate_value_type": _FINITE}
    connection.execute(_insert_into(STEPS), row)


def insert_param(
    connection: Connection, trial_id: int, name: str, value: float, distribution: BaseDistribution
) -> None:
    """A param of a new trial, in its distribution's internal representation."""
    stored = distribution_to_json(distribution)
    row = {"trial_id": trial_id, "param_name": name, "param_value": value, "distribution_json": stored}
    connection.execute(_insert_into(PARAMS), row)


def put_attr(connection: Connection, table: Table, owner_id: int, key: str, stored: str) -> None:
    """Set an attribute of a trial or a study, its value as JSON."""
    if connection.execute(_update_of(table), {"owner": owner_id, "name": key, "stored": stored}).rowcount == 0:
        row = {_owner_of(table).name: owner_id, "key": key, "value_json": stored}
        connection.execute(_insert_into(table), row)


def study_attrs(connection: Connection | Session, table: Table, study_id: int) -> dict[str, Any]:
    """A study's user or system attributes. Raises InputError where one holds what nobody writes."""
    rows = connection.execute(select(table.c.key, table.c.value_json).where(table.c.study_id == study_id))
    return {key: study_attr(table, key, stored) for key, stored in rows}


def study_attr(table: Table, key: str, stored: str) -> Any:
    if table is STUDY_USER:
        return attributes.read(stored, "the study", key, attributes.STUDY_USER)
    return attributes.read(stored, "the study", key, attributes.STUDY_SYSTEM, attributes.STUDY_SYSTEM_BEGINS)


def has_newer(connection: Connection, study_id: int, trial_id: int) -> bool:
    """Whether a study has trials with a greater id."""
    newer = select(TRIALS.c.trial_id).where(TRIALS.c.study_id == study_id, TRIALS.c.trial_id > trial_id)
    return connection.execute(newer.limit(1)).first() is not None


def lock_study(connection: Connection, study_id: int) -> None:
    """Let no other transaction that locks this study begin its work until this one ends. SQLite's do so already."""
    if connection.dialect.name != "sqlite":
        connection.execute(select(STUDIES.c.study_id).where(STUDIES.c.study_id == study_id).with_for_update())


# A statement that is made once is compiled once, and SQLAlchemy need not look whether it has it.


@functools.cache
def _insert_into(table: Table) -> Insert:
    return insert(table)


@functools.cache
def _update_of(table: Table) -> Update:
    """Of one attribute."""
    wanted = (_owner_of(table) == bindparam("owner"), table.c.key == bindparam("name"))
    return update(table).where(*wanted).values(value_json=bindparam("stored"))


def _owner_of(table: Table) -> Column[Any]:
    return table.c.trial_id if "trial_id" in table.c else table.c.study_id
