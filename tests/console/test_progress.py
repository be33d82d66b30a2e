"""What the live display shows of a trial between two epochs and of a stop, and what is printed of a refit."""

from __future__ import annotations

import io
import time
from contextlib import closing
from pathlib import Path

import pytest
from rich.console import Console

from optlstm.backends.driver import Run
from optlstm.console.progress import Display, Epochs, RunningTrial
from optlstm.study.events import TrialStarted
from tests.backends.contract import Studies


def test_a_long_epoch_is_shown_by_the_length_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    trial = RunningTrial(started=100.0)

    def after(seconds: float) -> tuple[float, str]:
        clock[0] += seconds
        return trial.done, trial.waiting

    assert after(2) == (0, "")
    assert after(10) == (0, "epoch 1: 12 s")
    trial.report(1, 0.5)
    assert after(3) == (1.25, "epoch 2: 3.0 s of about 12 s")
    assert after(30) == (1.99, "epoch 2: 33 s of about 12 s")
    clock[0] = 114.0
    trial.report(2, 0.4)  # an epoch of 2 s
    assert after(1) == (2.5, "")


@pytest.mark.parametrize(
    ("networks", "line"), [(1, "trained"), (2, "trained 2/2"), (0, "trained network 2")], ids=["one", "two", "open"]
)
def test_a_network_is_numbered_where_there_are_more(networks: int, line: str) -> None:
    out = io.StringIO()

    Epochs(Console(file=out)).on_epoch(2, networks, 7, 7)

    assert out.getvalue() == f"{line}: 7 epochs\n"


def test_networks_that_are_trained_at_a_time_have_a_bar_each() -> None:
    with Epochs(Console(file=io.StringIO(), force_terminal=True)) as display:
        for member, epoch in ((2, 1), (1, 1), (2, 2), (2, 3)):
            display.on_epoch(member, 2, epoch, 4)

        shown = {task.description: task.fields["done"] for task in display.bar.tasks}

    assert shown == {"training 2/2": "epoch 3/4", "training 1/2": "epoch 1/4"}


def test_a_run_stops_after_this_epoch_only_where_a_trial_trains(tmp_path: Path) -> None:
    with closing(Studies(tmp_path)) as studies:
        display = Display(Console(file=io.StringIO()), Run(studies.ledger(), 1), 2, "mse")
        assert display.stopping == "stopping"

        display.on_event(TrialStarted(0, {}, 0))

    assert display.stopping == "stopping after this epoch"
