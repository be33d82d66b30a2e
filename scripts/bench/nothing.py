"""An objective that does nothing but report, and its space: what is left is overhead."""

from __future__ import annotations

from typing import Any

import optuna

SPACE = {"x": {"low": 0.0, "high": 1.0}, "y": {"low": 1e-4, "high": 1.0, "log": True}}


class Nothing:
    """It stops where it is pruned. `alike`: the reports are the same for every trial, so none is."""

    def __init__(self, reports: int, *, alike: bool = False) -> None:
        self.reports, self.alike = reports, alike

    def __call__(self, trial: Any) -> float:
        value = trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 1e-4, 1, log=True)
        for epoch in range(1, self.reports + 1):
            trial.report((1 if self.alike else value) / epoch, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(value / self.reports)
