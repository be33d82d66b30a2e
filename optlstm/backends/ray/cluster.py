"""What a cluster has, while its nodes come and go."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ray

from optlstm.errors import InputError
from optlstm.util.format import as_timeout, many

if TYPE_CHECKING:
    from optlstm.backends.driver import Run
    from optlstm.config.schema import RayConfig

LOOK_S = 1.0  # between two looks at the nodes


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def addresses() -> dict[str, str]:
    """Of the nodes that are alive, by their ids."""
    return {node["NodeID"]: node["NodeManagerAddress"] for node in _nodes()}


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


def places_now(resources: Mapping[str, float]) -> int:
    """How many trials the nodes that are there can hold."""
    return sum(_fitting(resources, node["Resources"]) for node in _nodes())


def gpus_now() -> float:
    """How many GPUs the nodes have that are there."""
    return float(sum(node["Resources"].get("GPU", 0.0) for node in _nodes()))


def check_room(resources: Mapping[str, float]) -> None:
    """Raises InputError where not even one trial fits on any node."""
    if places_now(resources) == 0:
        nodes = [node["Resources"] for node in _nodes()]
        most = {n: max((node.get(n.upper(), 0) for node in nodes), default=0) for n in resources}
        asked, largest = resources_in_words(resources), resources_in_words(most)
        hint = "" if places_now({**resources, "gpu": 0}) == 0 else "; --gpus-per-trial 0 keeps to CPUs"
        raise InputError(f"--backend ray: a trial asks for {asked}, and the largest node has {largest}{hint}")


def _fitting(resources: Mapping[str, float], node: Mapping[str, float]) -> int:
    counts = [math.floor(node.get(name.upper(), 0) / amount + 1e-9) for name, amount in resources.items() if amount > 0]
    return min(counts, default=0)


class Cluster:
    """The cluster under a run, looked at once a second.

    Args:
        limit: Trials at a time, at most.
        elastic: Whether nodes may come: then a study waits for them, and says what it sees.

    Attributes:
        draining: Nodes, by their ids, that will leave: what runs there is to go elsewhere.
        dead: How many nodes it has lost.
    """

    def __init__(self, config: RayConfig, limit: int, elastic: bool) -> None:
        self.limit = limit
        self.resources = config.resources
        self.draining: frozenset[str] = frozenset()
        self.dead = 0
        self._elastic = elastic
        self._patience = config.wait_for_nodes
        self._looked = -math.inf
        self._addresses: dict[str, str] = {}
        self._alive: set[str] = set()  # ids
        self._shown = (-1, -1)
        self._without_since: float | None = None  # when the last node went that a trial fits on

    def follow(self, run: Run, at_work: int) -> None:
        """Tell the run what has changed, and stop it where no trial has fitted on any node for too long.

        Args:
            at_work: Trials that have a place.
        """
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        nodes = ray.nodes()  # type: ignore[no-untyped-call]
        self.dead = sum(not node["Alive"] for node in nodes)
        self.draining = frozenset(ray._private.state.state.get_draining_nodes())
        self._addresses |= {node["NodeID"]: node["NodeManagerAddress"] for node in nodes}
        alive = {node["NodeID"] for node in nodes if node["Alive"]}
        gone, self._alive = self._alive - alive, alive
        if self._elastic:
            for name in sorted(str(self.name_of(node)) for node in gone):
                run.announce(f"node {name} is gone; trials that ran there are continued elsewhere")
        usable = [node for node in nodes if node["Alive"] and node["NodeID"] not in self.draining]
        fitting = [fits for node in usable if (fits := _fitting(self.resources, node["Resources"]))]
        if self._elastic:
            self._tell(run, len(fitting), min(sum(fitting), self.limit), at_work, now)

    def _tell(self, run: Run, nodes: int, places: int, at_work: int, now: float) -> None:
        run.cluster = f"{many(nodes, 'node')}, {at_work} of {many(places, 'place')}"
        if places and (nodes, places) != self._shown:
            run.announce(f"{many(nodes, 'node')}, {many(places, 'place')}")
        self._shown = nodes, places
        asked, limit = resources_in_words(self.resources), as_timeout(self._patience)
        if places:
            self._without_since = None
        elif self._without_since is None:
            self._without_since = now
            run.announce(f"waiting up to {limit} (ray.wait_for_nodes) for a node that has {asked} for a trial")
        elif now - self._without_since > self._patience:
            run.block(
                f"--backend ray: no node had {asked} for a trial for {limit}; everything is saved: "
                "add nodes, or ask for less, and resume with the same command"
            )

    def name_of(self, node_id: str) -> str | None:
        """Of a node: its address, and the beginning of its id, for several nodes may have one address.

        None where there is only this machine.
        """
        if not self._elastic:
            return None
        return f"{self._addresses.get(node_id, '?')}/{node_id[:6]}"
