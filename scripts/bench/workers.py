"""Two workers of one thread against one worker of one and of two threads: the same trials, none pruned.

Whole `study` commands are timed, start-up included, alternating. Beside them stands what the machine itself allows:
the same training in a bare loop over the epochs, no study and no start-up, in two processes of one thread and in one.
The trials differ in their learning rate alone, so that they cost the same and no long one is left for the end; with
`--whole-space` they are drawn from all of the default space, as a search has them. Ratios above 1: two are faster.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from optlstm.backends.local import ALLOCATOR
from optlstm.tasks.space import default_space

EPOCHS = 10
VARIANTS = {
    "2 workers, 1 thread each": ["--workers", "2"],
    "1 worker, 1 thread": ["--workers", "1"],
    # Beside anything else that is busy, two threads of one process wait for each other for minutes.
    "1 worker, 2 threads": ["--workers", "1", "--set", "training.threads=2"],
}
BARE = {"2 bare loops, 1 thread each": (2, 1), "1 bare loop, 1 thread": (1, 1), "1 bare loop, 2 threads": (1, 2)}


def write_series(path: Path, rows: int) -> None:
    steps = np.arange(rows)
    noise = np.random.default_rng(0).normal(0, 0.3, rows)
    day, week = np.sin(steps * 2 * np.pi / 24), np.sin(steps * 2 * np.pi / 168)
    times = pd.date_range("2020-01-01", periods=rows, freq="h")
    pd.DataFrame({"ds": times, "y": day + 0.5 * week + noise}).to_csv(path, index=False)


def one_shape(rows: int, hidden: int | None) -> dict[str, Any]:
    """The space's defaults for all but the learning rate."""
    space = {name: choice for name, choice in default_space(24, 24, rows * 7 // 10).items() if name != "learning_rate"}
    fixed = {name: choice["default"] if isinstance(choice, dict) else choice for name, choice in space.items()}
    return fixed | ({"hidden_size": hidden} if hidden else {})


def study_seconds(folder: Path, name: str, trials: int, backend: str, flags: list[str]) -> float:
    command = [sys.executable, "-m", "optlstm", "study", "--data", "series.csv", "--horizon", "24", "--name", name]
    command += ["--pruner", "none", "--sampler", "random", "--epochs", str(EPOCHS), "--set", "training.patience=0"]
    command += ["--backend", backend, "--trials", str(trials), "--quiet", *flags]
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def bare_seconds(folder: Path, trials: int, shape: dict[str, Any], processes: int, threads: int) -> float:
    """Seconds for `trials` trainings shared out among `processes`, from when all of them are ready."""
    command = [sys.executable, __file__, "--bare", json.dumps(shape), "--trials", str(trials // processes)]
    command += ["--threads", str(threads)]
    environment = {**os.environ, **ALLOCATOR, "OMP_NUM_THREADS": str(threads)}
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    children = [subprocess.Popen(command, cwd=folder, env=environment, **pipe) for _ in range(processes)]
    for child in children:
        child.stdout.readline()
    began = time.perf_counter()
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    codes = [child.wait() for child in children]
    if any(codes):
        raise SystemExit("a bare loop failed; what it said stands above")
    return time.perf_counter() - began


def bare(shape: dict[str, Any], trials: int, threads: int) -> None:
    """One process of bare loops: ready, wait for a line, train."""
    import torch

    from optlstm.data.series import read_series
    from optlstm.data.splits import split_rows
    from optlstm.tasks.forecast import ForecastProblem
    from optlstm.tasks.forecast_data import prepare
    from optlstm.training import runtime
    from optlstm.training.hparams import Hyperparameters
    from optlstm.training.loop import fit

    runtime.prepare(threads)
    series = read_series(Path("series.csv"))
    data = prepare(series, split_rows(len(series.values), (0.7, 0.1, 0.2)), 24)
    problem = ForecastProblem(data, torch.device("cpu"))
    print("ready", flush=True)
    sys.stdin.readline()
    for seed in range(trials):
        for _ in fit(problem, Hyperparameters.from_params(shape), epochs=EPOCHS, patience=0, seed=seed):
            pass


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--rows", type=int, default=8_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backend", default="local")
    parser.add_argument("--hidden", type=int, help="hidden_size of every trial (default: the space's default)")
    parser.add_argument("--whole-space", action="store_true")
    parser.add_argument("--against", choices=("1 thread", "2 threads", "both"), default="both")
    parser.add_argument("--bare", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = parse()
    if args.bare:
        bare(args.bare, args.trials, args.threads)
        return
    wanted = [name for name in [*VARIANTS, *BARE] if args.against == "both" or name.endswith((args.against, "each"))]
    shape = one_shape(args.rows, args.hidden)
    flags = [flag for name, value in shape.items() for flag in ("--set", f"space.{name}={json.dumps(value)}")]
    taken: dict[str, list[float]] = {name: [] for name in wanted if not (args.whole_space and name in BARE)}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_series(folder / "series.csv", args.rows)
        for round_ in range(args.rounds):
            for number, (variant, all_) in enumerate(taken.items()):
                if variant in BARE:
                    all_.append(bare_seconds(folder, args.trials, shape, *BARE[variant]))
                else:
                    own = VARIANTS[variant] + ([] if args.whole_space else flags)
                    all_.append(study_seconds(folder, f"bench-{round_}-{number}", args.trials, args.backend, own))
                print(f"round {round_ + 1}: {variant}: {all_[-1]:.1f} s", file=sys.stderr)
    what = "drawn from the default space" if args.whole_space else f"of hidden_size {shape['hidden_size']}"
    print(f"{args.trials} trials {what}, {EPOCHS} epochs each, backend {args.backend}, median of {args.rounds}\n")
    print("| | median s | against two | all rounds, s |\n|---|---|---|---|")
    for group in (VARIANTS, BARE):
        first = next(iter(group))
        for variant in (name for name in group if name in taken):
            median, best = (sorted(taken[name])[args.rounds // 2] for name in (variant, first))
            rounds = ", ".join(f"{s:.1f}" for s in taken[variant])
            print(f"| {variant} | {median:.1f} | {median / best:.2f} | {rounds} |")


if __name__ == "__main__":
    main()
