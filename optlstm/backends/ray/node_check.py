"""Whether the nodes of a cluster have what the driver has: its versions, and its folder."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from optlstm.backends.ray.cluster import addresses
from optlstm.errors import InputError
from optlstm.util.files import Location, absolute, open_folder
from optlstm.util.format import listed

CHECK_TIMEOUT_S = 60.0
Versions = Mapping[str, str]


def _by_value() -> Callable[[], dict[str, str]]:
    def versions() -> dict[str, str]:
        import sys
        from importlib import import_module
        from importlib.metadata import PackageNotFoundError, version

        installed = {"Python": "{}.{}".format(*sys.version_info)}
        try:
            installed["optlstm"] = import_module("optlstm").__version__
        except ImportError:
            installed["optlstm"] = "none"
        for package in ("torch", "optuna"):
            try:
                installed[package] = version(package).partition("+")[0]  # 2.13.0+cpu and 2.13.0+cu126 are alike
            except PackageNotFoundError:
                installed[package] = "none"
        return installed

    return versions


_asked = _by_value()  # made inside a function, it is sent as it is, to nodes that may have no optlstm
versions = _asked


def differences(theirs: Versions, ours: Versions) -> str:
    """`torch 2.9.0 (here 2.13.0)` for each version that is another; empty where there is none."""
    unlike = [name for name in ours if theirs.get(name) != ours[name]]
    return listed([f"{name} {theirs.get(name)} (here {ours[name]})" for name in unlike])


def _unlike(nodes: str) -> str:
    return f"--backend ray: {nodes}; install the same versions on every node"


def check_versions() -> None:
    """Raises InputError where nodes have other versions than this process, in one line."""
    ask: Any = ray.remote(num_cpus=0)(_asked)
    asked = {
        address: ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()
        for node, address in addresses().items()
    }
    problems = []
    for address, answer in asked.items():
        with contextlib.suppress(ray.exceptions.RayError):  # it is gone; if it comes back, its workers look themselves
            if unlike := differences(ray.get(answer, timeout=CHECK_TIMEOUT_S), versions()):
                problems.append(f"node {address} has {unlike}")
    if problems:
        raise InputError(_unlike(", ".join(problems)))


@dataclass(frozen=True)
class Expected:
    """What a worker must find on its node, which may have joined when the study ran already.

    Args:
        folder: Of the study's checkpoints, None: it is not looked for.
        file: That the driver has written there.
    """

    versions: Versions
    folder: Location | None = None
    file: str = ""

    def problem(self) -> str | None:
        """What is not as it must be; called on the worker."""
        address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        if unlike := differences(versions(), self.versions):
            return _unlike(f"node {address} has {unlike}")
        if self.folder is not None and self.file not in open_folder(self.folder).names():
            return _not_shared(self.folder, f"node {address}")
        return None


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
    while list(nodes := addresses()) != [here]:
        try:
            blind = _blind(folder, nodes)
        except (OSError, ray.exceptions.RayError) as error:
            if nodes.keys() - addresses().keys():
                continue
            reason = str(error).strip().splitlines()[-1]
            raise InputError(f"--storage-path {folder}: a node cannot write there ({reason})") from None
        if blind:
            raise InputError(_not_shared(folder, ", ".join(blind)))
        return


def _not_shared(folder: Location, nodes: str) -> str:
    return (
        f"--storage-path {folder}: is not shared: {nodes} cannot see what other nodes write there; "
        "give a folder that every node mounts (NFS, EFS, Lustre), such as --storage-path /shared/optlstm"
    )


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
