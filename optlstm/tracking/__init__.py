"""Trackers: TensorBoard, MLflow and W&B follow a study by the ledger's events, so the same on every backend.

Each has its own thread: a slow or failing one holds up no trial. A tracker is brought up to date with the study
whenever a trial starts, is continued or ends, so a study that was killed is resumed in the same runs.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from optuna.trial import FrozenTrial

from optlstm.errors import did_you_mean
from optlstm.study.events import EpochReported, Event
from optlstm.study.ledger import Ledger
from optlstm.study.record import REASON_KEY
from optlstm.util.extras import install

logger = logging.getLogger(__name__)

# Name: the package it needs, which is also the name of our extra for it, and the class that feeds it.
TRACKERS = {
    "tensorboard": ("tensorboard", "TensorBoard"),
    "mlflow": ("mlflow", "MLflow"),
    "wandb": ("wandb", "WeightsAndBiases"),
}
PATIENCE_S = 60.0  # for sending the rest when the study ends


@dataclass(frozen=True)
class TrackedStudy:
    """What trackers know of a study.

    Args:
        uid: The study's id, by which its runs are found when it is resumed.
        folder: On this machine, for the trackers' files.
        project: MLflow's experiment, W&B's project.
        options: Of `[tracking]`, as they are.
    """

    name: str
    uid: str
    objective: str
    folder: Path
    project: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Snapshot:
    """A trial as the study has it. values: every report by epoch. state: RUNNING, COMPLETE, PRUNED or FAIL."""

    number: int
    state: str
    params: Mapping[str, Any]
    values: Mapping[int, float]
    value: float | None
    metrics: Mapping[str, float]
    reason: str | None

    @classmethod
    def of(cls, trial: FrozenTrial, fixed: Mapping[str, Any]) -> Snapshot:
        return cls(
            trial.number,
            trial.state.name,
            {**fixed, **trial.params},
            dict(sorted(trial.intermediate_values.items())),
            trial.values[0] if trial.values else None,
            {k: v for k, v in trial.user_attrs.items() if isinstance(v, int | float) and not isinstance(v, bool)},
            trial.user_attrs.get(REASON_KEY),
        )

    @property
    def ended(self) -> bool:
        return self.state != "RUNNING"


class Tracker(Protocol):
    """One service. All calls come from one thread; `open` is the first, `close` the last."""

    def open(self) -> set[int]:
        """Find or make the study's run; the numbers of trials that are there and have ended."""

    def sync(self, trial: Snapshot) -> None:
        """Write the snapshot to the trial's run, nothing twice, and end the run where the trial has ended."""

    def report(self, number: int, epoch: int, value: float) -> None:
        """One more value of a trial that was synced."""

    def close(self) -> None:
        """The study stops for now; trials that have not ended may be continued later."""


def check_trackers(names: Sequence[str]) -> list[str]:
    """One line per name that is no tracker, or whose package is not installed."""
    problems = []
    for name in names:
        if name not in TRACKERS:
            near = did_you_mean(name, TRACKERS)
            problems.append(f"tracking.trackers: '{name}' is no tracker{near} (trackers: {', '.join(TRACKERS)})")
        elif importlib.util.find_spec(TRACKERS[name][0]) is None:
            problems.append(f"tracking.trackers: {name} is not installed: {install(name)}")
    return problems


@contextlib.contextmanager
def following(ledger: Ledger, names: Sequence[str], study: TrackedStudy) -> Iterator[None]:
    """Let trackers follow a ledger until the end of the block, then wait until all is sent."""
    followers = [_Follower(name, study, ledger) for name in dict.fromkeys(names)]
    try:
        yield
    finally:
        for follower in followers:
            follower.finish()
        for follower in followers:
            follower.join()


class _Follower:
    """A tracker and its thread. Its first error is logged, and ends it."""

    def __init__(self, name: str, study: TrackedStudy, ledger: Ledger) -> None:
        self._name, self._study, self._ledger = name, study, ledger
        self._tasks: queue.SimpleQueue[Callable[[Tracker], None] | None] = queue.SimpleQueue()
        self._before = [t for t in ledger.trials if t.state.is_finished()]
        ledger.listen(self.hear)
        self._thread = threading.Thread(target=self._work, name=f"optlstm-{name}", daemon=True)
        self._thread.start()

    def hear(self, event: Event) -> None:
        """Called by the ledger, in its thread; the work is left to the follower's thread."""
        if isinstance(event, EpochReported):
            self._tasks.put(lambda tracker: tracker.report(event.number, event.epoch, event.value))
        else:
            trial = self._snapshot(self._ledger.trials[event.number])
            self._tasks.put(lambda tracker: tracker.sync(trial))

    def finish(self) -> None:
        self._tasks.put(None)

    def join(self) -> None:
        self._thread.join(PATIENCE_S)
        if self._thread.is_alive():
            logger.warning("tracker %s is still sending after %.0f s and is left behind", self._name, PATIENCE_S)

    def _snapshot(self, trial: FrozenTrial) -> Snapshot:
        return Snapshot.of(trial, self._ledger.record.space.fixed)

    def _work(self) -> None:
        try:
            module = importlib.import_module(f"optlstm.tracking.{self._name}_")  # takes seconds for some
            tracker: Tracker = getattr(module, TRACKERS[self._name][1])(self._study)
            known = tracker.open()
            for trial in self._before:  # those that ended while this tracker did not follow
                if trial.number not in known:
                    tracker.sync(self._snapshot(trial))
            while (task := self._tasks.get()) is not None:
                task(tracker)
            tracker.close()
        except Exception as error:
            line = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
            logger.warning("tracker %s failed and is left out from here on: %s", self._name, line)
