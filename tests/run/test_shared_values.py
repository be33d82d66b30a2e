"""Data of a custom objective: made once a machine, however many workers ask for it, and gone with the last of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from optlstm.backends.trial import Decision
from optlstm.run.shared_values import SHARED, SharedValues
from tests.run.custom import custom_trial


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def shared_folders(place: Path) -> list[str]:
    return [path.name for path in place.iterdir() if "shared" in path.name]


def making(counted: list[int]) -> Callable[[], Any]:
    def make() -> Any:
        counted.append(1)
        time.sleep(0.05)
        return {"x": torch.arange(12.0).reshape(3, 4).T, "y": np.arange(5, dtype=np.int16), "names": ["a", None], 1: ()}

    return make


def test_workers_at_the_same_time_have_one_value_between_them(place: Path) -> None:
    workers, made = [SharedValues() for _ in range(4)], list[int]()
    together = threading.Barrier(4)

    def ask(worker: SharedValues) -> Any:
        together.wait()
        return worker.get("study", "data", making(made))

    with ThreadPoolExecutor(4) as pool:
        values = list(pool.map(ask, workers))
    assert len(made) == 1
    for value in values:
        assert torch.equal(value["x"], torch.arange(12.0).reshape(3, 4).T)
        assert (value["y"].tolist(), value["names"], value[1]) == ([0, 1, 2, 3, 4], ["a", None], ())
    assert workers[0].get("study", "data", making(made)) is values[0]
    workers[0].get("study", "other", making(made))
    workers[1].get("another study", "data", making(made))
    assert len(made) == 3

    with pytest.raises(ValueError, match="read-only"):
        values[0]["y"][0] = 1
    values[0]["x"] += 1  # is this process's alone
    assert values[1]["x"][0, 0] == 0
    assert len(shared_folders(place)) == 3
    for worker in workers[:3]:
        worker.close()
    assert len(shared_folders(place)) == 1  # the last one needs it still
    assert values[3]["x"][0, 1] == 4
    workers[3].close()
    assert shared_folders(place) == []


def test_a_value_that_a_killed_worker_did_not_finish_is_made_again(place: Path) -> None:
    def fails() -> Any:
        raise KeyError("killed")

    worker, made = SharedValues(), list[int]()
    with pytest.raises(KeyError):
        worker.get("study", "data", fails)
    worker.get("study", "data", making(made))
    assert len(made) == 1
    worker.close()


def test_a_folder_that_others_may_write_to_is_not_read(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, made = SharedValues(), list[int]()
    first.get("study", "data", making(made))
    (name,) = shared_folders(place)
    (place / name).chmod(0o777)
    second = SharedValues()
    assert second.get("study", "data", making(made))["names"] == ["a", None]
    assert len(made) == 2
    assert "a shared value is not shared: it is not this user's alone" in caplog.text
    first.close()


def test_a_trial_shares_with_those_of_its_study(place: Path) -> None:
    made: list[int] = []
    trials = [custom_trial(place / study, [], Decision.CONTINUE, 0) for study in ("a", "a", "b")]
    values = [trial.shared("data", making(made)) for trial in trials]
    assert len(made) == 2
    assert values[0] is values[1]
    with pytest.raises(TypeError, match="is of type function, which is not kept"):
        trials[0].shared("code", lambda: [making])
    SHARED.close()
