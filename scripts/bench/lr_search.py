"""Does `lr-search` find the same learning rate again, and the right one? On the bundled data, beside a fine grid.

Several seeds of `lr-search`, and a grid of learning rates over the same range trained just as its draws are (several
seeds, the median loss of each rate). The best decade is the one with the lowest mean logarithm of the loss.

    python scripts/bench/lr_search.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile

import numpy as np


def run(folder: str, *arguments: str) -> dict[str, object]:
    command = [sys.executable, "-m", "optlstm", *arguments]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def grid_losses(folder: str, rates: list[float], seeds: int, epochs: int, data: list[str]) -> list[float]:
    """The median validation value of each rate; infinite where it diverged."""
    losses: dict[float, list[float]] = {rate: [] for rate in rates}
    for seed in range(seeds):
        name = f"grid-{seed}"
        declared = f"space.learning_rate={{choices={rates}}}"
        flags = ["--set", declared, "--set", 'space.only=["learning_rate"]', "--sampler", "grid", "--pruner", "none"]
        flags += ["--set", "training.patience=0", "--set", "diverged=prune", "--epochs", str(epochs), "--json"]
        run(folder, "study", *data, *flags, "--trials", str(len(rates)), "--seed", str(seed), "--name", name)
        for trial in run(folder, "show", name, "--format", "json")["trials"]:  # type: ignore[attr-defined]
            value = trial["value"] if trial["state"] == "COMPLETE" else float("inf")
            losses[trial["params"]["learning_rate"]].append(value)
    return [statistics.median(losses[rate]) for rate in rates]


def best_decade(rates: list[float], losses: list[float], per_decade: int) -> tuple[float, float]:
    logs = np.log(np.minimum(losses, 1e3))
    means = [logs[k : k + per_decade + 1].mean() for k in range(len(rates) - per_decade)]
    at = int(np.argmin(means))
    return rates[at], rates[at + per_decade]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--grid-seeds", type=int, default=3)
    parser.add_argument("--per-decade", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=3, help="of every draw")
    parser.add_argument("--data", nargs=argparse.REMAINDER, default=[], help="data flags of `study`; last")
    asked = parser.parse_args()
    rates = [float(f"{10 ** (k / asked.per_decade - 6):.4g}") for k in range(6 * asked.per_decade + 1)]
    with tempfile.TemporaryDirectory() as folder:
        values = []
        for seed in range(asked.seeds):
            flags = ["--seed", str(seed), "--name", f"lr-{seed}", "--epochs", str(asked.epochs), "--json", "--quiet"]
            found = run(folder, "lr-search", *asked.data, *flags)
            values.append(float(found["value"]))  # type: ignore[arg-type]
            print(f"seed {seed}: {found['value']:.3g}, to search {found['low']:.2g} to {found['high']:.2g}", flush=True)
        losses = grid_losses(folder, rates, asked.grid_seeds, asked.epochs, asked.data)
    low, high = best_decade(rates, losses, asked.per_decade)
    for rate, loss in zip(rates, losses, strict=True):
        print(f"  {rate:9.2e}  {loss:.5g}")
    print(f"largest value over smallest: {max(values) / min(values):.2f}")
    inside = sum(low <= value <= high for value in values)
    print(f"best decade of the grid: {low:.2g} to {high:.2g}; inside: {inside} of {len(values)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
