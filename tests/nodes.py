"""A Ray cluster of several nodes on this machine, which can die."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
run = Run(ledger, {total})
run.announce = lambda line: print(line, file=sys.stderr, flush=True)
run_ray(run, job(**{curve!r}), RayConfig(address={address!r}, **{options!r}), checkpoints=Path({storage!r}))
"""
HEAD_ID = f"{0:056x}"
# For Ray's autoscaler with its fake provider, whose nodes are processes that the autoscaler starts. Ray's wheel lacks
# its example.yaml, which this follows.
AUTOSCALING: dict[str, Any] = {
    **{"cluster_name": "fake", "max_workers": 2, "idle_timeout_minutes": 0.05, "upscaling_speed": 10},
    "provider": {
        **{"type": "fake_multinode", "head_node_id": HEAD_ID, "use_node_id_as_ip": True},
        **{"disable_node_updaters": True, "disable_launch_config_check": True},
    },
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    },
    "head_node_type": "ray.head.default",
    **{key: {} for key in ("auth", "file_mounts")},
    **{f"{key}_commands": [] for key in ("initialization", "setup", "head_setup", "worker_setup")},
    **{f"{key}_start_ray_commands": [] for key in ("head", "worker")},
    **{key: [] for key in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
    "file_mounts_sync_continuously": False,
}


class Nodes:
    """A real cluster made with `ray start`, each node in a working directory of its own.

    Args:
        autoscaled: Nodes are started by Ray's autoscaler, too, until `stop_autoscaler`.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] = {}, autoscaled: bool = False) -> None:
        self.folder = folder
        self.ray = str(Path(sys.executable).parent / "ray")
        self.environment = {**os.environ, **environment, "RAY_AUTH_MODE": "disabled", "RAY_DEDUP_LOGS": "0"}
        port = _free_port()
        self.address = f"127.0.0.1:{port}"
        arguments = ["--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false"]
        if autoscaled:
            self.environment |= {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
            self.environment |= {"RAY_health_check_period_ms": "500"}  # and not 3 s: five that fail are a node's death
            config = folder / "autoscaling.json"
            provider = {**AUTOSCALING["provider"], "gcs_address": self.address}
            config.write_text(json.dumps({**AUTOSCALING, "provider": provider}))
            arguments.append(f"--autoscaling-config={config}")
        self.started: list[subprocess.Popen[bytes]] = []
        self._ids: dict[int, str] = {}
        self._driver: subprocess.Popen[bytes] | None = None
        self._start("head", *arguments)

    def _start(self, name: str, *arguments: str) -> None:
        where = self.folder / name
        where.mkdir()
        options = ("--node-ip-address=127.0.0.1", "--block", "--disable-usage-stats", "--include-log-monitor=false")
        command = [self.ray, "start", *arguments, *options]
        node_id = f"{len(self._ids):06x}".ljust(56, "0")  # its beginning is in the node's name
        own = {**self.environment, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": node_id}
        log = self.folder / f"{name}.log"
        with log.open("wb") as out:
            node = subprocess.Popen(command, cwd=where, stdout=out, stderr=out, env=own)
        self._ids[node.pid] = node_id
        self.started.append(node)
        wait_until(lambda: "Ray runtime started" in log.read_text() or node.poll() is not None)
        assert node.poll() is None, log.read_text()

    def add(self, *names: str, resources: tuple[str, ...] = ("--num-cpus=1",)) -> list[subprocess.Popen[bytes]]:
        """Nodes that join one after the other: two at a time would take the same ports."""
        for name in names:
            ports = ("--min-worker-port=0", "--max-worker-port=0")
            self._start(name, f"--address={self.address}", *resources, *ports)
        return self.started[-len(names) :]

    def raylets(self) -> list[psutil.Process]:
        """Of all nodes that are alive, the autoscaler's too."""
        raylets, port = [], self.address.removeprefix("127.0.0.1")  # Ray may put another address in its place
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):  # it has just ended
                if process.name() == "raylet" and any(
                    part.startswith("--gcs-address=") and part.endswith(port) for part in process.cmdline()
                ):
                    raylets.append(process)
        return raylets

    def stop_autoscaler(self) -> None:
        """The nodes that it has started stay."""
        self._autoscaler().suspend()  # a node whose processes have died ends

    def autoscaled(self) -> list[psutil.Process]:
        """The raylets of the nodes that it has started."""
        return [child for child in self._autoscaler().children() if child.name() == "raylet"]

    def _autoscaler(self) -> psutil.Process:
        return next(
            process
            for process in psutil.process_iter(["ppid", "cmdline"])
            if process.info["ppid"] == self.started[0].pid
            and any(part.endswith("/monitor.py") for part in process.info["cmdline"] or ())
        )

    def drain(self, node: subprocess.Popen[bytes]) -> None:
        """Tell Ray that a node will be taken away, as a cloud tells it of a spot instance."""
        why = ("--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot", "--deadline-remaining-seconds=600")
        command = [self.ray, "drain-node", f"--address={self.address}", f"--node-id={self._ids[node.pid]}", *why]
        subprocess.run(command, env=self.environment, check=True, capture_output=True)

    def driver(
        self, studies_folder: Path, total: int, storage: Path, options: Mapping[str, Any] = {}, **curve: Any
    ) -> subprocess.Popen[bytes]:
        """Runs a study there.

        Args:
            options: Of `RayConfig`.
            curve: Of the objective (tests/backends/objectives.py).
        """
        script = CLUSTER_DRIVER.format(
            path=sys.path,
            folder=str(studies_folder),
            total=total,
            address=self.address,
            storage=str(storage),
            options=dict(options),
            curve=curve,
        )
        if self._driver is not None:
            self._driver.kill()  # of a test that failed: it would take the places
        self._driver = subprocess.Popen([sys.executable, "-c", script], env=self.environment, stderr=subprocess.PIPE)
        return self._driver

    def stop(self) -> None:
        for node in self.started:
            kill_node(node)


def kill_node(node: subprocess.Popen[bytes]) -> None:
    """A machine that is switched off: every process of the node, at once."""
    with contextlib.suppress(psutil.NoSuchProcess):
        kill(psutil.Process(node.pid))
    node.wait()


def kill(process: psutil.Process) -> None:
    """It and all its children, at once."""
    for member in [*process.children(recursive=True), process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
