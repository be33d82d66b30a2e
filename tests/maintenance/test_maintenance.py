"""`doctor` and `copy`: what is wrong is named, what is moved is the same study."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from optlstm.maintenance.doctor import examine
from optlstm.study.database.connection import open_database
from optlstm.study.ledger import Ledger
from optlstm.training.checkpoints import write_checkpoint
from optlstm.util.files import LocalFolder, trial_name
from tests.conftest import URL, Cli, rows
from tests.study.helpers import assigned, record

OTHER = "sqlite:///other.db"
ABANDONING = f"""
import os
from optlstm.study.ledger import Ledger
from optlstm.study.database.connection import open_database
from tests.study.helpers import record
Ledger(open_database({URL!r}), "abandoned", record()).assign(2)
os._exit(7)
"""


def rows_at(url: str, name: str = "tiny") -> list[tuple[Any, ...]]:
    database = open_database(url)
    trials = optuna.load_study(study_name=name, storage=database.rdb).trials
    database.close()
    return [(t.number, t.state.name, t.values, tuple(t.params.items()), t.intermediate_values) for t in trials]


def found(cli: Cli, *arguments: object) -> tuple[int, dict[str, list[str]]]:
    """`doctor`'s exit code, and what it found, by state."""
    outcome = cli("doctor", "--json", *arguments)
    by_state: dict[str, list[str]] = {"ok": [], "note": [], "fault": []}
    for row in json.loads(outcome.out):
        by_state[row["state"]].append(f"{row['what']}: {row['found']}")
    return outcome.code, by_state


def folder_of(name: str) -> Path:
    (path,) = Path("runs").glob(f"{name}-????????")
    return path


def test_a_healthy_study_has_no_fault(cli: Cli, cached_cli: Cli) -> None:
    cached_cli("study", "tiny.toml")

    code, states = found(cli)

    assert (code, states["fault"], states["note"]) == (0, [], [])
    assert "study tiny: 3 trials: 3 complete; weights of 3 kept, all whole" in states["ok"]


def test_an_abandoned_trial_is_named_and_ended(cli: Cli, cached_cli: Cli) -> None:
    cached_cli("study", "tiny.toml")
    cli("study", "tiny.toml", "--trials", 1, "--name", "other")
    database = open_database(URL)
    ledger = Ledger(database, "stopped", record())
    held = ledger.assign(2)
    assert held is not None
    assert found(cli, "stopped")[0] == 0  # its owner, this process, is alive
    ledger.release(held.number)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", ABANDONING], check=False, env=environment).returncode == 7

    code, states = found(cli)
    ended = cli("doctor", "--fix")

    assert code == 1
    assert any("abandoned: trial 0 is RUNNING, and process" in line for line in states["fault"])
    assert "study stopped: trial 0 was stopped after epoch 0" in states["note"]
    assert "-> ended as failed" in ended.out
    assert ended.code == 0
    (trial,) = optuna.load_study(study_name="abandoned", storage=URL).trials
    assert (trial.state, trial.user_attrs["reason"]) == (
        TrialState.FAIL,
        "given up by doctor --fix: its process was gone",
    )
    assert found(cli)[0] == 0
    (trial,) = optuna.load_study(study_name="stopped", storage=URL).trials
    assert trial.state == TrialState.RUNNING  # to be continued
    database.close()


def test_damaged_weights_and_weights_of_no_trial_are_named(cli: Cli, cached_cli: Cli) -> None:
    cached_cli("study", "tiny.toml")
    folder = folder_of("tiny")
    shutil.copytree(folder / "trial-00000", folder / "trial-00007")
    for name, owner in (("gone-0123abcd", None), ("gone-1123abcd", "/nowhere/x.db"), ("used-0123abcd", "tiny.csv")):
        shutil.copytree(folder, folder.parent / name)
        claimed = folder.parent / name / "database.json"
        claimed.unlink(missing_ok=True)
        if owner:
            claimed.write_text(json.dumps({"database": str(Path(owner).absolute())}))
    for file in (folder / "trial-00001").glob("*.safetensors"):
        file.write_bytes(b"")

    code, states = found(cli)
    fixed = cli("doctor", "--fix")

    assert code == 1
    assert len(states["fault"]) == 2
    assert any("trial-00007: the study has no such trial" in line for line in states["fault"])
    assert any("trial-00001: missing or damaged" in line for line in states["fault"])
    unknown = [line.partition(": no study of this database")[2] for line in states["note"] if "no study of" in line]
    assert unknown == [
        "",
        "; it belongs to /nowhere/x.db, which is gone",
        f"; it belongs to {Path('tiny.csv').absolute()}, which is there",
    ]
    assert [line for line in fixed.out.splitlines() if "remove it" in line or "leave it" in line] == [
        "       -> remove it, unless a study of another database is using it",
        "       -> remove it, unless that database was moved",
        "       -> leave it",
    ]
    assert fixed.code == 1  # what was trained is not to be had back
    assert not (folder / "trial-00007").exists()
    assert (folder.parent / "gone-0123abcd").exists()


