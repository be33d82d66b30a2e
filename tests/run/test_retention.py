"""Which checkpoints are removed, where several drivers share a study."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from optlstm.run.retention import outdated, study_folder, sweep
from optlstm.study.database.connection import Database, open_database
from optlstm.study.ledger import Ledger
from optlstm.study.results import StudyResults
from optlstm.util.files import open_folder, trial_folder, trial_name
from tests.study.helpers import assigned, record


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/study.db"
    return str(request.getfixturevalue("postgresql_url"))


def opened(url: str, name: str) -> tuple[Database, Ledger]:
    database = open_database(url)
    return database, Ledger(database, name, record())


@pytest.mark.parametrize("remote", [False, True], ids=["path", "URL"])
def test_a_driver_removes_nothing_that_another_needs(url: str, remote: bool, tmp_path: Path) -> None:
    checkpoints = f"file://{tmp_path}/kept-{remote}" if remote else tmp_path / "kept"
    (database, ledger), (other_database, other) = opened(url, f"remote {remote}"), opened(url, f"remote {remote}")
    for study, value in ((ledger, 3.0), (other, 1.0), (other, 2.0), (other, None)):
        number = assigned(study).number
        open_folder(trial_folder(checkpoints, number)).write("weights", b"...")
        if value is not None:
            study.complete(number, value, {})
    open_folder(trial_folder(checkpoints, 99)).write("weights", b"of a trial that begins just now")

    sweep(checkpoints, ledger, keep=2)

    left = open_folder(checkpoints).names()
    assert left == {trial_name(n) for n in (1, 2, 3, 99)}
    database.close()
    other_database.close()


def test_weights_stay_until_the_copy_that_is_made_of_them_has_reported() -> None:
    study = optuna.create_study()
    study.add_trial(create_trial(state=TrialState.PRUNED, intermediate_values={1: 0.5}))
    study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs={"parent": 0, "from_epoch": 1}))
    before = outdated(StudyResults(study), 0)
    study._storage.set_trial_intermediate_value(1, 2, 0.4)

    assert (before, outdated(StudyResults(study), 0)) == (set(), {0})


def test_a_long_name_has_a_folder(tmp_path: Path) -> None:
    folder = Path(study_folder(tmp_path, "x" * 300, "0123456789"))
    folder.mkdir()  # no file system takes a name of 300 characters
    assert folder.name.endswith("x-01234567")
