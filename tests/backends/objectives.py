"""Objectives for the contract suite: no training; values depend on the params, the trial's number and the epoch."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optlstm.errors import TrialDiverged
from tests.waiting import wait_until

EPOCHS = 6
KNOWN: dict[str, Any] = {"x": 0.0, "n": 2, "kind": "a", "y": 0.5}
# Conditional: y exists where kind is "b".
CONDITIONAL = {
    "x": {"low": -5.0, "high": 5.0},
    "n": {"low": 1, "high": 8},
    "kind": {"choices": ["a", "b", "c"]},
    "y": {"low": 0.01, "high": 1.0, "log": True, "when": {"kind": "b"}},
}
FINITE = {"n": {"low": 1, "high": 4}, "kind": {"choices": ["a", "b", "c"]}}


@dataclass(frozen=True)
class Curve:
    """A learning curve, by trial number: some trials misbehave at an epoch, in the way `trouble` says.

    `first_time` is a folder where a trial leaves a mark before its trouble, so that it happens once only. The first
    `together` trials wait there for one another, so that each has a worker. `gate`: a file, and the trial from which
    on each waits until it is there.
    """

    trouble: dict[int, tuple[int, str]]
    first_time: str = ""
    seconds: float = 0.0
    epochs: int = EPOCHS
    together: int = 0
    gate: tuple[str, int] = ("", 0)

    def __call__(self, trial: Any) -> float:
        best = float("inf")
        if trial.number < self.together:
            self._meet(trial.number)
        if self.gate[0] and trial.number >= self.gate[1]:
            wait_until(Path(self.gate[0]).exists)
        for epoch in range(1, self.epochs + 1):
            at, kind = self.trouble.get(trial.number, (0, ""))
            value = self._trouble(kind, trial.number) if epoch == at else None
            value = self._value(trial, epoch) if value is None else value
            best = min(best, value)
            time.sleep(self.seconds)
            trial.report(value, epoch)
            if trial.should_prune():
                raise _pruned()
        trial.set_user_attr("note", f"ran {self.epochs} epochs")
        if gpus := os.environ.get("CUDA_VISIBLE_DEVICES"):
            trial.set_user_attr("gpus", gpus)
        return best

    def _meet(self, number: int) -> None:
        marks = [Path(self.first_time) / f"{other}-met" for other in range(self.together)]
        marks[number].touch()
        wait_until(lambda: all(mark.exists() for mark in marks))

    def plot_data(self, number: int) -> str:
        """What it shows of a trial once it has ended."""
        if self.trouble.get(number, (0, ""))[1] == "die when asked":
            os.kill(os.getpid(), signal.SIGKILL)
        if number in self.trouble:
            raise ValueError("its weights are damaged")
        return f"picture of trial {number}"

    def _value(self, trial: Any, epoch: int) -> float:
        x, n = trial.suggest_float("x", -5, 5) if "x" in trial.params else 0.0, trial.suggest_int("n", 1, 8)
        base = (x - 1) ** 2 + abs(n - 3) + "abc".index(trial.suggest_categorical("kind", ["a", "b", "c"]))
        if "y" in trial.params:
            base += trial.suggest_float("y", 0.01, 1.0, log=True)
        noise = hashlib.sha256(f"{trial.number} {epoch}".encode()).digest()[0] / 255
        return float(base + 8 / epoch + noise)

    def _trouble(self, kind: str, number: int) -> float | None:
        if self.first_time:
            mark = Path(self.first_time) / f"{number}-{kind}"
            if mark.exists():
                return None
            mark.touch()
        if kind == "raise":
            raise ValueError("a bad configuration")
        if kind == "memory":
            raise MemoryError("no memory left")
        if kind == "exit":
            raise SystemExit(3)
        if kind == "diverge":
            raise TrialDiverged("the training loss is nan")
        if kind == "generator":
            raise GeneratorExit("closed")
        if kind == "prune":
            raise _pruned()
        if kind == "hang":
            signal.sigwait([signal.SIGUSR2])  # for ever
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}.get(kind)


def _pruned() -> Exception:
    from optuna import TrialPruned

    return TrialPruned()


@dataclass(frozen=True)
class Make:
    """The factory a job carries; `data` are the keyword arguments of the curve."""

    def __call__(self, data: dict[str, Any]) -> Curve:
        return Curve(**data)


@dataclass(frozen=True)
class MakeWorkerName:
    """An objective that tells in which process it ran. The first trial kills its first worker."""

    def __call__(self, folder: str) -> Any:
        curve = Curve({0: (1, "kill")}, first_time=folder, seconds=0.1, epochs=2)

        def objective(trial: Any) -> float:
            value = curve(trial)
            trial.set_user_attr("worker", os.getpid())
            return value

        return objective


@dataclass(frozen=True)
class MakeTwo:
    """An objective with two values."""

    def __call__(self, data: dict[str, Any]) -> Any:
        return two


def two(trial: Any) -> tuple[float, float]:
    curve = Curve(trouble={}, epochs=2)
    return curve(trial), float(trial.suggest_int("n", 1, 8))


def broken(data: object) -> Any:
    raise RuntimeError("this task cannot be set up")
