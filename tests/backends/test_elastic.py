"""A study on a cluster whose nodes come and go."""

from __future__ import annotations

import itertools
import random
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from optlstm.backends.driver import Run
from optlstm.study.record import NODES_KEY
from tests.backends.contract import INLINE, Studies, job, reference, table
from tests.backends.objectives import EPOCHS
from tests.nodes import Nodes, kill, kill_node
from tests.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.slow]
RANDOM: dict[str, Any] = {"sampler": "random", "pruner": "none"}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """A cluster that is only a head, without CPUs; its autoscaler starts up to two nodes."""
    cluster = Nodes(tmp_path_factory.mktemp("nodes"), autoscaled=True)
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def other(nodes: Nodes) -> subprocess.Popen[bytes]:
    """A node beside the head, for one trial at a time; the autoscaler starts none any more."""
    nodes.stop_autoscaler()
    return nodes.add("other")[0]


def test_the_study_is_the_same_though_nodes_come_by_its_demand_die_and_are_drained(
    nodes: Nodes, studies: Studies, tmp_path: Path, draw: random.Random
) -> None:
    """Two by the autoscaler, two by hand; the first trials need all four, and the last wait until three have gone."""
    (tmp_path / "met").mkdir()
    gone = tmp_path / "gone"
    driver = nodes.driver(
        tmp_path,
        16,
        tmp_path / "checkpoints",
        **{"together": 4, "first_time": str(tmp_path / "met"), "seconds": 0.1, "gate": (str(gone), 12)},
    )
    studies.ledger(**RANDOM)
    assert driver.stderr is not None
    lines = list(itertools.takewhile(lambda line: line != b"2 nodes, 2 places\n", driver.stderr))
    assert b"waiting up to 15m (ray.wait_for_nodes) for a node that has 1 CPU for a trial\n" in lines
    third, fourth = nodes.add("third", "fourth")
    changes = [
        (lambda: kill(nodes.autoscaled()[0]), draw.randint(1, 12)),
        (lambda: nodes.drain(third), draw.randint(13, 24)),
        (lambda: kill_node(fourth), draw.randint(25, 40)),
    ]
    for change, reports in changes:
        wait_until(lambda enough=reports: studies.reports() >= enough or driver.poll() is not None)  # type: ignore[misc]
        if driver.poll() is None:
            change()
    gone.touch()
    _, errors = driver.communicate(timeout=250)
    assert driver.returncode == 0, errors.decode()[-2000:]
    assert b"4 nodes, 4 places" in errors
    assert b" is gone; trials that ran there are continued elsewhere\n" in errors
    ledger = studies.ledger(**RANDOM)
    assert table(ledger) == reference(studies, 16, **RANDOM)
    ran_on = {node for trial in ledger.trials for node in trial.system_attrs[NODES_KEY]}
    assert len(ran_on) == 3  # the autoscaler's have one name
    assert ledger.trials[-1].system_attrs[NODES_KEY][-1] == max(ran_on)
    wait_until(lambda: len(nodes.raylets()) == 1)  # it has taken back what nothing asks for


@pytest.mark.usefixtures("other")
def test_a_folder_that_the_nodes_do_not_share_is_refused(nodes: Nodes, studies: Studies, tmp_path: Path) -> None:
    # Every process finds its own working directory there: the same path, another folder on each node.
    driver = nodes.driver(tmp_path, 4, Path("/proc/self/cwd/checkpoints"))
    _, errors = driver.communicate(timeout=250)
    assert driver.returncode != 0
    assert "is not shared" in errors.decode()
    assert "--storage-path" in errors.decode()
    assert studies.reports() == 0


def test_a_study_gives_up_where_no_node_is_left_and_is_resumed_without_a_cluster(
    nodes: Nodes, other: subprocess.Popen[bytes], studies: Studies, tmp_path: Path, draw: random.Random
) -> None:
    driver = nodes.driver(tmp_path, 4, tmp_path / "checkpoints", {"wait_for_nodes": 1.5}, seconds=0.1)
    studies.ledger(**RANDOM)
    enough = EPOCHS + draw.randint(1, EPOCHS - 1)
    wait_until(lambda: studies.reports() >= enough or driver.poll() is not None)
    kill_node(other)
    _, errors = driver.communicate(timeout=250)
    last = errors.decode().strip().splitlines()[-1]
    assert driver.returncode == 1
    assert "no node had 1 CPU for a trial for 1.5s; everything is saved" in last
    assert "is gone; trials that ran there are continued elsewhere" in errors.decode()
    ledger = studies.ledger(**RANDOM)
    assert [trial.state.name for trial in ledger.trials] == ["COMPLETE", "RUNNING"]  # none was sampled without a node
    INLINE.work(Run(ledger, 4), job(), 1)
    assert table(ledger) == reference(studies, 4, **RANDOM)


def test_trials_share_the_gpus_of_a_node(nodes: Nodes, studies: Studies, tmp_path: Path) -> None:
    nodes.add("gpus", resources=("--num-cpus=4", "--num-gpus=2"))
    (tmp_path / "met").mkdir()
    options = {"gpus_per_trial": 0.5}
    driver = nodes.driver(tmp_path, 4, tmp_path / "checkpoints", options, together=4, first_time=str(tmp_path / "met"))
    _, errors = driver.communicate(timeout=250)
    assert driver.returncode == 0, errors.decode()[-2000:]
    assert Counter(trial.user_attrs["gpus"] for trial in studies.ledger(**RANDOM).trials) == {"0": 2, "1": 2}
