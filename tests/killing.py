"""A study whose driver and workers are killed at random moments, and the check that nothing of it is lost or repeated.

`python -m tests.killing` is scripts/chaos.
"""

from __future__ import annotations

import argparse
import random
import secrets
import sys
import tempfile
import time
from collections import defaultdict
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import psutil

from tests import dying
from tests.backends.contract import table
from tests.study.processes import exit_code, start

WORKERS = ("optlstm.backends.local.worker", "ray::")  # in the command line of a worker, by backend


def url_in(folder: Path) -> str:
    return f"sqlite:///{folder}/study.db"


def steps_of(folder: Path) -> list[tuple[int, int]]:
    """(trial, epoch) of every step that was taken, in the order of time."""
    log = folder / "log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [(int(number), int(step)) for number, step in (line.split() for line in lines)]


class Killer:
    """Sends SIGKILL to the driver of a study or to one of its workers, at random moments."""

    def __init__(self, folder: Path, draw: random.Random, kills: int) -> None:
        self.folder, self.draw, self.left = folder, draw, kills
        self.drivers = self.workers = 0

    def end(self, driver: ForkServerProcess) -> None:
        """Kill workers of this driver, and then itself."""
        for _ in range(min(self.draw.choice([0, 1, 1, 2]), self.left - 1)):
            self._wait(driver)
            if workers := workers_of(driver):
                kill(self.draw.choice(workers))
                self.workers += 1
                self.left -= 1
        self._wait(driver)
        driver.kill()
        assert exit_code(driver) == -9, "it was over before it was killed"
        self.drivers += 1
        self.left -= 1

    def _wait(self, driver: ForkServerProcess) -> None:
        """Some steps, or a moment, whatever happens in it: it may be its start."""
        if self.draw.random() < 0.75:
            enough = len(steps_of(self.folder)) + self.draw.randint(1, 6)
            while len(steps_of(self.folder)) < enough and driver.is_alive():
                time.sleep(0.002)
        time.sleep(self.draw.random() * 0.05)


def workers_of(driver: ForkServerProcess) -> list[psutil.Process]:
    return [p for p in psutil.Process(driver.pid).children(recursive=True) if is_worker(p)]


def is_worker(process: psutil.Process) -> bool:
    try:
        command = " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False
    return any(part in command for part in WORKERS)


def kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        pass  # it ended by itself


def check_killed_study(folder: Path, draw: random.Random, kills: int, backend: str = "local") -> Killer:
    """Run a study of two workers that is killed again and again, and compare it with one that nobody touched."""
    calm, rough = folder / "calm", folder / "rough"
    calm.mkdir()
    rough.mkdir()
    dying.walk(url_in(calm), calm, workers=1)
    killer = Killer(rough, draw, kills)

    while killer.left:
        killer.end(start(dying.walk, url_in(rough), rough, 2, 0.01, backend))
    dying.walk(url_in(rough), rough, 2, 0.0, backend)

    assert table(dying.walking(url_in(rough))) == table(dying.walking(url_in(calm)))
    again = retrained(steps_of(rough))
    assert again <= 2 * killer.drivers + killer.workers
    assert len(steps_of(rough)) == len(steps_of(calm)) + again
    return killer


def retrained(steps: list[tuple[int, int]]) -> int:
    """How many steps were taken more than once; none but the one that a trial was killed in."""
    by_trial = defaultdict(list)
    for number, step in steps:
        by_trial[number].append(step)
    for taken in by_trial.values():
        assert all(after - before in (0, 1) for before, after in zip([0, *taken], taken, strict=False)), taken
    return len(steps) - len(set(steps))


def main() -> None:
    parser = argparse.ArgumentParser("scripts/chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="studies to run")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="of the first; each adds one")
    parser.add_argument("--kills", type=int, default=20, help="in each study")
    parser.add_argument("--backend", choices=["local", "ray"], default="local")
    asked = parser.parse_args()
    for seed in range(asked.seed, asked.seed + asked.runs):
        print(f"--seed {seed} --kills {asked.kills} --backend {asked.backend}: ", end="", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            killer = check_killed_study(Path(folder), random.Random(seed), asked.kills, asked.backend)
        print(f"{killer.drivers} drivers and {killer.workers} workers killed; nothing lost")


if __name__ == "__main__":
    sys.exit(main())
