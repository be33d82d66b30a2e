"""What is asked of a cluster, while its nodes come and go."""

from __future__ import annotations

from typing import Any

import pytest

from optlstm.backends.ray import cluster
from optlstm.backends.ray.cluster import check_shared_folder
from optlstm.errors import InputError

HERE, OTHER = ({"NodeID": name, "NodeManagerAddress": name, "Alive": True} for name in ("here", "other"))


def nodes(monkeypatch: pytest.MonkeyPatch, *answers: list[dict[str, Any]]) -> None:
    """Have Ray name these nodes, one answer after another; none of them answers itself."""
    context = type("Context", (), {"get_node_id": lambda _: "here"})()
    left = iter(answers)

    def fail(*_: Any) -> Any:
        raise cluster.ray.exceptions.RayError("the node is gone")

    monkeypatch.setattr(cluster.ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(cluster, "_nodes", lambda: next(left))
    monkeypatch.setattr(cluster, "_blind", fail)


def test_a_node_that_goes_while_the_folder_is_checked_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes(monkeypatch, [HERE, OTHER], [HERE], [HERE])
    check_shared_folder("/shared")


def test_a_node_that_stays_and_cannot_write_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes(monkeypatch, [HERE, OTHER], [HERE, OTHER])
    with pytest.raises(InputError, match=r"--storage-path /shared: a node cannot write there \(the node is gone\)"):
        check_shared_folder("/shared")
