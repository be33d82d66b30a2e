"""The contract of a backend whose workers and drivers die, hang, or are two."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from optlstm.backends.driver import Run
from optlstm.backends.local.process import WorkerProcess
from optlstm.backends.local.shared_data import SharedData
from optlstm.study.events import EpochReported
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


def test_ctrl_c_does_not_end_a_worker_that_is_being_started() -> None:
    """It reaches every process of a terminal, and Python is not yet there to be told to ignore it."""
    worker = WorkerProcess(1, tempfile.TemporaryFile())  # noqa: SIM115  (closed with it)
    for _ in range(5):
        os.kill(worker._process.pid, signal.SIGINT)
        time.sleep(0.01)
    worker.end()
    worker.wait(60)
    assert worker._process.returncode == 0


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