def test_a_link_in_the_place_of_a_study_s_folder_is_not_followed(cli: Cli, cached_cli: Cli) -> None:
    """Nobody can make one of this user's, but some can move one of this user's there."""
    cached_cli("study", "tiny.toml")
    folder = folder_of("tiny")
    folder.rename("elsewhere")
    folder.symlink_to("../elsewhere")

    examined, listed, resumed = cli("doctor", "--fix"), cli("studies"), cli("study", "tiny.toml", "--trials", 4)

    expected = (
        f"storage_path: {Path.cwd() / folder} is a link, which no study's folder is; name the folder it leads into"
    )
    assert (examined.code, resumed.code, resumed.lines) == (1, 2, [expected])
    assert expected.removeprefix("storage_path: ") in examined.out
    assert "is a link" in " ".join(listed.out.split())


@pytest.fixture
def busy(folder: Path) -> Iterator[tuple[Ledger, Path]]:
    """A study that this process runs, with a best trial and one under way, and its folder."""
    database = open_database(URL)
    ledger = Ledger(database, "busy", record(), {"keep": 1})
    checkpoints = folder / "runs" / f"busy-{ledger.uid[:8]}"
    checkpoints.mkdir()
    begin_trial(ledger, checkpoints)
    ledger.complete(0, 1.0, {})
    begin_trial(ledger, checkpoints)
    yield ledger, checkpoints
    database.close()


def begin_trial(ledger: Ledger, folder: Path) -> int:
    number = assigned(ledger).number
    write_checkpoint(folder / trial_name(number), 1, {}, {})
    ledger.report(number, 1, 0.5)
    return number


