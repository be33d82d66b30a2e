"""The memory of many series: writes a panel of hourly series of different lengths, and measures whole commands on it.

Peak resident memory of one command (a study of one worker, in the command's own process; the refit; the prediction),
less that of the same command on two short series (its imports and all that does not hang on the table's size), beside
the size of the table in pandas.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd


def make(path: Path, series: int, seed: int = 0) -> pd.DataFrame:
    """Hourly series of a quarter to a whole year: a day, a week, a level and a phase of their own, and noise."""
    random, parts = np.random.default_rng(seed), []
    for i in range(series):
        hours = np.arange(int(random.integers(24 * 91, 24 * 365)))
        day, week = np.sin(2 * np.pi * (hours / 24 + random.random())), np.sin(2 * np.pi * hours / 168)
        values = random.lognormal(3) * (2 + day + 0.5 * week + 0.3 * random.normal(size=len(hours)))
        times = pd.date_range("2024-01-01", periods=len(hours), freq="h")
        parts.append(pd.DataFrame({"unique_id": f"series-{i:03d}", "ds": times, "y": values.round(4)}))
    table = pd.concat(parts, ignore_index=True)
    table.to_csv(path, index=False)
    return table


def peak(*command: str) -> int:
    """The most resident memory of a command, bytes (kilobytes on Linux)."""
    code = "import resource, subprocess, sys; p = subprocess.run(sys.argv[1:]); " \
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(p.returncode)"  # fmt: skip
    found = subprocess.run([sys.executable, "-c", code, *command], stdout=subprocess.PIPE, text=True, check=True)
    return 1024 * int(found.stdout.split()[-1])


def commands(folder: Path, trials: int) -> dict[str, tuple[str, ...]]:
    """The commands to be measured, on `panel.csv` in a folder."""
    storage = ("--storage", f"sqlite:///{folder}/study.db", "--storage-path", str(folder / "runs"))
    data, model = ("--data", str(folder / "panel.csv")), str(folder / "model")
    options = ("--horizon", "24", "--trials", str(trials), "--epochs", "3", "--workers", "1", "--quiet")
    return {
        "study": ("study", *data, "--name", "panel", *options, *storage),
        "refit": ("refit", "panel", "-o", model, "--quiet", *storage),
        "predict": ("predict", model, *data, "-o", str(folder / "out.csv"), "--level", "90"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=400)
    parser.add_argument("--trials", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        large, small = Path(first), Path(second)
        table = make(large / "panel.csv", given.series)
        table.groupby("unique_id").head(2184)[: 2 * 2184].to_csv(small / "panel.csv", index=False)
        size = int(table.memory_usage(deep=True).sum())
        print(f"{given.series} series, {len(table):,} rows, {size / 1e6:.0f} MB as a table in pandas\n")
        print("| | peak MB | of two series | difference | of the table |\n|---|---|---|---|---|")
        for name, command in commands(large, given.trials).items():
            least = peak(sys.executable, "-m", "optlstm", *commands(small, given.trials)[name])
            most = peak(sys.executable, "-m", "optlstm", *command)
            numbers = f"{most / 1e6:.0f} | {least / 1e6:.0f} | {(most - least) / 1e6:.0f}"
            print(f"| {name} | {numbers} | {(most - least) / size:.2f} |", flush=True)
        out = pd.read_csv(large / "out.csv")
        print(f"\n{out['unique_id'].nunique()} series forecast, {len(out):,} rows, {out['y'].isna().sum()} empty")
    return 0


if __name__ == "__main__":
    sys.exit(main())
