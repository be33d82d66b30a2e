"""`refit` with several processes: the same model, and no process left, however it ends."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from optlstm.config.schema import StudyConfig
from optlstm.console.progress import Epochs
from optlstm.models.refit import refit
from optlstm.run import concurrency
from optlstm.run.concurrency import networks_at_once
from optlstm.study.database.connection import open_database
from tests.conftest import URL, Cli


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def same_files(one: str, other: str) -> None:
    for name in ("model.json", "model.safetensors"):
        assert Path(one, name).read_bytes() == Path(other, name).read_bytes()


def test_it_is_the_same_model_also_where_the_weights_of_tuning_are_gone(cli: Cli, ensemble: Path) -> None:
    for folder in Path("runs").glob("chaos-*"):
        shutil.rmtree(folder)
    before, most = len(children()), list[int]()

    def count(*_: int) -> None:
        most.append(len(children()) - before)

    arguments: dict[str, Any] = {"storage_path": "runs", "workers": 2, "on_epoch": count}
    refit(open_database(URL), "chaos", seeds=2, **arguments).save("two")

    same_files("two", "ensemble")
    assert max(most) == 3  # and their server
    assert len(children()) == before


def test_more_networks_are_trained_side_by_side_where_there_is_time(made: Path) -> None:
    asked, database = list[int](), open_database(URL)

    def more(networks: int, seconds: float) -> int:
        asked.append(networks)
        return 6 - networks if networks < 5 else 0

    options: dict[str, Any] = {"storage_path": "runs", "ensemble": False}
    refit(database, "tiny", more=more, workers=2, **options).save("timed")
    refit(database, "tiny", seeds=5, **options).save("five")

    assert asked == [1, 3, 5]  # what one takes is measured alone
    same_files("timed", "five")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_of_a_refit_that_is_broken_off(
    cli: Cli, made: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """By a worker's death, or by a signal of its own."""
    before = set(children())

    def end(display: Epochs, *_: int) -> None:
        (server,) = set(psutil.Process().children()) - before
        os.kill(server.children()[0].pid if number == signal.SIGKILL else os.getpid(), number)

    monkeypatch.setattr(Epochs, "on_epoch", end)

    done = cli("refit", "tiny", "-o", "new", "--seeds", 2, "--workers", 2)

    died = "a training process died (killed by SIGKILL); --workers 1 trains in this one"
    assert done.lines == [died if number == signal.SIGKILL else "terminated"]
    assert done.code == (1 if number == signal.SIGKILL else 128 + number)
    assert set(children()) == before
    assert not Path("new").exists()


def test_small_trainings_are_worth_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "cores", lambda: 4)
    config = StudyConfig.model_validate({"backend": "ray"})

    assert networks_at_once(config, "auto", 9, 1.0) == 1
    assert networks_at_once(config, "auto", 9, 100.0) == 4
    assert networks_at_once(config, "auto", 3, 100.0) == 3
    assert networks_at_once(config, 2, 3, 1.0) == 2


@pytest.mark.parametrize("workers", ["0", "-1", "many", "1.5"])
def test_workers_are_a_number(cli: Cli, made: Path, workers: str) -> None:
    done = cli("refit", "tiny", "-o", "new", f"--workers={workers}")
    assert done.code == 2
    assert done.lines[0].startswith("--workers: must be a whole number of at least 1 or 'auto', got ")
