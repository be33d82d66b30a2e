# python -m optlstm study studies/logistic.py --trials 40 --pruner asha
#
# A custom objective, and no LSTM: a logistic regression in NumPy, trained by gradient descent. Anything that
# trains can stand here. It is killed and continued, pruned, run on Ray and by a population as the program's own is.

from __future__ import annotations

from typing import Any

import numpy as np

rng = np.random.default_rng(0)
INPUTS = rng.normal(size=(600, 20))
LABELS = INPUTS[:, :5] @ rng.normal(size=5) + rng.normal(size=600) > 0
TRAIN, VALIDATION = slice(0, 400), slice(400, 600)


def space(trial: Any) -> dict[str, Any]:
    """Conditions are plain Python."""
    params = {
        "learning_rate": trial.suggest_float("learning_rate", 1e-3, 10.0, log=True),
        "penalty": trial.suggest_categorical("penalty", ["none", "l2"]),
        "strength": 0.0,
    }
    if params["penalty"] == "l2":
        params["strength"] = trial.suggest_float("strength", 1e-4, 1.0, log=True)
    return params


def objective(trial: Any, params: dict[str, Any]) -> float:
    """The smallest validation loss; `trial.epochs` is `--epochs`, `trial.seed` the trial's own."""
    saved = trial.load_checkpoint()
    weights = saved.arrays["weights"] if saved else np.random.default_rng(trial.seed).normal(size=20)
    best = saved.meta["best"] if saved else float("inf")
    for epoch in range(saved.epoch + 1 if saved else 1, trial.epochs + 1):
        for _ in range(10):
            slope = INPUTS[TRAIN].T @ (probability(weights, TRAIN) - LABELS[TRAIN]) / 400
            weights = weights - params["learning_rate"] * (slope + params["strength"] * weights)
        right = np.where(LABELS[VALIDATION], probability(weights, VALIDATION), 1 - probability(weights, VALIDATION))
        loss = float(-np.log(np.maximum(right, 1e-12)).mean())
        best = min(best, loss)
        trial.save_checkpoint(epoch, {"weights": weights}, {"best": best})
        trial.report(loss, epoch)
        if trial.should_prune():
            break
    return best


def probability(weights: np.ndarray, rows: slice) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(INPUTS[rows] @ weights, -50, 50)))
