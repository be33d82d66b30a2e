"""Forecasts with probabilities on many data sets: trained quantiles against squared errors with conformal radii.

    python scripts/bench/probabilities.py LIST.toml [--only NAME ...] [--trials 10] [--seed 1] [--losses quantiles mse]
        [--refit FLAGS] [--json OUT] [-- FLAGS]

LIST.toml has a table a data set: file, and flags of `study` (as of `accuracy.py`); tables with a test_file, which are
of labels, are left out. Each loss has a study of as many trials and a refit. A table of the test rows: the weighted
quantile loss, CRPS and MSIS, coverage and mean width of the 80 % and 90 % intervals. At the end: on how many sets the
first loss has the lower WQL, the geometric mean of the ratios, and the mean coverage. What stands behind --
goes to every study.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import numpy as np

SHOWN = ("wql", "crps", "msis", "mse", "mae", "coverage_80", "coverage_90", "width_80", "width_90")
Scores = dict[str, float | None]


def run(folder: Path, *arguments: str) -> str:
    """What a command of optlstm prints."""
    command = [sys.executable, "-m", "optlstm", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stderr or done.stdout).strip().splitlines()[-1])
    return done.stdout


def scores_of(folder: Path, data: Path, loss: str, study: list[str], refit: list[str]) -> Scores:
    """The metrics of the test rows of a study and a refit with the usual settings but for the loss."""
    run(folder, "study", "--data", str(data), "--name", loss, "--loss", loss, "--quiet", *study)
    test: Scores = json.loads(run(folder, "refit", loss, "-o", f"model-{loss}", "--json", *refit))["test"]
    return test


def line_of(name: str, loss: str, scores: Scores) -> str:
    cells = ["-" if (value := scores.get(metric)) is None else f"{value:.4g}" for metric in SHOWN]
    return f"| {name} | {loss} | {' | '.join(cells)} |"


def summary(table: dict[str, dict[str, Scores]], losses: list[str]) -> list[str]:
    """What holds over all sets."""
    first, others = losses[0], losses[1:]
    lines = []
    for other in others:
        pairs = [(sets[first]["wql"], sets[other]["wql"]) for sets in table.values() if {first, other} <= sets.keys()]
        ratios = np.array([a / b for a, b in pairs if a is not None and b])
        if len(ratios):
            mean = np.exp(np.log(ratios).mean())
            lines.append(
                f"WQL: {first} is below {other} on {(ratios < 1).sum()} of {len(ratios)} sets, mean ratio {mean:.3f}"
            )
    for loss in losses:
        for level in (80, 90):
            shares = [
                100 * v for sets in table.values() if (v := sets.get(loss, {}).get(f"coverage_{level}")) is not None
            ]
            if shares:
                worst = max(shares, key=lambda share: abs(share - level))
                lines.append(
                    f"{loss}: {level} % intervals cover {np.mean(shares):.1f} % on average, at worst {worst:.1f} %"
                )
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", type=Path)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--trials", default="10")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--losses", nargs="+", default=["quantiles", "mse"])
    parser.add_argument("--refit", default="", help="flags of refit")
    parser.add_argument("--json", type=Path)
    own, _, more = (" ".join(map(shlex.quote, sys.argv[1:]))).partition(" -- ")
    given = parser.parse_args(shlex.split(own))
    sets: dict[str, Any] = tomllib.loads(given.list.read_text())
    table: dict[str, dict[str, Scores]] = {}
    print(f"| set | loss | {' | '.join(SHOWN)} |\n|{'---|' * (len(SHOWN) + 2)}", flush=True)
    for name, entry in sets.items():
        if "test_file" in entry or (given.only and name not in given.only):
            continue
        data = (given.list.parent / entry["file"]).resolve()
        study = [
            *shlex.split(entry.get("flags", "")),
            "--trials",
            given.trials,
            "--seed",
            given.seed,
            *shlex.split(more),
        ]
        for loss in given.losses:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    scores = scores_of(Path(folder), data, loss, study, shlex.split(given.refit))
                except RuntimeError as error:
                    print(f"| {name} | {loss} | failed: {error} |", flush=True)
                    continue
            table.setdefault(name, {})[loss] = scores
            print(line_of(name, loss, scores), flush=True)
            if given.json:
                given.json.write_text(json.dumps(table, indent=1))
    print("", *summary(table, given.losses), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
