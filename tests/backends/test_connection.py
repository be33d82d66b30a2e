"""Ray as a service that may not be there, may be something else, or may die."""

from __future__ import annotations

import os
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from ray.core.generated.common_pb2 import JobConfig

from optlstm.backends.ray import connection
from optlstm.backends.ray.connection import check_address, connected
from optlstm.backends.ray.guardian import MARK
from optlstm.errors import InputError, OptlstmError
from tests.study.processes import command, exit_code, start
from tests.waiting import wait_until

pytestmark = pytest.mark.ray

STUDY = ("study", "slow.py", "--name=slow", "--trials=2", "--workers=1", "--backend=ray", "--pruner=none")
OBJECTIVE = """\
import time
from pathlib import Path

def space(trial):
    return {{"x": trial.suggest_float("x", 0.0, 1.0)}}

def objective(trial, params):
    trial.report(params["x"], 1)
    Path({folder!r}, "under-way").touch()
    time.sleep(600)
    return params["x"]
"""


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("127.0.0.1:1", "no Ray cluster answers there"),
        ("nowhere", "must be auto or host:port"),
        ("127.0.0.1:99999", "no Ray cluster answers there"),
        ("ray://127.0.0.1:10001", "is for Ray's client; give host:port"),
    ],
)
def test_no_cluster_there_is_said_before_ray_looks_for_it(address: str, problem: str) -> None:
    with pytest.raises(InputError, match=f"--address {address}: {problem}"):
        check_address(address)


@pytest.fixture(params=[b"", b"HTTP/1.0 400 Bad Request\r\n\r\n", None], ids=["silent", "http", "closes"])
def other_service(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of something that listens and is no Ray."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        accepted: list[socket.socket] = []

        def serve() -> None:
            accepted.append(server.accept()[0])
            accepted[0].close() if request.param is None else accepted[0].sendall(request.param)

        thread = threading.Thread(target=serve)
        thread.start()
        yield "{}:{}".format(*server.getsockname())
        thread.join()
        accepted[0].close()


def test_what_listens_and_is_no_ray_is_refused_at_once(other_service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PROBE_TIMEOUT_S", 0.2)
    with pytest.raises(InputError, match=f"--address {other_service}: no Ray cluster answers there"):
        check_address(other_service)


def test_a_cluster_that_lets_nobody_in_may_want_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(*_: object, **__: object) -> None:
        raise ConnectionError("Failed to connect\nto a cluster")

    monkeypatch.setattr(connection, "check_address", lambda _: None)
    monkeypatch.setattr(connection.ray, "init", init)
    with pytest.raises(InputError, match=r"cannot join .* \(Failed to connect\); a cluster with a token needs"):
        connection._joined("127.0.0.1:1").__enter__()


@pytest.mark.usefixtures("local_ray")
def test_a_ray_that_runs_is_recognised_and_its_files_are_this_users_alone() -> None:
    import ray

    node: Any = ray._private.worker._global_node
    check_address(node.gcs_address)
    folder = Path(node.get_session_dir_path()).parents[1]
    assert folder.name.startswith("optlstm-")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    gcs = next(process for process in psutil.Process().children(recursive=True) if process.name() == "gcs_server")
    assert gcs.environ()[MARK] == str(folder)  # by which the guardian knows it


def test_the_death_of_another_node_on_this_machine_is_not_that_of_the_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pids begin again at 32768: the nodes that joined later may come first."""
    node = SimpleNamespace(raylet_socket_name="/tmp/ray/sockets/raylet")
    sockets = ["raylet.1", "raylet", "raylet.2"]
    raylets = [SimpleNamespace(info={"name": "raylet", "cmdline": [f"--x=/tmp/ray/sockets/{s}"]}) for s in sockets]
    monkeypatch.setattr(connection.psutil, "process_iter", lambda _: raylets)
    assert connection._process_of(node, "raylet") is raylets[1]


def test_too_little_space_for_ray_is_said_before_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(connection, "LONGEST_FOLDER", 1000)
    monkeypatch.setattr(connection, "LEAST_SPACE", 1 << 60)
    monkeypatch.setattr(connection.ray, "is_initialized", lambda: False)
    with pytest.raises(OptlstmError, match=r"--backend ray: \S+ has \d+ MB left, and Ray needs"):
        connected(None, 1, 1.0).__enter__()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.cluster
def test_a_ray_of_our_own_that_dies_ends_the_command_in_one_line_and_leaves_nothing(folder: Path) -> None:
    Path("slow.py").write_text(OBJECTIVE.format(folder=str(folder)))
    driver = start(command, folder, STUDY)
    wait_until(lambda: Path("under-way").exists() or not driver.is_alive())
    family = psutil.Process(driver.pid).children(recursive=True)
    gcs = next(process for process in family if process.name() == "gcs_server")
    session = next(part for part in gcs.cmdline() if "/optlstm-" in part)
    temporary = Path(session[session.index("/") :].split("/ray/session_")[0])
    assert temporary.name.startswith("optlstm-")
    gcs.kill()

    assert exit_code(driver) == 1
    lines = Path("said").read_text().splitlines()
    assert [line for line in lines if "--backend ray: " in line] == lines[-1:]
    assert "has died; every epoch that was reported is saved: resume with the same command" in lines[-1]
    assert "Traceback" not in "".join(lines)
    assert [process for process in family if connection._lives(process)] == []  # init may not have reaped one yet
    assert not temporary.exists()


@pytest.mark.parametrize("searched", [True, False])
def test_workers_import_from_the_working_folder_where_the_driver_does(
    monkeypatch: pytest.MonkeyPatch, searched: bool
) -> None:
    here = os.getcwd()
    monkeypatch.setattr(sys, "path", [here, "/lib"] if searched else ["/lib"])
    job = connection._Job()
    job._py_driver_sys_path.extend(["/program", here])  # as Ray does while it connects

    sent = JobConfig.FromString(job._serialize())
    assert list(sent.py_driver_sys_path) == (["/program", here] if searched else ["/program"])
