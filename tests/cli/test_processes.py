"""The command line as a process of its own: signals, a terminal, the dashboard."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from optlstm.cli import main
from optlstm.cli.databases import databases
from optlstm.errors import StorageError
from optlstm.run.session import open_session
from tests.conftest import Cli, Row, rows, write_tiny
from tests.study.processes import command, exit_code, met_half_way, start
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
# The same trials in whatever order they are run.
STUDY = (
    *("study", "tiny.toml", "--trials=2", "--epochs=8", "--set=training.patience=0"),
    *("--sampler=random", "--pruner=none"),
)


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`python -m optlstm ...` in the current directory; killed at the end if it is still there."""
    typed = [sys.executable, "-u", "-m", "optlstm", *arguments]
    with subprocess.Popen(typed, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """What the study ends with where nobody disturbs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder := tmp_path_factory.mktemp("undisturbed"))
        write_tiny(folder)
        assert main(list(STUDY)) == 0
        return rows()


@pytest.mark.parametrize(
    ("workers", "number", "code"), [("1", signal.SIGINT, 130), ("2", signal.SIGINT, 130), ("1", signal.SIGTERM, 143)]
)
def test_a_signal_stops_after_the_epoch_and_nothing_is_lost(
    cli: Cli, undisturbed: list[Row], workers: str, number: signal.Signals, code: int
) -> None:
    assert met_half_way(lambda pid: os.kill(pid, number), (*STUDY, "--workers", workers), 5) == code
    said = Path("said").read_text()
    assert re.search(r"^stopping( after this epoch)?; again: at once\n", said, re.MULTILINE)
    assert "everything is saved. To resume:\n  python -m optlstm study --name tiny --trials 2\n" in said
    assert "paused)" in said
    assert "RUNNING" in {state for _, state, *_ in rows()}
    assert re.search(r"\d paused", cli("show", "tiny").out)
    again = cli("study", "--name", "tiny", "--trials", 2, "--workers", 1)
    assert again.code == 0
    assert any(re.fullmatch(r"trial \d is continued after epoch \d+", line) for line in again.lines)
    assert rows() == undisturbed


def test_an_interrupt_before_the_start_leaves_nothing(folder: Path) -> None:
    os.mkfifo(folder / "slow.toml")

    # The pipe opens when the command reads it; then the command waits for what never comes.
    with running("study", "slow.toml") as process, (folder / "slow.toml").open("w"):
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (130, "interrupted\n")
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("number", "code", "line"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_that_somebody_swallows_ends_the_command_before_its_first_trial(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int, line: str
) -> None:
    write_tiny(folder)

    def open_swallowing(*args: Any) -> Any:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(number)
        return open_session(*args)

    monkeypatch.setattr("optlstm.run.session.open_session", open_swallowing)
    outcome = cli("study", "tiny.toml")

    assert (outcome.code, outcome.lines[-1]) == (code, line)
    assert rows() == []


def test_what_fails_because_a_signal_broke_it_off_is_the_interruption(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny(folder)

    def open_broken_off(*_: Any) -> Any:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise StorageError("storage: can't change 'autocommit' now")  # of psycopg, whose query was broken off

    monkeypatch.setattr("optlstm.run.session.open_session", open_broken_off)
    outcome = cli("study", "tiny.toml")

    assert (outcome.code, outcome.lines) == (130, ["interrupted"])


def test_a_signal_waits_until_the_databases_are_closed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []

    def close() -> None:
        signal.raise_signal(signal.SIGINT)
        closed.append(True)

    monkeypatch.setattr(databases, "close", close)

    assert cli("--version").code == 130
    assert closed


INTERRUPTED_IMPORT = """\
import signal, sys

class Finder:
    def find_spec(self, name, *_):
        if name == "optlstm.cli":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Finder())
from optlstm.__main__ import main
sys.exit(main())
"""


def test_an_interrupt_while_all_is_imported_is_a_line() -> None:
    process = subprocess.run([sys.executable, "-c", INTERRUPTED_IMPORT], capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (130, "interrupted\n")


ENDLESS = """\
import time
from pathlib import Path

def space(trial):
    return {"x": trial.suggest_float("x", 0.0, 1.0)}

def objective(trial, params):
    Path(f"under-way-{trial.number}").touch()
    time.sleep(3600)
