"""Studies are read as plain rows: what Optuna's own storage reads, to the last attribute."""

from __future__ import annotations

import math

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from optlstm.study.database.connection import Database

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


@pytest.mark.parametrize("kind", ["own_sqlite", "own_postgresql"])
def test_many_trials_are_read_as_optuna_reads_them(kind: str, name: str, request: pytest.FixtureRequest) -> None:
    database: Database = request.getfixturevalue(kind)
    study_id = every_kind_of_trial(database.rdb, name)
    theirs = RDBStorage(database.rdb.engine.url.render_as_string(hide_password=False))
    everything = theirs.get_all_trials(study_id)
    ids = [trial._trial_id for trial in everything]
    ended = (TrialState.COMPLETE, TrialState.PRUNED)

    assert repr(database.rdb.get_all_trials(study_id)) == repr(everything)  # a NaN equals nothing, but for its name
    assert [t.number for t in database.rdb.get_all_trials(study_id, states=ended)] == [0, 1, 3, 4]
    for known in (set(ids[1:3]), set(ids), set()):
        some = database.rdb._get_trials(study_id, None, known, ids[3])
        assert repr(some) == repr(theirs._get_trials(study_id, None, known, ids[3]))
    theirs.remove_session()
    theirs.engine.dispose()
