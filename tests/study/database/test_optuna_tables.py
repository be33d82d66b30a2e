"""Studies are read and written as plain rows: what Optuna's own storage reads and writes, to the last attribute."""

from __future__ import annotations

import math
from collections.abc import Sequence

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import select

from optlstm.study.database.connection import Database
from optlstm.study.database.optuna_tables import write_trials

DIRECTIONS = ["minimize", "maximize"]


def every_kind_of_trial(storage: RDBStorage, name: str) -> int:
    """A study with every state, values that are not finite, a conditional param and attributes; gives its id."""
    study = optuna.create_study(storage=storage, study_name=name, directions=DIRECTIONS)
    for number in range(6):
        trial = study.ask()
        if trial.suggest_categorical("optimizer", ["sgd", "adam"]) == "sgd":
            trial.suggest_float("momentum", 0.1, 0.9)
        trial.suggest_int("units", 16, 64, step=16)
        trial.set_user_attr("notes", {"of": [number, None]})
        storage.set_trial_system_attr(trial._trial_id, "host", "here")
        for step, value in enumerate([0.5, math.inf, -math.inf, math.nan][: number + 1], start=1):
            storage.set_trial_intermediate_value(trial._trial_id, step, value)
        if number == 1:
            study.tell(trial, state=TrialState.PRUNED)
        elif number == 2:
            study.tell(trial, state=TrialState.FAIL)
        elif number < 5:
            study.tell(trial, [math.inf if number == 3 else 0.25, -1.5])
    study.enqueue_trial({"optimizer": "adam"})
    return study._study_id


def fields(trials: Sequence[FrozenTrial]) -> list[str]:
    """All fields of each trial as text, since a NaN equals nothing; a database may return the rows of a trial in any
    order."""
    return [
        repr({key: sorted(value.items()) if isinstance(value, dict) else value for key, value in vars(trial).items()})
        for trial in trials
    ]


@pytest.mark.parametrize("kind", ["own_sqlite", "own_postgresql"])
def test_many_trials_are_read_as_optuna_reads_them(kind: str, name: str, request: pytest.FixtureRequest) -> None:
    database: Database = request.getfixturevalue(kind)
    study_id = every_kind_of_trial(database.rdb, name)
    theirs = RDBStorage(database.rdb.engine.url.render_as_string(hide_password=False))
    request.addfinalizer(theirs.engine.dispose)
    request.addfinalizer(theirs.remove_session)
    everything = theirs.get_all_trials(study_id)
    ids = [trial._trial_id for trial in everything]
    ended = (TrialState.COMPLETE, TrialState.PRUNED)

    assert fields(database.rdb.get_all_trials(study_id)) == fields(everything)
    assert [t.number for t in database.rdb.get_all_trials(study_id, states=ended)] == [0, 1, 3, 4]
    for known in (set(ids[1:3]), set(ids), set()):
        some = database.rdb._get_trials(study_id, None, known, ids[3])
        assert fields(some) == fields(theirs._get_trials(study_id, None, known, ids[3]))


def rows_of(database: Database, study_id: int) -> dict[str, list[dict[str, object]]]:
    """Every row of a study's trials by table, in the order they were written; ids are left out, but for its number."""
    tables = {table.name: table for table in models.BaseModel.metadata.sorted_tables if "trial_id" in table.c}
    trials = tables["trials"]
    written: dict[str, list[dict[str, object]]] = {}
    with database.rdb.engine.connect() as connection:
        for name, table in tables.items():
            kept = [c for c in table.c if not c.primary_key and c.name not in ("trial_id", "study_id")]
            query = select(trials.c.number.label("of"), *kept).where(
                trials.c.study_id == study_id, table.c.trial_id == trials.c.trial_id
            )
            rows = connection.execute(query.order_by(trials.c.trial_id, *table.primary_key.columns)).mappings()
            written[name] = [dict(row) for row in rows]
    return written


@pytest.mark.parametrize("kind", ["own_sqlite", "own_postgresql"])
def test_trials_written_at_once_are_the_rows_that_optuna_writes(
    kind: str, name: str, request: pytest.FixtureRequest
) -> None:
    database: Database = request.getfixturevalue(kind)
    trials = database.rdb.get_all_trials(every_kind_of_trial(database.rdb, name))
    directions = [StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE]
    study_ids = [database.rdb.create_new_study(directions, f"{name} {how}") for how in ("one by one", "at once")]
    for trial in trials:
        database.rdb.create_new_trial(study_ids[0], trial)
    with database.transaction():
        ids = write_trials(database.connection, study_ids[1], trials)

    one_by_one, at_once = (rows_of(database, study_id) for study_id in study_ids)
    assert at_once == one_by_one
    assert {table for table, rows in one_by_one.items() if rows} == {
        "trials", "trial_values", "trial_intermediate_values", "trial_params", "trial_user_attributes",
        "trial_system_attributes",
    }  # fmt: skip
    assert ids == [trial._trial_id for trial in database.rdb.get_all_trials(study_ids[1])]
