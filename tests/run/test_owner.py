"""A study's checkpoints belong to one database: a copy of it, which may say anything, changes none of them."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from optlstm.run.owner import OWNER_FILE, claim, owner_problem
from tests.conftest import Cli

COPY_FILE = "copy?.db"  # what means something in a URL
COPY = ("--storage", "sqlite:///copy%3F.db")


def weights() -> list[Path]:
    return sorted(Path("runs").rglob("epoch-*"))


def cut_short_copy(path: str, copy: str) -> None:
    shutil.copy(path, copy)
    with contextlib.closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute("DELETE FROM trials WHERE number > 0")


@pytest.fixture
def cut_short(cached_cli: Cli) -> list[Path]:
    """A study of three trials, its weights, and a copy of its database that says it had but one."""
    cached_cli("study", "tiny.toml")
    cut_short_copy("runs/optlstm.db", COPY_FILE)
    return weights()


def test_a_copy_of_a_database_removes_no_weights_and_is_not_resumed(cli: Cli, cut_short: list[Path]) -> None:
    resumed = cli("study", "tiny.toml", *COPY)
    fixed = cli("doctor", "--fix", *COPY)

    assert weights() == cut_short
    assert (resumed.code, len(resumed.lines)) == (2, 1)
    assert "belongs to a study of the same id in another database: " in resumed.lines[0]
    assert f"doctor tiny --adopt --storage sqlite:///copy%3F.db --storage-path {Path('runs')}" in resumed.lines[0]
    assert fixed.code == 1
    assert "belongs to a study of the same id in another database: " in fixed.out
    assert "--fix changes nothing here" in fixed.out
    assert "has no such trial" not in fixed.out
    adopted = cli("doctor", "tiny", "--adopt", *COPY)
    assert adopted.code == 2
    assert "is still there: is this one a copy?" in adopted.lines[0]
    assert cli("refit", "tiny", "-o", "model", "--no-refit", *COPY).code == 0
    assert cli("doctor").code == 0


def test_a_copy_in_the_database_s_place_is_not_the_database(cli: Cli, cached_cli: Cli) -> None:
    cached_cli("study", "tiny.toml")
    assert cli("study", "tiny.toml").code == 0  # here the folder learns which file it is
    before = weights()
    cut_short_copy("runs/optlstm.db", COPY_FILE)
    for file in Path("runs").glob("optlstm.db*"):
        file.rename(file.name)
    Path(COPY_FILE).rename("runs/optlstm.db")  # as on another machine, which shares the folder

    assert cli("study", "tiny.toml").code == 2
    assert cli("doctor", "--fix").code == 1
    assert weights() == before
    assert cli("study", "tiny.toml", "--storage", "sqlite:///optlstm.db").code == 0  # the file itself


def test_a_database_that_was_moved_to_another_disk_is_adopted(cli: Cli, cached_cli: Cli) -> None:
    cached_cli("study", "tiny.toml")
    shutil.copy("runs/optlstm.db", COPY_FILE)
    Path("runs/optlstm.db").unlink()

    assert cli("study", "tiny.toml", "--trials", 4, *COPY).code == 2
    assert cli("doctor", "--adopt", *COPY).lines == ["--adopt: name the study: doctor NAME --adopt"]
    assert cli("doctor", "tiny", "--adopt", *COPY).code == 0
    assert cli("study", "tiny.toml", "--trials", 4, *COPY).code == 0


def test_database_and_checkpoints_are_moved_together_or_the_checkpoints_alone(cli: Cli, cached_cli: Cli) -> None:
    cached_cli("study", "tiny.toml")
    Path("runs").rename("moved")
    assert cli("doctor", "--storage", "sqlite:///moved/optlstm.db", "--storage-path", "moved").code == 0
    assert cli("study", "tiny.toml", "--storage", "sqlite:///moved/optlstm.db", "--storage-path", "moved").code == 0
    for folder in Path("moved").glob("tiny-*"):
        folder.rename(Path(Path("elsewhere").mkdir() or "elsewhere", folder.name))

    assert cli("doctor", "--storage", "sqlite:///moved/optlstm.db", "--storage-path", "elsewhere").code == 0


def database(url: str) -> Any:
    """One of a server that does not say who it is."""

    def connect() -> None:
        raise SQLAlchemyError

    return SimpleNamespace(rdb=SimpleNamespace(engine=SimpleNamespace(url=make_url(url), connect=connect)))


def test_a_server_of_several_addresses_is_known_by_what_it_calls_itself(tmp_path: Path, postgresql_url: str) -> None:
    engine = create_engine(postgresql_url)
    here: Any = SimpleNamespace(rdb=SimpleNamespace(engine=engine))
    claim(tmp_path, here)
    owner = json.loads((tmp_path / OWNER_FILE).read_text())
    (tmp_path / OWNER_FILE).write_text(json.dumps({**owner, "database": "postgresql://db.example.org:5432/postgres"}))

    assert owner_problem(tmp_path, here) is None
    (tmp_path / OWNER_FILE).write_text(json.dumps({"database": "another", "server": "7/postgres"}))
    assert owner_problem(tmp_path, here) is not None
    engine.dispose()


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("postgresql+psycopg://look:other@LOCALHOST:5432/optlstm?sslmode=require", True),
        ("postgresql+psycopg:///optlstm", True),
        ("postgresql+psycopg://tune@db.example.org/optlstm", False),
        ("postgresql+psycopg://tune@localhost:5433/optlstm", False),
        ("postgresql+psycopg://tune@localhost/another", False),
        ("mysql+pymysql://tune@localhost:5432/optlstm", False),
    ],
)
@pytest.mark.parametrize("remote", [False, True], ids=["path", "URL"])
def test_a_server_is_known_by_host_port_and_name(other: str, same: bool, remote: bool, tmp_path: Path) -> None:
    folder = f"file://{tmp_path}" if remote else tmp_path
    claim(folder, database("postgresql+psycopg://tune:secret@127.0.0.1/optlstm"))

    assert (owner_problem(folder, database(other)) is None) is same
    assert "secret" not in (tmp_path / OWNER_FILE).read_text()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"[" * 100_000, b'{"database": "\\u001b[2J\\n"}'])
def test_what_names_no_database_makes_it_nobody_s(content: bytes, tmp_path: Path) -> None:
    (tmp_path / OWNER_FILE).write_bytes(content)

    problem = owner_problem(tmp_path, database("sqlite:///x.db"))

    assert problem is not None
    assert problem.isprintable()
