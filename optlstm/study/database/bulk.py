"""A whole study's trials written at once, into Optuna's tables: one by one, 10,000 trials take it minutes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from sqlalchemy import insert

from optlstm.study.database.connection import Database


def write_trials(database: Database, study_id: int, trials: Sequence[FrozenTrial]) -> list[int]:
    """Write trials, in the order of their numbers, to a study that has none. Inside a transaction.

    Returns:
        Their ids there, in the same order.
    """
    session = database.rdb.scoped_session()
    added = [
        models.TrialModel(
            study_id=study_id,
            number=trial.number,
            state=trial.state,
            datetime_start=trial.datetime_start,
            datetime_complete=trial.datetime_complete,
        )
        for trial in trials
    ]
    session.add_all(added)
    session.flush()
    ids = [int(model.trial_id) for model in added]
    for model, rows in _rows(ids, trials).items():
        if rows:
            session.execute(insert(model.__table__), rows)
    session.commit()
    return ids


def _rows(ids: Iterable[int], trials: Iterable[FrozenTrial]) -> dict[Any, list[dict[str, Any]]]:
    """What belongs to trials, as rows of each table."""
    values, steps, params, user, system = tables = tuple(list[dict[str, Any]]() for _ in range(5))
    for trial_id, trial in zip(ids, trials, strict=True):
        of = {"trial_id": trial_id}
        for objective, value in enumerate(trial.values or ()):
            stored, kind = models.TrialValueModel.value_to_stored_repr(value)
            values.append({**of, "objective": objective, "value": stored, "value_type": kind})
        for step, value in trial.intermediate_values.items():
            stored, sort = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
            steps.append({**of, "step": step, "intermediate_value": stored, "intermediate_value_type": sort})
        for name, value in trial.params.items():
            distribution = trial.distributions[name]
            inside, declared = distribution.to_internal_repr(value), distribution_to_json(distribution)
            params.append({**of, "param_name": name, "param_value": inside, "distribution_json": declared})
        user += [{**of, "key": key, "value_json": json.dumps(value)} for key, value in trial.user_attrs.items()]
        system += [{**of, "key": key, "value_json": json.dumps(value)} for key, value in trial.system_attrs.items()]
    names = (
        models.TrialValueModel,
        models.TrialIntermediateValueModel,
        models.TrialParamModel,
        models.TrialUserAttributeModel,
        models.TrialSystemAttributeModel,
    )
    return dict(zip(names, tables, strict=True))
