"""Two workers of one thread against one worker of one and of two threads: the same trials, none pruned.

Whole `study` commands are timed, start-up included, alternating. Prints a markdown table; ratios above 1: two workers
are faster. The trials differ in their learning rate alone, so that they cost the same and no long one is left for the
end; with `--whole-space` they are drawn from all of the default space, as a search has them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from optlstm.tasks.space import default_space

VARIANTS = {
    "2 workers, 1 thread each": ["--workers", "2"],
    "1 worker, 1 thread": ["--workers", "1"],
    # Beside anything else that is busy, two threads of one process wait for each other for minutes.
    "1 worker, 2 threads": ["--workers", "1", "--set", "training.threads=2"],
}


def write_series(path: Path, rows: int) -> None:
    steps = np.arange(rows)
    noise = np.random.default_rng(0).normal(0, 0.3, rows)
    day, week = np.sin(steps * 2 * np.pi / 24), np.sin(steps * 2 * np.pi / 168)
    times = pd.date_range("2020-01-01", periods=rows, freq="h")
    pd.DataFrame({"ds": times, "y": day + 0.5 * week + noise}).to_csv(path, index=False)


def one_shape(rows: int) -> list[str]:
    """Flags that leave the learning rate to search, and everything else at the space's defaults."""
    space = {name: choice for name, choice in default_space(24, 24, rows * 7 // 10).items() if name != "learning_rate"}
    fixed = {name: choice["default"] for name, choice in space.items() if isinstance(choice, dict)}
    return [flag for name, value in fixed.items() for flag in ("--set", f"space.{name}={json.dumps(value)}")]


def seconds(folder: Path, name: str, trials: int, backend: str, flags: list[str]) -> float:
    command = [sys.executable, "-m", "optlstm", "study", "--data", "series.csv", "--horizon", "24", "--name", name]
    command += ["--pruner", "none", "--sampler", "random", "--set", "training.patience=0"]
    command += ["--backend", backend, "--trials", str(trials), "--quiet", *flags]
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--rows", type=int, default=8_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backend", default="local")
    parser.add_argument("--whole-space", action="store_true")
    parser.add_argument("--against", choices=("1 thread", "2 threads", "both"), default="both")
    args = parser.parse_args()
    wanted = [name for name in VARIANTS if args.against == "both" or name.endswith((args.against, "each"))]
    shape = [] if args.whole_space else one_shape(args.rows)
    taken: dict[str, list[float]] = {name: [] for name in wanted}
    with tempfile.TemporaryDirectory() as folder:
        write_series(Path(folder) / "series.csv", args.rows)
        for round_ in range(args.rounds):
            for number, variant in enumerate(wanted):
                flags = VARIANTS[variant] + shape
                name = f"bench-{round_}-{number}"
                taken[variant].append(seconds(Path(folder), name, args.trials, args.backend, flags))
    best = sorted(taken["2 workers, 1 thread each"])[args.rounds // 2]
    what = "drawn from the default space" if args.whole_space else "of one shape"
    print(f"{args.trials} trials {what}, backend {args.backend}, median of {args.rounds}\n")
    print("| | median s | against two workers | all rounds, s |\n|---|---|---|---|")
    for variant, all_ in taken.items():
        median = sorted(all_)[args.rounds // 2]
        print(f"| {variant} | {median:.1f} | {median / best:.2f} | {', '.join(f'{s:.1f}' for s in all_)} |")


if __name__ == "__main__":
    main()
