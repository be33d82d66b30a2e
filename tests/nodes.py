"""A Ray cluster of several nodes on this machine, which can die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from tests.waiting import wait_until

CLUSTER_DRIVER = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from tests.backends.contract import Studies, job
from optlstm.backends.driver import Run
from optlstm.config.schema import RayConfig
from optlstm.backends.ray.runner import run_ray
from optlstm.backends.ray.connection import check_address
ledger = Studies(Path({folder!r})).ledger(sampler="random", pruner="none")
curve = job(seconds=0.02, gate={gate!r})
run_ray(Run(ledger, {total}), curve, RayConfig(address={address!r}), checkpoints=Path({storage!r}))
"""


class Nodes:
    """A real cluster made with `ray start`, each node in a working directory of its own."""

    def __init__(self, folder: Path, environment: Mapping[str, str] = {}) -> None:
        self.folder = folder
        self.ray = str(Path(sys.executable).parent / "ray")
        self.environment = {**os.environ, **environment, "RAY_AUTH_MODE": "disabled", "RAY_DEDUP_LOGS": "0"}
        port = _free_port()
        self.address = f"127.0.0.1:{port}"
        self.started = [self._start("head", "--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false")]

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        where = self.folder / name
        where.mkdir()
        log = self.folder / f"{name}.log"
        command = [self.ray, "start", *arguments, "--node-ip-address=127.0.0.1", "--block", "--disable-usage-stats"]
        with log.open("wb") as out:
            node = subprocess.Popen(command, cwd=where, stdout=out, stderr=out, env=self.environment)
        wait_until(lambda: "Ray runtime started" in log.read_text() or node.poll() is not None)
        assert node.poll() is None, log.read_text()
        return node

    def add(self, name: str) -> subprocess.Popen[bytes]:
        # Several nodes on one machine: their workers must not ask for the same ports.
        ports = ("--min-worker-port=0", "--max-worker-port=0")
        node = self._start(name, f"--address={self.address}", "--num-cpus=1", *ports)
        self.started.append(node)
        return node

    def driver(
        self, studies_folder: Path, total: int, storage: Path, gate: tuple[str, int] = ("", 0)
    ) -> subprocess.Popen[bytes]:
        """`gate`: of the objective (tests/backends/objectives.py)."""
        script = CLUSTER_DRIVER.format(
            path=sys.path,
            folder=str(studies_folder),
            total=total,
            address=self.address,
            storage=str(storage),
            gate=gate,
        )
        return subprocess.Popen([sys.executable, "-c", script], env=self.environment, stderr=subprocess.PIPE)

    def stop(self) -> None:
        for node in self.started:
            kill_node(node)


def kill_node(node: subprocess.Popen[bytes]) -> None:
    """A machine that is switched off: every process of the node, at once."""
    try:
        children = psutil.Process(node.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    for process in [*children, psutil.Process(node.pid)] if node.poll() is None else children:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    node.wait()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
