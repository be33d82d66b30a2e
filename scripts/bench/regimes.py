"""Labels for every step against the best there can be: regimes of a known hidden Markov process.

Three regimes follow each other as a Markov chain; at each step two channels are drawn around the regime's mean. Who
knows the process cannot do better, step by step, than the forward-backward smoother, which has seen the whole record,
and, without what comes later, than the filter. Prints macro-F1 of these, of a study's refitted model, and of its
baselines, on records that the study has not seen.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

STAY = 0.95  # chance that a regime goes on
MEANS = np.array([[0.0, 0.0], [1.0, 0.5], [0.5, -1.0]])
NOISE = 1.0
NAMES = ("calm", "climb", "fall")


def records(count: int, steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Regimes [count, steps], and what is seen of them [count, steps, 2]."""
    random = np.random.default_rng(seed)
    regimes = np.empty((count, steps), dtype=np.int64)
    regimes[:, 0] = random.integers(0, len(NAMES), count)
    for t in range(1, steps):
        moved = random.random(count) >= STAY
        regimes[:, t] = (regimes[:, t - 1] + moved * random.integers(1, len(NAMES), count)) % len(NAMES)
    return regimes, MEANS[regimes] + random.normal(0, NOISE, (count, steps, 2))


def posteriors(seen: np.ndarray, smoothed: bool) -> np.ndarray:
    """The regimes' probabilities [count, steps, regimes] given the steps up to each one; smoothed: given all steps."""
    n = len(NAMES)
    moves = np.where(np.eye(n) == 1, STAY, (1 - STAY) / (n - 1))
    fits = np.exp(-0.5 * np.square((seen[:, :, None] - MEANS) / NOISE).sum(axis=3))  # [count, steps, regimes]
    forward = np.empty_like(fits)
    belief = np.full((len(seen), n), 1 / n)
    for t in range(seen.shape[1]):
        belief = (belief @ moves if t else belief) * fits[:, t]
        belief /= belief.sum(axis=1, keepdims=True)
        forward[:, t] = belief
    if not smoothed:
        return forward
    backward, out = np.ones((len(seen), n)), forward.copy()
    for t in range(seen.shape[1] - 2, -1, -1):
        backward = (backward * fits[:, t + 1]) @ moves.T
        backward /= backward.sum(axis=1, keepdims=True)
        out[:, t] *= backward
    return out


def macro_f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(truth.ravel(), predicted.ravel(), average="macro"))


def write(path: Path, regimes: np.ndarray, seen: np.ndarray) -> None:
    count, steps = regimes.shape
    pd.DataFrame(
        {
            "series_id": np.repeat(np.arange(count), steps),
            "t": np.tile(np.arange(steps), count),
            "x": seen[..., 0].ravel().round(4),
            "z": seen[..., 1].ravel().round(4),
            "label": np.array(NAMES)[regimes.ravel()],
        }
    ).to_csv(path, index=False)


def measure(folder: Path, causal: bool, given: argparse.Namespace) -> str:
    """A row of the table."""
    train, test = records(given.records, given.steps, 1), records(given.records, given.steps, 2)
    write(folder / "train.csv", *train)
    write(folder / "test.csv", *test)
    name, began = "causal" if causal else "both", time.perf_counter()
    study = ["study", "--task", "sequence", "--data", "train.csv", "--test-data", "test.csv", "--set"]
    study += ["data.per_step=true", "--set", f"data.causal={str(causal).lower()}", "--name", name, "--seed", "1"]
    study += ["--trials", str(given.trials), "--epochs", str(given.epochs), "--set", "data.splits=[0.8, 0.2, 0]"]
    for arguments in ([*study, "--set", "data.folds=0"], ["refit", name, "-o", name, "--seeds", "1", "--json"]):
        command = [sys.executable, "-m", "optlstm", *arguments]
        done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    scores, minutes = json.loads(done.stdout), (time.perf_counter() - began) / 60
    best = macro_f1(test[0], posteriors(test[1], smoothed=not causal).argmax(axis=2))
    model = scores["test"]["macro_f1"]
    others = " | ".join(f"{scores['baselines'][key]['macro_f1']:.4f}" for key in ("window_of_steps", "majority_class"))
    how = "the past (filter)" if causal else "the record (smoother)"
    return f"| {how} | {best:.4f} | {model:.4f} | {best - model:+.4f} | {others} | {minutes:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--records", type=int, default=100)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=10)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    print("| read | best possible | LSTM | difference | logistic regression on a window | majority | minutes |")
    print("|---|---|---|---|---|---|---|")
    for causal in (False, True):
        print(measure(given.folder, causal, given), flush=True)


if __name__ == "__main__":
    main()
