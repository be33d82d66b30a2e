"""The contract of a backend whose workers and drivers die, hang, or are two."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import psutil
import pytest

from optlstm.backends.driver import Run
from optlstm.backends.local.fork_server import ForkServer
from optlstm.backends.local.process import WorkerProcess
from optlstm.backends.local.runner import run_local
from optlstm.backends.local.shared_data import SharedData
from optlstm.study.events import EpochReported, Event
from tests.backends.contract import (
    INLINE,
    PROCESSES,
    RAY,
    Backend,
    Studies,
    backend_param,
    isolated_backends,
    job,
    reference,
    table,
    work,
)
from tests.backends.objectives import EPOCHS
from tests.study.processes import CONTEXT, exit_code, start
from tests.waiting import wait_until


@isolated_backends()
def test_a_killed_worker_costs_at_most_its_epoch(backend: Backend, studies: Studies, tmp_path: Path) -> None:
    trouble = {1: (3, "kill"), 3: (1, "kill"), 5: (EPOCHS, "kill")}
    ledger = studies.ledger()
    backend.work(Run(ledger, 8), job(trouble=trouble, first_time=str(tmp_path)), 1)
    assert table(ledger) == reference(studies, 8)


@isolated_backends()
def test_a_trial_that_kills_every_worker_fails(backend: Backend, studies: Studies) -> None:
    ledger = studies.ledger()
    backend.work(Run(ledger, 3), job(trouble={1: (2, "kill")}), 1)
    assert ledger.trials[1].state.name == "FAIL"
    assert "its worker died 4 times" in ledger.trials[1].user_attrs["reason"]
    assert ledger.counts == {"COMPLETE": 2, "FAIL": 1}


@isolated_backends()
def test_a_trial_that_hangs_fails_with_its_stack_and_its_worker_is_replaced(backend: Backend, studies: Studies) -> None:
    ledger = studies.ledger(pruner="none")
    backend.work(Run(ledger, 4), job(trouble={1: (3, "hang")}, trial_timeout=2.0), 1)
    hung = ledger.trials[1]
    assert ledger.counts == {"COMPLETE": 3, "FAIL": 1}
    assert (hung.last_step, hung.user_attrs["reason"]) == (2, "hung: no report for 2 s")
    assert "objectives.py" in hung.user_attrs["traceback"]
    assert "in _trouble" in hung.user_attrs["traceback"]


def test_the_server_of_workers_may_die(studies: Studies) -> None:
    """Its workers die with it, others are started without it, and their trials are resumed."""
    server, ledger = ForkServer(1), studies.ledger()
    reports: list[int] = []

    def kill(event: Event) -> None:
        reports.append(event.number)
        if len(reports) == 7:
            server._process.kill()

    ledger.listen(kill)
    run_local(Run(ledger, 4), job(), 1, inline=False, server=server)
    assert table(ledger) == reference(studies, 4)
    assert server._process.returncode == -signal.SIGKILL


def test_no_process_outlives_a_driver(tmp_path: Path) -> None:
    """Killed, it can end nobody: its server ends with it, and workers with their server."""
    Studies(tmp_path).ledger()
    driver = start(work, PROCESSES.name, tmp_path, {}, 100, 2, 1.0)
    process = psutil.Process(driver.pid)
    wait_until(lambda: len(process.children(recursive=True)) == 3)
    family = process.children(recursive=True)
    process.kill()
    assert psutil.wait_procs(family, timeout=60)[1] == []


@pytest.mark.parametrize("forked", [True, False])
def test_ctrl_c_does_not_end_a_worker_that_is_being_started(forked: bool) -> None:
    """It reaches every process of a terminal, and Python is not yet there to be told to ignore it."""
    with tempfile.TemporaryFile() as data, closing(ForkServer(1)) as server:
        stack = tempfile.TemporaryFile()  # noqa: SIM115  (closed with its worker)
        worker = WorkerProcess(1, stack, data.fileno(), server if forked else None)
        for _ in range(5):
            os.kill(worker._process.pid, signal.SIGINT)
            os.kill(server._process.pid, signal.SIGINT)
            time.sleep(0.01)
        worker.end()
        worker.wait(60)
        assert worker._process.returncode == 0
        assert server._process.poll() is None


def test_a_driver_leaves_no_data_file_behind_whenever_it_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    data = np.arange(5.0)
    shared = SharedData.write(data)
    assert list(tmp_path.iterdir()) == []
    assert (shared.read() == data).all()
    shared.close()


@pytest.mark.parametrize(
    ("backend", "at_once"),
    [backend_param(INLINE, 1), backend_param(PROCESSES, 1), backend_param(PROCESSES, 2), backend_param(RAY, 2)],
    indirect=["backend"],
)
def test_a_killed_driver_loses_nothing(
    backend: Backend, studies: Studies, tmp_path: Path, at_once: int, draw: random.Random
) -> None:
    # With two trials at a time, what a sampler or a pruner learns depends on which of them was faster.
    options = {} if at_once == 1 else {"sampler": "random", "pruner": "none"}
    expected = reference(studies, 10, **options)
    most = sum(len(row[4]) for row in expected) // 5  # reports of one driver: no one comes to the study's end
    for _ in range(1 if backend == RAY else 3):  # Ray takes seconds to start
        death = (draw.randint(1, most), draw.random() * 0.02)
        driver = start(work, backend.name, tmp_path, options, 10, at_once, 0.01, None, death)
        assert exit_code(driver) == -signal.SIGALRM
    ledger = studies.ledger(**options)
    backend.work(Run(ledger, 10), job(), at_once)
    assert table(ledger) == expected


def test_two_drivers_share_a_study(backend: Backend, studies: Studies, tmp_path: Path) -> None:
    """A driver of this process, and one of another process that begins with its first report."""
    ledger, under_way = studies.ledger(), CONTEXT.Event()
    ledger.listen(lambda event: under_way.set() if isinstance(event, EpochReported) else None)
    other = start(work, INLINE.name, tmp_path, {}, 16, 1, 0.02, under_way)
    backend.work(Run(ledger, 16), job(seconds=0.02), 1)
    assert exit_code(other) == 0
    both = studies.ledger()
    assert [t.number for t in both.trials] == list(range(16))
    assert both.counts["RUNNING"] == 0
    for trial in both.trials:
        assert list(trial.intermediate_values) == list(range(1, (trial.last_step or 0) + 1))
