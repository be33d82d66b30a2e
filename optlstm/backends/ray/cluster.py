"""Ray itself: a cluster to run on, what it has, and whether its nodes share a folder."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shutil
import signal
import socket
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from optlstm.backends.local.runner import cores
from optlstm.errors import InputError
from optlstm.util.files import Location, absolute, open_folder

CLUSTER_SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
CHECK_TIMEOUT_S = 60.0
# Set to keep Ray's own folders after a run, to look into a trial that Ray could not run.
KEEP_VARIABLE = "OPTLSTM_KEEP_RAY_FOLDER"
PROBE_TIMEOUT_S = 5.0


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
    logging.getLogger("ray").setLevel(logging.ERROR)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if address is None:
        _start(max(cores(), math.ceil((workers or 1) * cpus_per_trial)))
    else:
        _join(address)
    try:
        for number, handler in handlers.items():
            with contextlib.suppress(ValueError):  # not the main thread: no handlers to keep
                signal.signal(number, handler)  # Ray put its own over ours
        yield
    finally:
        session = _session_folder() if address is None else None
        ray.shutdown()
        if session and KEEP_VARIABLE not in os.environ:
            shutil.rmtree(session, ignore_errors=True)  # logs and sockets of a Ray that is gone


def _session_folder() -> str | None:
    node: Any = ray._private.worker._global_node
    return node.get_session_dir_path() if node is not None else None


def _start(cpus: int) -> None:
    with _on_loopback():
        # "local": a new Ray even where another runs on this machine.
        ray.init("local", num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """A Ray started inside listens on 127.0.0.1 alone, and its token is readable by its owner alone.

    Ray binds to the machine's outer address on Linux, and replaces a loopback address it is given; the switch by which
    it stays on loopback on other systems is read from the environment by every process of it.
    """
    before = os.environ.get(CLUSTER_SWITCH)
    os.environ[CLUSTER_SWITCH] = "0"
    constants: Any = ray._private.ray_constants
    constants.ENABLE_RAY_CLUSTER = False
    mask = os.umask(0o077)
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    with contextlib.suppress(OSError):
        token.chmod(0o600)  # one that Ray made before, with the default mask
    try:
        yield
    finally:
        os.umask(mask)
        constants.ENABLE_RAY_CLUSTER = True
        os.environ.pop(CLUSTER_SWITCH) if before is None else os.environ.update({CLUSTER_SWITCH: before})


def check_address(address: str) -> None:
    """Raises InputError where nothing listens at host:port; Ray itself would try for minutes."""
    if address == "auto":
        # A Ray that is gone leaves its address behind, at which "auto" would wait: look for the processes instead.
        services: Any = ray._private.services
        address = os.environ.get("RAY_ADDRESS") or next(iter(services.find_gcs_addresses()), "")
        if not address:
            raise InputError("--address auto: no Ray cluster runs on this machine; start one: ray start --head")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise InputError(f"--address {address}: must be auto or host:port, such as 10.0.0.5:6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--address {address}: no Ray cluster answers there ({error}); start one: ray start --head"
        ) from None


def _join(address: str) -> None:
    check_address(address)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"--address {address}: cannot join that cluster ({reason})") from None


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def dead_nodes() -> int:
    """How many nodes the cluster has lost so far."""
    return sum(not node["Alive"] for node in ray.nodes())  # type: ignore[no-untyped-call]


def has_other_nodes() -> bool:
    """Whether the cluster has, or had, machines other than the driver's."""
    return len(ray.nodes()) > 1  # type: ignore[no-untyped-call]


def resources_in_words(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {name.upper()}" for name, amount in resources.items())


def nodes_in_words() -> list[str]:
    """`192.0.2.7: 8 CPU, 2 GPU, 31 GB` for each node that is alive."""
    lines = []
    for node in _nodes():
        resources = node["Resources"]
        parts = [f"{resources[name]:g} {name}" for name in ("CPU", "GPU") if resources.get(name)]
        memory = f"{resources.get('memory', 0) / 1e9:.0f} GB"
        lines.append(f"{node['NodeManagerAddress']}: {', '.join([*(parts or ['no CPU']), memory])}")
    return lines


def trials_at_once(resources: Mapping[str, float], wanted: int | None) -> int:
    """How many trials the cluster can hold, or `wanted` if that is fewer.

    Raises:
        InputError: Not even one fits on any node.
    """
    nodes = [node["Resources"] for node in _nodes()]
    fits = sum(_fitting(resources, node) for node in nodes)
    if fits == 0:
        most = {n: max((node.get(n.upper(), 0) for node in nodes), default=0) for n in resources}
        asked, largest = resources_in_words(resources), resources_in_words(most)
        raise InputError(f"--backend ray: a trial asks for {asked}, and the largest node has {largest}")
    return min(fits, wanted) if wanted else fits


def _fitting(resources: Mapping[str, float], node: Mapping[str, float]) -> int:
    counts = [math.floor(node.get(name.upper(), 0) / amount + 1e-9) for name, amount in resources.items() if amount > 0]
    return min(counts, default=0)


@ray.remote(num_cpus=0)
def _call(folder: Location, method: str, *args: Any) -> Any:
    return getattr(open_folder(folder), method)(*args)


def _on_node(node_id: str, folder: Location, method: str, *args: Any) -> Any:
    """Call a method of the folder on a node; gives a reference to its result."""
    strategy = NodeAffinitySchedulingStrategy(node_id, soft=False)
    return _call.options(scheduling_strategy=strategy).remote(folder, method, *args)


def check_shared_folder(folder: Location) -> None:
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
    path = absolute(folder)
    try:
        writes = [_on_node(node, path, "write", name, name.encode()) for node, name in names.items()]
        ray.get(writes, timeout=CHECK_TIMEOUT_S)
        seen = ray.get([_on_node(node, path, "names") for node in nodes])
        seen.append(open_folder(path).names())  # the driver looks too
        lookers = [*nodes.values(), "this machine"]
        written = set(names.values())
        blind = [looker for looker, visible in zip(lookers, seen, strict=True) if not written <= set(visible)]
    except (OSError, ray.exceptions.RayError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(f"--storage-path {folder}: a node cannot write there ({reason})") from None
    finally:
        ray.get([_on_node(node, path, "remove", name) for node, name in names.items()])
    if blind:
        raise InputError(
            f"--storage-path {folder}: is not shared: {', '.join(blind)} cannot see what other nodes write there; "
            "give a folder that every node mounts (NFS, EFS, Lustre), such as --storage-path /shared/optlstm"
        )