"""


def test_a_second_signal_ends_it_at_once_with_its_workers(folder: Path) -> None:
    (folder / "endless.py").write_text(ENDLESS)

    process = start(command, folder, ("study", "endless.py", "--workers", "2", "--trials", "3"))
    wait_until(lambda: len(list(folder.glob("under-way-*"))) == 2)
    started = psutil.Process(process.pid).children(recursive=True)  # the workers and their server
    os.kill(process.pid, signal.SIGINT)
    wait_until(lambda: "stopping after this epoch" in (folder / "said").read_text())
    assert process.is_alive()
    os.kill(process.pid, signal.SIGINT)

    assert exit_code(process) == 130
    assert len(started) == 3
    wait_until(lambda: all(map(has_ended, started)))
    assert "To resume:\n  python -m optlstm study --name endless --trials 3\n" in (folder / "said").read_text()


# Of Python, of what is installed and of what is not; early and late, in the driver and in the worker.
SHADOWS = (
    "__future__",
    "typing",
    "json",
    "pickle",
    "socket",
    "multiprocessing",
    "numpy",
    "sqlalchemy",
    "torch",
    "wandb",
)
ELSEWHERE = """\
import beside
def space(trial):
    return {"x": trial.suggest_float("x", 0.0, 1.0)}
def objective(trial, params):
    import multiprocessing, numpy, torch
    return params["x"]
"""


def test_a_folder_with_data_is_no_place_to_import_from(folder: Path, tmp_path: Path) -> None:
    """`python -m` looks there first; the driver and its workers do not, but where code is named that lies there."""
    (tmp_path / "elsewhere.py").write_text(ELSEWHERE)
    (tmp_path / "beside.py").touch()
    for name in SHADOWS:
        (folder / f"{name}.py").write_text("open('imported', 'a').write(__name__)")
    program = str(tmp_path / "elsewhere.py")
    with running("study", program, "--trials=1", "--epochs=1", "--workers=1", "--pruner=none") as process:
        output = process.communicate()
    assert (process.returncode, (folder / "imported").exists()) == (0, False), output


def has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE  # dead, and the system has not looked yet
    except psutil.NoSuchProcess:
        return True


# Its first trial waits until the third epoch has been drawn.
WATCHED = """\
import time
from pathlib import Path

def space(trial):
    return {"x": trial.suggest_float("x", 0.0, 1.0)}

def objective(trial, params):
    for step in range(1, 7):
        trial.report(params["x"] + 1 / step, step)
        while step == 3 and not Path("drawn").exists():
            time.sleep(0.01)
    return params["x"]
"""


def terminal_output(sign: str, *arguments: str) -> tuple[int, str]:
    """Run a command under a pseudo-terminal of 100 columns: its exit code and all it drew.

    Where it has drawn what matches a sign, it is told by a file `drawn`.
    """
    terminal, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "100", "LINES": "40", "TERM": "xterm-256color"}
    typed = [sys.executable, "-m", "optlstm", *arguments]
    with subprocess.Popen(typed, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        drawn = b""
        while True:
            try:
                drawn += os.read(terminal, 65536)
            except OSError:  # Linux's way to say that the other end is closed
                break
            if re.search(sign.encode(), drawn):
                Path("drawn").touch()
    os.close(terminal)
    return process.returncode, drawn.decode()


def test_a_terminal_gets_a_live_display_that_leaves_no_trace(folder: Path) -> None:
    (folder / "watched.py").write_text(WATCHED)
    study = ("study", "watched.py", "--epochs=6", "--trials=2", "--workers=1", "--pruner=none")
    code, drawn = terminal_output(r"epoch 3/6", *study)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn)

    assert code == 0
    assert "\x1b[?25l" in drawn
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")  # the cursor is back
    assert re.search(r"trials \S+ \d/2 ", text)
    assert re.search(r"trial 0  epoch +\d+/6  [█░]{12}  value \d\.\d{5}", text)
    assert re.search(r"\d complete  0 pruned  0 failed   best value \d\.\d{5} \(trial \d\)", text)
    assert text.rstrip().endswith("continue the search")


def test_the_dashboard_serves_the_study_on_loopback_at_the_next_free_port(cli: Cli, cached_cli: Cli) -> None:
    cached_cli("study", "tiny.toml")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running("dashboard", "tiny", "--port", str(port)) as process:
            assert process.stdout is not None
            said = process.stdout.readline()
            address = re.search(r"http://127\.0\.0\.1:(\d+)/dashboard/studies/(\d+) ", said)
            assert address is not None, said
            with urllib.request.urlopen(f"http://127.0.0.1:{address[1]}/api/studies", timeout=60) as answer:
                studies = json.load(answer)["study_summaries"]
            listening = [c.laddr.ip for c in psutil.Process(process.pid).net_connections() if c.status == "LISTEN"]
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)

    assert int(address[1]) > port
    assert [(study["study_id"], study["study_name"]) for study in studies] == [(int(address[2]), "tiny")]
    assert listening == ["127.0.0.1"]
    assert process.returncode == 0


@pytest.mark.parametrize("port", ["0", "-1", "70000"])
def test_a_port_that_is_none_is_refused(cli: Cli, cached_cli: Cli, port: str) -> None:
    cached_cli("study", "tiny.toml")

    outcome = cli("dashboard", "--port", port)

    assert outcome.code == 2
    assert outcome.lines == [f"--port: must be 1 to 65535, got {port}"]
