"""The studies that are attacked: a trial depends on its number alone, and not on its driver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from tests.conftest import series

KEEP = 3
LOG, SECONDS = "OPTLSTM_CHAOS_LOG", "OPTLSTM_CHAOS_SECONDS"  # of the environment, for the walk
# Each value depends on all before it, so that a step left out or done twice shows. Every step leaves a line in a log.
WALK = f'''\
import hashlib
import os
import time

import numpy as np


def space(trial):
    return {{"rate": trial.suggest_float("rate", 1e-3, 1e-1, log=True)}}


def objective(trial, params):
    saved = trial.load_checkpoint()
    walk = saved.arrays["walk"] if saved else np.zeros(0)
    for step in range(len(walk) + 1, trial.epochs + 1):
        time.sleep(float(os.environ["{SECONDS}"]))
        digest = hashlib.sha256(f"{{params['rate']}} {{walk.tolist()}}".encode()).digest()
        walk = np.append(walk, digest[0] / 255)
        log = os.open(os.environ["{LOG}"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(log, f"{{trial.number}} {{step}}\\n".encode())
        os.close(log)
        trial.save_checkpoint(step, {{"walk": walk}})
        trial.report(float(walk[-1]), step)
        if trial.should_prune():
            break
    return float(walk.min())
'''
FORECAST = """\
[data]
path = "series.csv"
horizon = 4
[space]
window = 24
patch = 4
hidden_size = 24
num_layers = 1
learning_rate = {low = 1e-3, high = 1e-1, log = true}
"""
FILES = {"walk.py": WALK, "forecast.toml": FORECAST, "series.csv": series(900)}


@dataclass(frozen=True)
class Kind:
    """A study, by the file it is made of.

    Args:
        trials: Its total; a population's members.
        exact: The table is the same with any driver; otherwise its pruner sees what happens to have ended, and each
            trial is the beginning of the one that nobody prunes.
    """

    file: str
    trials: int
    epochs: int
    pruner: str = ""
    flags: tuple[str, ...] = ()
    exact: bool = True
    population: bool = False

    def command(self, name: str, calm: bool = False) -> tuple[str, ...]:
        """Without where it is stored. calm: as it would be if nothing was pruned by what others have reached."""
        pruner = "none" if calm and not self.exact else self.pruner
        total = f"--set=pbt.population={self.trials}" if self.population else f"--trials={self.trials}"
        return (
            *("study", self.file, "--name", name, "--seed=7", "--sampler=random", f"--set=keep={KEEP}"),
            *(f"--epochs={self.epochs}", total, *self.flags, *([f"--pruner={pruner}"] if pruner else [])),
        )

    def has_ended(self, states: Sequence[str]) -> bool:
        if self.population:
            return "RUNNING" not in states and states.count("COMPLETE") == self.trials
        return len(states) == self.trials and not {"RUNNING", "WAITING"} & set(states)


_PBT: dict[str, Any] = {
    "flags": ("--scheduler=pbt", "--set=pbt.interval=2", "--set=pbt.quantile=0.25"),
    "population": True,
}
_THRESHOLD = {"pruner": "threshold", "flags": ("--set=pruner.upper=0.9",)}
_WHOLE = ("--set=training.patience=0",)
KINDS = {
    "walk": Kind("walk.py", 24, 8, **_THRESHOLD),
    "walk, median": Kind("walk.py", 24, 8, "median", exact=False),
    "walk, pbt": Kind("walk.py", 6, 10, **_PBT),
    "forecast": Kind("forecast.toml", 14, 8, "none", _WHOLE),
    "forecast, median": Kind("forecast.toml", 14, 8, "median", _WHOLE, exact=False),
    "forecast, pbt": Kind("forecast.toml", 6, 10, **_PBT),
}

Row = tuple[Any, ...]
_LINEAGE = ("member", "generation", "parent", "replaces", "from_epoch")


def write_files(folder: Path) -> None:
    for name, text in FILES.items():
        (folder / name).write_text(text)


def rows(trials: Sequence[FrozenTrial]) -> list[Row]:
    """All of a study that must be the same however it was run."""
    return [
        (
            t.number,
            t.state.name,
            t.values,
            dict(t.params),
            t.intermediate_values,
            {key: t.user_attrs[key] for key in _LINEAGE if key in t.user_attrs},
        )
        for t in trials
    ]


def trials_of(url: str, name: str) -> list[FrozenTrial]:
    """As any Optuna program reads them."""
    storage = optuna.storages.RDBStorage(url)
    try:
        return optuna.load_study(study_name=name, storage=storage).trials
    finally:
        storage.remove_session()
        storage.engine.dispose()


def is_beginning(trial: FrozenTrial, whole: FrozenTrial) -> bool:
    """Whether a trial is what the undisturbed one is up to its last epoch."""
    begun = {e: v for e, v in whole.intermediate_values.items() if e <= (trial.last_step or 0)}
    same = trial.params == whole.params and trial.intermediate_values == begun
    return same and (trial.state == TrialState.PRUNED or trial.values == whole.values)
