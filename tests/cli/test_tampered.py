"""A database that someone has written to: nothing is run, reached or written elsewhere, and no traceback is shown.

`python -m tests.tampering` has every attribute, value and command; here are a few of each.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests import tampering
from tests.conftest import Cli
from tests.tampering import Watch, attributes, inside, prepare, put, run

CASES = [
    ("study_user_attributes", "optlstm:study", "list", ("show", "done")),
    ("study_user_attributes", "optlstm:study", "endless", ("doctor",)),
    ("study_user_attributes", "optlstm:config", "text", ("study", "--name", "done")),
    ("study_user_attributes", "optlstm:config", "number", ("report", "done")),
    ("study_user_attributes", "optlstm:id", "climbing path", ("studies",)),
    ("study_user_attributes", "optlstm:id", "climbing path", ("study", "--name", "done")),
    ("study_user_attributes", "optlstm:folder", "store", ("report", "done")),
    ("study_user_attributes", "optlstm:folder", "table", ("copy", "done", "--to", "sqlite:///copied.db")),
    ("study_system_attributes", "study:metric_names", "number", ("report", "done")),
    ("trial_user_attributes", "reason", "table", ("show", "done")),
    ("trial_user_attributes", "member", "text", ("show", "done", "--lineage")),
    ("trial_user_attributes", "parent", "number", ("schedule", "done", "1")),
    ("trial_user_attributes", "parent", "endless", ("dashboard", "done")),
    ("trial_system_attributes", "completed_rung_0", "text", ("study", "--name", "done", "--trials", "10")),
    ("trial_system_attributes", "cma:optimizer:0", "pickle", ("study", "--name", "done", "--trials", "10")),
    ("trial_system_attributes", "cma:generation", "deep", ("show", "done", "--format", "json")),
]


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tampering")
    prepare(folder, only="done")
    return folder


@pytest.mark.parametrize(("table", "key", "value", "command"), CASES)
def test_an_attribute_that_is_something_else_is_named_in_a_line(
    studies: Path, tmp_path: Path, table: str, key: str, value: str, command: tuple[str, ...]
) -> None:
    folder, watch = tmp_path / "folder", Watch(tmp_path)
    shutil.copytree(studies, folder)
    owner = next((o for s, t, k, o in attributes(folder) if (s, t, k) == ("done", table, key)), None)
    assert owner is not None, "the study has no such attribute"
    put(folder, table, owner, key, tampering.VALUES[value])

    with inside(folder), watch.watching():
        code, err = run(*command)

    assert watch.problems(folder) == []
    assert code in (0, 1, 2)
    assert "Traceback" not in err
    if code == 2:
        (line,) = [line for line in err.splitlines() if "is not what" in line]
        assert key.removesuffix(":0") in line
        assert len(line) < 500


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE trials SET datetime_start = 'yesterday'",
        "UPDATE study_directions SET direction = 'UP'",
        "DELETE FROM study_directions",
        "UPDATE trial_values SET value = NULL",
    ],
)
def test_a_column_that_holds_what_no_study_has_is_said_in_a_line(cached_cli: Cli, cli: Cli, change: str) -> None:
    cached_cli("study", "tiny.toml")
    with closing(sqlite3.connect("runs/optlstm.db")) as database, database:
        database.execute(change)

    for command in (("show", "tiny"), ("doctor",)):
        outcome = cli(*command)
        assert outcome.code == 2
        (line,) = outcome.err.splitlines()
        assert line.startswith("storage: ")
        assert line.endswith("damaged or altered")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE trials SET number = 'abc' WHERE number = 1",
        "UPDATE trials SET number = 1.5 WHERE number = 1",
        "UPDATE trials SET number = -1 WHERE number = 1",
        "UPDATE trial_intermediate_values SET step = 'abc' WHERE step = 1",
    ],
)
def test_a_number_that_is_none_is_a_fault_of_its_study(cached_cli: Cli, cli: Cli, change: str) -> None:
    cached_cli("study", "tiny.toml")
    with closing(sqlite3.connect("runs/optlstm.db")) as database, database:
        database.execute(change)

    (line,) = cli("show", "tiny").lines
    assert "is no whole number; restore it from a copy, or delete the study" in line
    doctor = cli("doctor")
    assert doctor.code == 1
    assert "is no whole number" in doctor.out
