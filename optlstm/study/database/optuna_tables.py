"""Whole studies of Optuna's tables, read and written at once.

Optuna's object mapper makes an object of every value: milliseconds for every trial that is read or written. What is
written here is what Optuna's storage would write; any Optuna program may read it.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Container, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import ColumnElement, Connection, Table, insert, inspect, or_, select
from sqlalchemy.orm import Session

from optlstm.errors import InputError, named
from optlstm.study.database import attributes
from optlstm.study.database.statements import (
    DIRECTIONS,
    PARAMS,
    STEPS,
    STUDIES,
    STUDY_SYSTEM,
    STUDY_USER,
    TRIAL_SYSTEM,
    TRIAL_USER,
    TRIALS,
    VALUES,
    study_attr,
    study_attrs,
)
from optlstm.study.record import RECORD_KEY

_MOST_IDS = 500  # in one statement; databases have a limit


def are_in(connection: Connection) -> bool:
    """Whether a database has these tables."""
    return inspect(connection).has_table(STUDIES.name)


# -- many trials read -------------------------------------------------------------------------------------------------


class StudyStorage(RDBStorage):
    """Optuna's storage, which reads many trials in a tenth of the time, and checks attributes as it reads them."""

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._study_attrs(STUDY_USER, study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._study_attrs(STUDY_SYSTEM, study_id)

    def _study_attrs(self, table: Table, study_id: int) -> dict[str, Any]:
        with _create_scoped_session(self.scoped_session) as session:
            models.StudyModel.find_or_raise_by_id(study_id, session)
            return study_attrs(session, table, study_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        """For lists: an attribute that holds what nobody writes is left out, and its study is listed."""
        with _create_scoped_session(self.scoped_session) as session:
            names = session.execute(select(STUDIES.c.study_id, STUDIES.c.study_name).order_by(STUDIES.c.study_id))
            directions: dict[int, list[StudyDirection]] = {}
            aims = select(DIRECTIONS.c.study_id, DIRECTIONS.c.direction).order_by(DIRECTIONS.c.objective)
            for study_id, direction in session.execute(aims):
                directions.setdefault(study_id, []).append(direction)
            studies = {i: FrozenStudy(name, None, {}, {}, i, directions=directions.get(i, [])) for i, name in names}
            for table in (STUDY_USER, STUDY_SYSTEM):
                for study_id, key, stored in session.execute(select(table.c.study_id, table.c.key, table.c.value_json)):
                    attrs = studies[study_id].user_attrs if table is STUDY_USER else studies[study_id].system_attrs
                    with contextlib.suppress(InputError):
                        attrs[key] = study_attr(table, key, stored)
            return list(studies.values())

    def get_trial(self, trial_id: int) -> FrozenTrial:
        with _create_scoped_session(self.scoped_session) as session:
            trial = models.TrialModel.find_or_raise_by_id(trial_id, session)
            return _read(session, TRIALS.c.trial_id == trial_id, _is_ours(session, int(trial.study_id)))[0]

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        included = {i for i in included_trial_ids if i <= trial_id_greater_than}
        condition: ColumnElement[bool] = TRIALS.c.study_id == study_id
        if trial_id_greater_than > -1:
            newer = TRIALS.c.trial_id > trial_id_greater_than
            among = (
                TRIALS.c.trial_id.in_(included) if len(included) <= _MOST_IDS else TRIALS.c.trial_id >= min(included)
            )
            condition &= or_(newer, among) if included else newer
        with _create_scoped_session(self.scoped_session) as session:
            models.StudyModel.find_or_raise_by_id(study_id, session)
            trials = _read(session, condition, _is_ours(session, study_id))
        return [
            trial
            for trial in trials
            if (states is None or trial.state in states)
            and (trial._trial_id > trial_id_greater_than or trial._trial_id in included)
        ]


def _is_ours(session: Session, study_id: int) -> bool:
    """Whether optlstm made the study."""
    made = select(STUDY_USER.c.key).where(STUDY_USER.c.study_id == study_id, STUDY_USER.c.key == RECORD_KEY)
    return session.execute(made).first() is not None


def _read(session: Session, condition: ColumnElement[bool], ours: bool) -> list[FrozenTrial]:
    """The trials that are wanted, by id, with all that belongs to them.

    Args:
        ours: Whether optlstm made their study: another program's user attributes mean what that program likes.

    Raises:
        InputError: One holds what nobody writes.
    """
    trials = {trial._trial_id: trial for trial in _read_trials(session, condition)}

    def rows(table: Table, *names: str) -> Iterator[tuple[FrozenTrial, Any]]:
        belongs = table.c.trial_id.in_(select(TRIALS.c.trial_id).where(condition))
        query = select(table.c.trial_id, *(table.c[name] for name in names)).where(belongs)
        for trial_id, *values in session.execute(query.order_by(*table.primary_key.columns)):
            if trial_id in trials:  # else made since
                yield trials[trial_id], values

    distributions: dict[str, BaseDistribution] = {}
    for trial, (name, value, stored) in rows(PARAMS, "param_name", "param_value", "distribution_json"):
        try:
            if stored not in distributions:
                distributions[stored] = json_to_distribution(stored)
            trial._params[name] = distributions[stored].to_external_repr(value)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            raise attributes.refusal(f"trial {trial.number}", f"param {name}", named(error)) from error
        trial._distributions[name] = distributions[stored]
    to_value = models.TrialValueModel.stored_repr_to_value
    for trial, (objective, value, kind) in rows(VALUES, "objective", "value", "value_type"):
        known = trial._values = trial._values or []
        known.extend([0.0] * (objective + 1 - len(known)))
        known[objective] = to_value(value, kind)
    to_intermediate = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value
    for trial, (step, value, kind) in rows(STEPS, "step", "intermediate_value", "intermediate_value_type"):
        trial.intermediate_values[_whole(step, f"trial {trial.number}", "step")] = to_intermediate(value, kind)
    user, system = attributes.TRIAL_USER if ours else {}, attributes.TRIAL_SYSTEM
    for trial, (key, stored) in rows(TRIAL_USER, "key", "value_json"):
        trial._user_attrs[key] = attributes.read(stored, f"trial {trial.number}", key, user)
    for trial, (key, stored) in rows(TRIAL_SYSTEM, "key", "value_json"):
        subject = f"trial {trial.number}"
        trial._system_attrs[key] = attributes.read(stored, subject, key, system, attributes.TRIAL_SYSTEM_BEGINS)
    for trial in trials.values() if ours else ():
        attributes.check_lineage(f"trial {trial.number}", trial.number, trial._user_attrs)
    return list(trials.values())


def _read_trials(session: Session, condition: ColumnElement[bool]) -> Iterator[FrozenTrial]:
    """What the trials' own rows hold, by id."""
    columns = ("trial_id", "number", "state", "datetime_start", "datetime_complete")
    query = select(*(TRIALS.c[name] for name in columns)).where(condition).order_by(TRIALS.c.trial_id)
    for trial_id, number, state, start, complete in session.execute(query):
        yield FrozenTrial(
            number=_whole(number, "a trial", "number", least=0),
            state=state,
            value=None,
            datetime_start=_to_local(start),
            datetime_complete=_to_local(complete),
            params={},
            distributions={},
            user_attrs={},
            system_attrs={},
            intermediate_values={},
            trial_id=trial_id,
        )


def _whole(value: Any, subject: str, name: str, least: float = -math.inf) -> int:
    """SQLite keeps what it is given, whatever a column's type."""
    if not isinstance(value, int) or value < least:
        raise attributes.refusal(subject, name, f"{value!r:.80} is no whole number")
    return value


# -- many trials written ----------------------------------------------------------------------------------------------


def write_trials(connection: Connection, study_id: int, trials: Sequence[FrozenTrial]) -> list[int]:
    """Write trials to a study that has none; they are numbered in the order given.

    Returns:
        Their ids there, in the same order.
    """
    if not trials:
        return []
    trial_rows = [
        {
            "study_id": study_id,
            "number": number,
            "state": trial.state,
            "datetime_start": _to_utc(trial.datetime_start),
            "datetime_complete": _to_utc(trial.datetime_complete),
        }
        for number, trial in enumerate(trials)
    ]
    connection.execute(insert(TRIALS), trial_rows)
    written = select(TRIALS.c.trial_id).where(TRIALS.c.study_id == study_id).order_by(TRIALS.c.number)
    ids = list(connection.scalars(written))
    rows: dict[Table, list[dict[str, Any]]] = {}
    for trial_id, trial in zip(ids, trials, strict=True):
        for table, row in _rows_of(trial):
            rows.setdefault(table, []).append({"trial_id": trial_id, **row})
    for table, table_rows in rows.items():
        connection.execute(insert(table), table_rows)
    return ids


def _rows_of(trial: FrozenTrial) -> Iterator[tuple[Table, dict[str, Any]]]:
    """The rows that belong to a trial, beside the one in the table of trials; without its id."""
    for objective, value in enumerate(trial.values or ()):
        stored, kind = models.TrialValueModel.value_to_stored_repr(value)
        yield VALUES, {"objective": objective, "value": stored, "value_type": kind}
    for name, value in trial.params.items():
        distribution = trial.distributions[name]
        internal, declared = distribution.to_internal_repr(value), distribution_to_json(distribution)
        yield PARAMS, {"param_name": name, "param_value": internal, "distribution_json": declared}
    for table, attrs in ((TRIAL_USER, trial.user_attrs), (TRIAL_SYSTEM, trial.system_attrs)):
        for key, value in attrs.items():
            yield table, {"key": key, "value_json": json.dumps(value)}
    for step, value in trial.intermediate_values.items():
        stored, step_kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
        yield STEPS, {"step": step, "intermediate_value": stored, "intermediate_value_type": step_kind}


# Optuna keeps UTC and shows local time, neither with a zone.


def _to_local(stored: datetime | None) -> datetime | None:
    return None if stored is None else stored.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


def _to_utc(local: datetime | None) -> datetime | None:
    return None if local is None else local.astimezone(UTC).replace(tzinfo=None)
