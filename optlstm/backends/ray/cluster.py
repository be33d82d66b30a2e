"""What a cluster has, and whether its nodes share a folder."""

from __future__ import annotations

import contextlib
import math
import uuid
from collections.abc import Mapping
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from optlstm.errors import InputError
from optlstm.util.files import Location, absolute, open_folder

CHECK_TIMEOUT_S = 60.0


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
    """Have every node write a file into the folder and read the others'. A node that goes away meanwhile is left out.

    Raises:
        InputError: Some node does not see what another wrote, with the remedy.
    """
    here = ray.get_runtime_context().get_node_id()
    while list(nodes := _addresses()) != [here]:
        try:
            blind = _blind(folder, nodes)
        except (OSError, ray.exceptions.RayError) as error:
            if nodes.keys() - _addresses().keys():
                continue
            reason = str(error).strip().splitlines()[-1]
            raise InputError(f"--storage-path {folder}: a node cannot write there ({reason})") from None
        if blind:
            raise InputError(
                f"--storage-path {folder}: is not shared: {', '.join(blind)} cannot see what other nodes write there; "
                "give a folder that every node mounts (NFS, EFS, Lustre), such as --storage-path /shared/optlstm"
            )
        return


def _addresses() -> dict[str, str]:
    """Of the nodes that are alive, by their ids."""
    return {node["NodeID"]: node["NodeManagerAddress"] for node in _nodes()}


def _blind(folder: Location, nodes: Mapping[str, str]) -> list[str]:
    """Those of the nodes, and this machine, that do not see what all of them have written."""
    token = uuid.uuid4().hex[:8]
    names = {node: f".optlstm-shared-{token}-{node[:8]}" for node in nodes}
    path = absolute(folder)
    try:
        writes = [_on_node(node, path, "write", name, name.encode()) for node, name in names.items()]
        ray.get(writes, timeout=CHECK_TIMEOUT_S)
        seen = ray.get([_on_node(node, path, "names") for node in nodes], timeout=CHECK_TIMEOUT_S)
        seen.append(open_folder(path).names())  # the driver looks too
        lookers = [*nodes.values(), "this machine"]
        written = set(names.values())
        return [looker for looker, visible in zip(lookers, seen, strict=True) if not written <= set(visible)]
    finally:
        for removed in [_on_node(node, path, "remove", name) for node, name in names.items()]:
            with contextlib.suppress(ray.exceptions.RayError):  # gone
                ray.get(removed, timeout=CHECK_TIMEOUT_S)
