"""A study on a cluster whose nodes come and go."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from optlstm.backends.driver import Run
from optlstm.study.record import NODES_KEY
from tests.backends.contract import INLINE, Studies, job, reference, table
from tests.nodes import Nodes, kill_node
from tests.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.slow]
RANDOM: dict[str, Any] = {"sampler": "random", "pruner": "none"}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """A cluster that is only a head, without CPUs; its autoscaler starts up to two nodes."""
    cluster = Nodes(tmp_path_factory.mktemp("nodes"), autoscaled=True)
    yield cluster
    cluster.stop()


def test_an_autoscaler_sees_what_trials_ask_for_before_they_are_sampled(
    nodes: Nodes, studies: Studies, tmp_path: Path
) -> None:
    """The first two trials wait for each other: there must be two nodes, and the head had no CPU."""
    (tmp_path / "met").mkdir()
    driver = nodes.driver(tmp_path, 4, tmp_path / "checkpoints", together=2, first_time=str(tmp_path / "met"))
    _, errors = driver.communicate(timeout=250)
    assert driver.returncode == 0, errors.decode()[-2000:]
    assert b"waiting up to 15m (ray.wait_for_nodes) for a node that has 1 CPU for a trial" in errors
    assert b"2 nodes, 2 places" in errors
    assert table(studies.ledger(**RANDOM)) == reference(studies, 4, **RANDOM)
    wait_until(lambda: len(nodes.raylets()) == 1)  # it has taken back what nothing asks for


def test_a_study_gives_up_where_no_node_comes_and_is_resumed_elsewhere(
    nodes: Nodes, studies: Studies, tmp_path: Path
) -> None:
    nodes.stop_autoscaler()
    driver = nodes.driver(tmp_path, 2, tmp_path / "checkpoints", {"wait_for_nodes": 1.5})
    _, errors = driver.communicate(timeout=250)
    last = errors.decode().strip().splitlines()[-1]
    assert driver.returncode == 1
    assert "no node had 1 CPU for a trial for 1.5s; everything is saved" in last
    ledger = studies.ledger(**RANDOM)
    assert ledger.trials == []  # none was sampled
    INLINE.work(Run(ledger, 2), job(), 1)
    assert table(ledger) == reference(studies, 2, **RANDOM)


@pytest.mark.nodes
def test_the_study_is_the_same_though_nodes_join_die_and_are_drained(
    nodes: Nodes, studies: Studies, tmp_path: Path, draw: random.Random
) -> None:
    """From no node to three, which the first trials need at a time, and down to one; the last trials wait for that."""
    nodes.stop_autoscaler()
    (tmp_path / "met").mkdir()
    gone = tmp_path / "gone"
    driver = nodes.driver(
        tmp_path,
        24,
        tmp_path / "checkpoints",
        **{"together": 3, "first_time": str(tmp_path / "met"), "seconds": 0.05, "gate": (str(gone), 16)},
    )
    studies.ledger(**RANDOM)
    first, second, third = nodes.add("first", "second", "third")
    changes = [
        (lambda: kill_node(first), draw.randint(1, 15)),
        (lambda: nodes.drain(second), draw.randint(16, 30)),
        (lambda: nodes.add("fourth"), 31),
        (lambda: kill_node(third), draw.randint(32, 60)),
    ]
    for change, reports in changes:
        wait_until(lambda enough=reports: studies.reports() >= enough or driver.poll() is not None)  # type: ignore[misc]
        if driver.poll() is not None:
            pytest.fail(f"it ended before all nodes had gone: {driver.communicate()[1].decode()[-2000:]}")
        change()
    gone.touch()
    _, errors = driver.communicate(timeout=250)
    assert driver.returncode == 0, errors.decode()[-2000:]
    ledger = studies.ledger(**RANDOM)
    assert table(ledger) == reference(studies, 24, **RANDOM)
    ran_on = {node for trial in ledger.trials for node in trial.system_attrs[NODES_KEY]}
    assert len(ran_on) == 4
    assert ledger.trials[-1].system_attrs[NODES_KEY] == [max(ran_on)]  # where the last of them was the fourth


def test_a_folder_that_the_nodes_do_not_share_is_refused(nodes: Nodes, studies: Studies, tmp_path: Path) -> None:
    nodes.add("other")
    # Every process finds its own working directory there: the same path, another folder on each node.
    driver = nodes.driver(tmp_path, 4, Path("/proc/self/cwd/checkpoints"))
    _, errors = driver.communicate(timeout=250)
    assert driver.returncode != 0
    assert "is not shared" in errors.decode()
    assert "--storage-path" in errors.decode()
    assert studies.reports() == 0


def test_trials_share_the_gpus_of_a_node(nodes: Nodes, studies: Studies, tmp_path: Path) -> None:
    nodes.add("gpus", resources=("--num-cpus=4", "--num-gpus=2"))
    (tmp_path / "met").mkdir()
    options = {"gpus_per_trial": 0.5}
    driver = nodes.driver(tmp_path, 4, tmp_path / "checkpoints", options, together=4, first_time=str(tmp_path / "met"))
    _, errors = driver.communicate(timeout=250)
    assert driver.returncode == 0, errors.decode()[-2000:]
    assert Counter(trial.user_attrs["gpus"] for trial in studies.ledger(**RANDOM).trials) == {"0": 2, "1": 2}
