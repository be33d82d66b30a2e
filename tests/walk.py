"""An objective that trains nothing and loads nothing, for studies whose workers are killed and started all the time."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optlstm.util.files import LocalFolder

STEPS = 8  # epochs


@dataclass(frozen=True)
class Walk:
    """Keeps its state as a training does: written whole after each epoch, before its report.

    Each value hangs on all before it, so that a step left out, or done twice, shows. Every step leaves a line in `log`.
    """

    folder: Path
    seconds: float

    def __call__(self, trial: Any) -> float:
        files = LocalFolder(self.folder / f"walk-{trial.number}")
        values = json.loads(files.read("values.json")) if "values.json" in files.names() else []
        for step in range(1, STEPS + 1):
            if step > len(values):
                time.sleep(self.seconds)
                seed = f"{trial.suggest_float('learning_rate', 1e-3, 1e-1)} {values}"
                values.append(hashlib.sha256(seed.encode()).digest()[0] / 255)
                self._note(trial.number, step)
                files.write("values.json", json.dumps(values).encode())
            trial.report(values[step - 1], step)
            if trial.should_prune():
                break
        return float(min(values))

    def _note(self, number: int, step: int) -> None:
        log = os.open(self.folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(log, f"{number} {step}\n".encode())
        os.close(log)


@dataclass(frozen=True)
class MakeWalk:
    seconds: float = 0.0

    def __call__(self, folder: Path) -> Walk:
        return Walk(folder, self.seconds)
