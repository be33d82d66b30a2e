"""Ray itself: a cluster to run on, what it has, and whether its nodes share a folder."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from optlstm.backends.local import cores
from optlstm.errors import InputError

LOOPBACK = "127.0.0.1"
CHECK_TIMEOUT_S = 60.0


@contextlib.contextmanager
def connected(address: str | None, workers: int | None, cpus_per_trial: float) -> Iterator[None]:
    """Connect to a running cluster, or start a Ray on loopback and end it afterwards.

    A Ray that this process is connected to already is used as it is, and left running.

    Raises:
        InputError: There is no cluster at `address`.
    """
    if ray.is_initialized():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    _connect(address, workers, cpus_per_trial)
    try:
        for number, handler in handlers.items():
            with contextlib.suppress(ValueError):  # not the main thread: no handlers to keep
                signal.signal(number, handler)  # Ray put its own over ours
        yield
    finally:
        ray.shutdown()


def _connect(address: str | None, workers: int | None, cpus_per_trial: float) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None:
        cpus = max(cores(), math.ceil((workers or 1) * cpus_per_trial))
        # "local": a Ray of our own even where another runs on this machine.
        ray.init("local", num_cpus=cpus, include_dashboard=False, _node_ip_address=LOOPBACK, log_to_driver=False)
        return
    try:
        ray.init(address=address, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"--address {address}: no Ray cluster there ({reason}); start one: ray start --head") from None


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def trials_at_once(resources: Mapping[str, float], wanted: int | None) -> int:
    """How many trials the cluster can hold, or `wanted` if that is fewer.

    Raises:
        InputError: Not even one fits on any node.
    """
    nodes = [node["Resources"] for node in _nodes()]
    fits = sum(_fitting(resources, node) for node in nodes)
    if fits == 0:
        asked = ", ".join(f"{amount:g} {name.upper()}" for name, amount in resources.items())
        most = {n: max((node.get(n.upper(), 0) for node in nodes), default=0) for n in resources}
        seen = ", ".join(f"{amount:g} {name.upper()}" for name, amount in most.items())
        raise InputError(f"--backend ray: a trial asks for {asked}, and the largest node has {seen}")
    return min(fits, wanted) if wanted else fits


def _fitting(resources: Mapping[str, float], node: Mapping[str, float]) -> int:
    counts = [math.floor(node.get(name.upper(), 0) / amount + 1e-9) for name, amount in resources.items() if amount > 0]
    return min(counts, default=0)


@ray.remote(num_cpus=0)
def _write(folder: str, name: str) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / name).write_text(name)


@ray.remote(num_cpus=0)
def _remove(folder: str, name: str) -> None:
    (Path(folder) / name).unlink(missing_ok=True)


@ray.remote(num_cpus=0)
def _missing(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not (Path(folder) / name).exists()]


def check_shared_folder(folder: Path) -> None:
    """Have every node write a file into the folder and read the others'.

    Raises:
        InputError: Some node does not see what another wrote, with the remedy.
    """
    here = ray.get_runtime_context().get_node_id()
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in _nodes()}
    if list(nodes) == [here]:
        return
    token = uuid.uuid4().hex[:8]
    names = {node: f".optlstm-shared-{token}-{node[:8]}" for node in nodes}
    path = str(folder.absolute())
    try:
        ray.get([_on(node, _write).remote(path, name) for node, name in names.items()], timeout=CHECK_TIMEOUT_S)
        missing = ray.get([_on(node, _missing).remote(path, list(names.values())) for node in nodes])
        missing.append([name for name in names.values() if not (folder / name).exists()])  # the driver looks too
        blind = [where for where, lost in zip([*nodes.values(), "this machine"], missing, strict=True) if lost]
    except (OSError, ray.exceptions.RayError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(f"--storage-path {folder}: a node cannot write there ({reason})") from None
    finally:
        ray.get([_on(node, _remove).remote(path, name) for node, name in names.items()])
    if blind:
        raise InputError(
            f"--storage-path {folder}: is not shared: {', '.join(blind)} cannot see what other nodes write there; "
            "give a folder that every node mounts (NFS, EFS, Lustre), such as --storage-path /shared/optlstm"
        )


def _on(node_id: str, function: Any) -> Any:
    return function.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False))
