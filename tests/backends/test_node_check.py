"""What is asked of the nodes of a cluster before trials run there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from optlstm.backends.ray import node_check
from optlstm.backends.ray.node_check import Expected, check_shared_folder, check_versions, versions
from optlstm.errors import InputError

HERE, OTHER = "here", "other"


def nodes(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
    """Have Ray name these nodes, one answer after another; none of them answers itself."""
    context = type("Context", (), {"get_node_id": lambda _: "here"})()
    left = iter(answers)

    def fail(*_: Any) -> Any:
        raise node_check.ray.exceptions.RayError("the node is gone")

    monkeypatch.setattr(node_check.ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(node_check, "addresses", lambda: {name: name for name in next(left)})
    monkeypatch.setattr(node_check, "_blind", fail)


def test_a_node_that_goes_while_the_folder_is_checked_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes(monkeypatch, [HERE, OTHER], [HERE], [HERE])
    check_shared_folder("/shared")


def test_a_node_that_stays_and_cannot_write_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes(monkeypatch, [HERE, OTHER], [HERE, OTHER])
    with pytest.raises(InputError, match=r"--storage-path /shared: a node cannot write there \(the node is gone\)"):
        check_shared_folder("/shared")


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_a_node_with_another_version_is_named_before_the_first_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    check_versions()
    ours = {**versions(), "torch": "1.0"}
    monkeypatch.setattr(node_check, "versions", lambda: ours)
    monkeypatch.setattr(node_check, "_asked", versions)
    line = rf"--backend ray: node 127.0.0.1 has torch {versions()['torch']} \(here 1.0\); install the same versions"
    with pytest.raises(InputError, match=line):
        check_versions()


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_a_worker_of_a_node_that_joined_later_looks_itself(tmp_path: Path) -> None:
    (tmp_path / "there").touch()

    assert Expected(versions(), tmp_path, "there").problem() is None
    assert "is not shared: node 127.0.0.1 cannot see" in str(Expected(versions(), tmp_path, "gone").problem())
    assert "has optuna" in str(Expected({**versions(), "optuna": "4.0"}).problem())