def test_a_study_that_runs_meanwhile_has_no_fault(
    cli: Cli, busy: tuple[Ledger, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, folder = busy
    look = LocalFolder.names

    def another_is_best() -> None:
        ledger.complete(1, 0.5, {})
        shutil.rmtree(folder / trial_name(0))

    # What happens while `doctor` looks at a folder.
    meanwhile = {folder.name: lambda: begin_trial(ledger, folder), trial_name(0): another_is_best}

    def names(self: LocalFolder) -> set[str]:
        meanwhile.pop(self.path.name, lambda: None)()
        return look(self)

    monkeypatch.setattr(LocalFolder, "names", names)
    code, states = found(cli, "busy")

    assert (code, states["fault"], meanwhile) == (0, [], {})


def test_nothing_of_a_trial_that_began_since_is_removed(busy: tuple[Ledger, Path]) -> None:
    ledger, folder = busy
    for number in (2, 3):
        write_checkpoint(folder / trial_name(number), 1, {}, {})  # left by a study of an older backup, say
    fixes = [finding.fix for finding in examine(URL, "busy", "runs", None) if finding.fix is not None]
    begin_trial(ledger, folder)

    for fix in fixes:
        fix()

    assert len(fixes) == 2
    assert LocalFolder(folder).names() == {trial_name(number) for number in (0, 1, 2)}


def test_what_a_database_says_of_numbers_and_names_is_a_line(cli: Cli, cached_cli: Cli) -> None:
    """A number beyond the count of trials, and a name that would be a line of the report."""
    cached_cli("study", "tiny.toml")
    with closing(sqlite3.connect("runs/optlstm.db")) as database, database:
        database.execute("UPDATE trials SET number = 2000000000 + number")
        database.execute("UPDATE studies SET study_name = 'tiny\nok     storage: all is well'")
    outcomes = [cli(*command) for command in (("doctor",), ("studies",), ("show", "tiny\nok     storage: all is well"))]

    for outcome in outcomes:
        assert outcome.code in (0, 1), outcome.err
        assert [line for line in outcome.lines if line.startswith("ok     storage: all is well")] == []
        assert r"tiny\nok     storage: all is well" in outcome.out


def test_an_objective_that_saves_nothing_misses_nothing(cli: Cli) -> None:
    Path("mine.py").write_text("def space(trial):\n    return {}\ndef objective(trial, params):\n    return 1.0\n")
    assert cli("study", "mine.py", "--trials", 2, "--workers", 1).code == 0

    code, states = found(cli)

    assert (code, states["fault"]) == (0, [])
    assert "study mine: 2 trials: 2 complete; no weights kept" in states["ok"]


def test_a_file_that_is_no_database_has_a_remedy_of_its_own(cli: Cli) -> None:
    Path("junk.db").write_bytes(b"junk" * 4096)

    outcome = cli("doctor", "--storage", "sqlite:///junk.db")

    assert outcome.code == 1
    assert "cannot open sqlite:///junk.db: file is not a database" in outcome.out
    assert "-> no SQLite database, or a damaged one: restore a backup" in outcome.out


def test_a_database_that_is_not_there_is_said(cli: Cli) -> None:
    code, states = found(cli, "--storage", "postgresql://nobody@127.0.0.1:1/none")

    assert code == 1
    assert any(
        line.startswith("storage: cannot open postgresql+psycopg://nobody@127.0.0.1:1/none") for line in states["fault"]
    )


@pytest.mark.parametrize("server", [False, True], ids=["sqlite", "postgresql"])
def test_a_copy_is_continued_like_the_original(
    cli: Cli, cached_cli: Cli, request: pytest.FixtureRequest, server: bool
) -> None:
    to = request.getfixturevalue("postgresql_url") if server else OTHER
    nsga = ("--sampler", "nsga2", "--set", "sampler.population_size=2", "--workers", 1)
    cli(
        "study", "tiny.toml", "--name", "filler", "--trials", 2, "--storage", to
    )  # so that the copy's trial ids are others
    cached_cli("study", "tiny.toml", *nsga, "--trials", 5)

    copied = cli("copy", "tiny", "--to", to, "--to-path", "elsewhere", "--as", "moved")
    original = cli("study", "tiny.toml", *nsga, "--trials", 8)
    go_on = cli(
        "study", "tiny.toml", *nsga, "--name", "moved", "--storage", to, "--storage-path", "elsewhere", "--trials", 8
    )

    assert (copied.code, copied.out) == (0, "copied: 5 trials\n"), copied.err
    assert (original.code, go_on.code) == (0, 0)
    assert len(rows()) == 8
    assert rows_at(to, "moved") == rows()
    weights = [
        sorted(p.name for p in folder.rglob("*.safetensors")) for folder in (folder_of("tiny"), Path("elsewhere"))
    ]
    assert weights[0] == weights[1]


def test_a_study_that_ran_on_a_server_is_copied_to_a_file_and_within_it(cli: Cli, postgresql_url: str) -> None:
    """A server gives rows in another order than they were written in; one SQLite file has one writer at a time."""
    assert cli("study", "tiny.toml", "--name", "served", "--storage", postgresql_url).code == 0

    to_file = cli("copy", "served", "--storage", postgresql_url, "--to", URL, "--to-path", "elsewhere")
    within = cli("copy", "served", "--storage", URL, "--storage-path", "elsewhere", "--to", URL, "--as", "again")

    assert (to_file.code, to_file.out) == (0, "copied: 3 trials\n"), to_file.err
    assert (within.code, within.out) == (0, "copied: 3 trials\n"), within.err
    original = [(*row[:3], dict(row[3]), row[4]) for row in rows_at(postgresql_url, "served")]
    for name in ("served", "again"):
        assert [(*row[:3], dict(row[3]), row[4]) for row in rows_at(URL, name)] == original
    assert "study: writing 3 trials" in within.lines


def test_every_kind_of_trial_is_copied_to_the_last_bit(cli: Cli) -> None:
    study = optuna.create_study(study_name="any", storage=open_database(URL).rdb)
    kinds = {
        "x": optuna.distributions.FloatDistribution(-1, 1),
        "c": optuna.distributions.CategoricalDistribution("ab"),
    }
    for number, state in enumerate((TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.WAITING)):
        study.add_trial(
            optuna.create_trial(
                state=state,
                value=float("inf") if state == TrialState.COMPLETE else None,
                params={"x": number / 10, "c": "b"},
                distributions=kinds,
                intermediate_values={1: float("nan"), 2: float("-inf"), 3: 0.1 + 0.2},
                user_attrs={"nan": float("nan"), "nested": {"b": [1, None], "a": "é"}},
                system_attrs={"mine": [number]},
            )
        )

    copied = cli("copy", "any", "--to", OTHER)

    assert (copied.code, copied.out) == (0, "copied: 4 trials\n"), copied.err
    assert repr(rows_at(OTHER, "any")) == repr(rows_at(URL, "any"))
    attrs = [
        [
            (t.user_attrs, t.system_attrs, t.distributions, t.datetime_start)
            for t in optuna.load_study(study_name="any", storage=url).trials
        ]
        for url in (OTHER, URL)
    ]
    assert repr(attrs[0]) == repr(attrs[1])


def test_an_unfinished_trial_goes_on_in_the_copy(cli: Cli) -> None:
    database, other = open_database(URL), open_database(OTHER)
    ledger = Ledger(database, "half", record())
    half = ledger.assign(3)
    assert half is not None
    ledger.report(half.number, 1, 0.5)
    busy = cli("copy", "half", "--to", OTHER)
    ledger.release(half.number)

    assert cli("copy", "half", "--to", OTHER).code == 0

    assert (busy.code, busy.lines[-1].split(" is being trained by ")[0]) == (2, "trial 0")
    again = Ledger(other, "half", record()).assign(3)
    assert again is not None
    assert (again.number, again.last_epoch, again.params) == (half.number, 1, half.params)
    database.close()
    other.close()


def test_a_copy_that_cannot_be_made_leaves_nothing(cli: Cli, cached_cli: Cli) -> None:
    cached_cli("study", "tiny.toml")
    before = sorted(Path.cwd().rglob("trial-*"))

    twice = cli("copy", "tiny", "--to", URL)
    unknown = cli("copy", "tinny", "--to", OTHER)

    assert (twice.code, twice.lines) == (2, ["study 'tiny' is in that database already; name the copy: --as NAME"])
    assert unknown.code == 2
    assert "did you mean 'tiny'?" in unknown.err
    assert not Path("other.db").exists()
    assert sorted(Path.cwd().rglob("trial-*")) == before
