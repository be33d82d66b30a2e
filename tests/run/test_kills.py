"""Killed at any moment, continued, the study ends as if nobody had touched it."""

from __future__ import annotations

import random
import shutil
import time
from collections import defaultdict
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import dying
from tests.backends.contract import table
from tests.damage import empty, flip, truncate
from tests.study.processes import exit_code, start

KILLS = 20
Files = dict[str, bytes]


def url_in(folder: Path) -> str:
    return f"sqlite:///{folder}/study.db"


def steps_of(folder: Path) -> list[tuple[int, int]]:
    """(trial, epoch) of every step that was taken, in the order of time."""
    log = folder / "log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [(int(number), int(step)) for number, step in (line.split() for line in lines)]


class Killer:
    """Sends SIGKILL to the driver of a study or to one of its workers, at random moments."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self.folder, self.draw = folder, draw
        self.drivers = self.workers = 0

    def end(self, driver: ForkServerProcess) -> None:
        """Kill workers of this driver, and then itself."""
        for _ in range(min(self.draw.choice([0, 1, 1, 2]), KILLS - 1 - self.drivers - self.workers)):
            self._wait(driver)
            workers = psutil.Process(driver.pid).children()
            if workers:
                self.draw.choice(workers).kill()
                self.workers += 1
        self._wait(driver)
        driver.kill()
        assert exit_code(driver) == -9, "it was over before it was killed"
        self.drivers += 1

    def _wait(self, driver: ForkServerProcess) -> None:
        """Some steps, or a moment, whatever happens in it: it may be its start."""
        if self.draw.random() < 0.75:
            enough = len(steps_of(self.folder)) + self.draw.randint(1, 6)
            while len(steps_of(self.folder)) < enough and driver.is_alive():
                time.sleep(0.002)
        time.sleep(self.draw.random() * 0.05)


def test_a_study_of_two_workers_survives_twenty_kills_at_random_moments(tmp_path: Path) -> None:
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    calm.mkdir()
    rough.mkdir()
    dying.walk(url_in(calm), calm, workers=1)
    killer = Killer(rough, random.Random())

    while killer.drivers + killer.workers < KILLS:
        killer.end(start(dying.walk, url_in(rough), rough, 2, 0.01))
    dying.walk(url_in(rough), rough, workers=2)

    assert table(dying.walking(url_in(rough))) == table(dying.walking(url_in(calm)))
    assert killer.drivers > 5
    assert killer.workers > 3
    again = retrained(steps_of(rough))
    assert again <= 2 * killer.drivers + killer.workers
    assert len(steps_of(rough)) == len(steps_of(calm)) + again


def retrained(steps: list[tuple[int, int]]) -> int:
    """How many steps were taken more than once; none but the one that a trial was killed in."""
    by_trial = defaultdict(list)
    for number, step in steps:
        by_trial[number].append(step)
    for taken in by_trial.values():
        assert all(after - before in (0, 1) for before, after in zip([0, *taken], taken, strict=False)), taken
    return len(steps) - len(set(steps))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[tuple[Any, ...]], Files]:
    """The table and the weights of a study that nobody touched."""
    folder = tmp_path_factory.mktemp("undisturbed")
    dying.train(url_in(folder), folder)
    return table(dying.training(url_in(folder))), weights(folder)


def weights(folder: Path) -> Files:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.safetensors")}


@pytest.mark.parametrize("moment", dying.MOMENTS)
def test_killed_at_any_moment_it_ends_bit_by_bit_the_same(
    tmp_path: Path, undisturbed: tuple[list[tuple[Any, ...]], Files], moment: str
) -> None:
    assert exit_code(start(dying.train_until, url_in(tmp_path), tmp_path, moment)) == -9

    dying.train(url_in(tmp_path), tmp_path)

    assert table(dying.training(url_in(tmp_path))) == undisturbed[0]
    assert weights(tmp_path) == undisturbed[1]


@pytest.mark.parametrize(
    ("damage", "files"),
    [
        (truncate, "epoch-00003.safetensors"),
        (flip, "epoch-00003.safetensors"),
        (empty, "epoch-00003.safetensors"),
        (Path.unlink, "epoch-00003.safetensors"),
        (flip, "epoch-00003.json"),
        (truncate, "*"),  # nothing is left of it: the trial begins again
    ],
)
def test_damaged_checkpoints_are_noticed_and_cost_epochs_alone(
    tmp_path: Path,
    killed_after_three_epochs: Path,
    undisturbed: tuple[list[tuple[Any, ...]], Files],
    damage: Callable[[Path], None],
    files: str,
) -> None:
    shutil.copytree(killed_after_three_epochs, tmp_path, dirs_exist_ok=True)
    for path in (tmp_path / "trial-00000").glob(files):
        damage(path)

    dying.train(url_in(tmp_path), tmp_path)

    assert table(dying.training(url_in(tmp_path))) == undisturbed[0]
    assert weights(tmp_path) == undisturbed[1]


@pytest.fixture(scope="module")
def killed_after_three_epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    assert exit_code(start(dying.train_until, url_in(folder), folder, "after report")) == -9
    return folder
