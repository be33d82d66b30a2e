"""Two workers of one thread against one worker of one and of two threads: the same trials, none pruned.

Trials an hour, once every worker has ended its first: from the ends that the study has. Beside that whole `study`
commands, from start-up to the pictures for the dashboard, alternating; and what the machine itself allows: the same
training in a bare loop over the epochs, no study and no start-up, in two processes of one thread and in one.
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
import optuna
import pandas as pd
from rounds import heading, positive, ratio, spread, table

from optlstm.backends.local.launch import ALLOCATOR
from optlstm.tasks.space import default_space

EPOCHS = 10
ONE, TWO, THREADS = "1 worker, 1 thread", "2 workers, 1 thread each", "1 worker, 2 threads"
VARIANTS = {
    ONE: ["--workers", "1"],
    TWO: ["--workers", "2"],
    # Beside anything else that is busy, two threads of one process wait for each other for minutes.
    THREADS: ["--workers", "1", "--set", "training.threads=2"],
}
BARE = {ONE: (1, 1), TWO: (2, 1), THREADS: (1, 2)}  # processes, threads


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


def study_seconds(folder: Path, name: str, trials: int, backend: str, flags: list[str]) -> tuple[float, float]:
    """Seconds of the command, and seconds a trial from the end of the first trials, one a worker, to that of the last.

    The second leaves start-up, the first trials' own and the pictures at the end out.
    """
    command = [sys.executable, "-m", "optlstm", "study", "--data", "series.csv", "--horizon", "24", "--name", name]
    command += ["--pruner", "none", "--sampler", "random", "--epochs", str(EPOCHS), "--set", "training.patience=0"]
    command += ["--backend", backend, "--trials", str(trials), "--quiet", "--storage", f"sqlite:///{name}.db", *flags]
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    taken = time.perf_counter() - began
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{folder}/{name}.db")
    ends = sorted(trial.datetime_complete for trial in study.get_trials(deepcopy=False))
    workers = int(flags[flags.index("--workers") + 1])
    return taken, (ends[-1] - ends[workers - 1]).total_seconds() / (trials - workers)


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

    from optlstm.tasks.forecast.problem import ForecastProblem
    from optlstm.tasks.forecast.task import Forecast
    from optlstm.tasks.options import DataConfig
    from optlstm.training import runtime
    from optlstm.training.hparams import Hyperparameters
    from optlstm.training.loop import fit

    runtime.prepare(threads)
    data = Forecast.read(DataConfig(path="series.csv", horizon=24)).data()
    problem = ForecastProblem(data, torch.device("cpu"))
    print("ready", flush=True)
    sys.stdin.readline()
    for seed in range(trials):
        for _ in fit(problem, Hyperparameters.from_params(shape), epochs=EPOCHS, patience=0, seed=seed):
            pass


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=positive, default=20)
    parser.add_argument("--rows", type=int, default=8_000)
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--backends", nargs="+", choices=("local", "ray"), default=["local", "ray"])
    parser.add_argument("--hidden", type=int, help="hidden_size of every trial (default: the space's default)")
    parser.add_argument("--whole-space", action="store_true")
    parser.add_argument("--threads-too", action="store_true", help="one worker of two threads as well")
    parser.add_argument("--bare", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.bare and (args.trials < 4 or args.trials % 2):
        parser.error("--trials: must be even and at least 4, for two workers to have more than a first one each")
    return args


def main() -> None:
    args = parse()
    if args.bare:
        bare(args.bare, args.trials, args.threads)
        return
    kinds = [ONE, TWO, *([THREADS] if args.threads_too else [])]
    places = [*args.backends, *([] if args.whole_space else ["bare loop"])]
    wanted = [(place, kind) for place in places for kind in kinds]
    shape = one_shape(args.rows, args.hidden)
    flags = [flag for name, value in shape.items() for flag in ("--set", f"space.{name}={json.dumps(value)}")]
    whole: dict[tuple[str, str], list[float]] = {key: [] for key in wanted}
    steady: dict[tuple[str, str], list[float]] = {key: [] for key in wanted}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_series(folder / "series.csv", args.rows)
        for round_ in range(args.rounds):
            for number, (place, kind) in enumerate(wanted):
                if place == "bare loop":
                    seconds = bare_seconds(folder, args.trials, shape, *BARE[kind])
                    found = seconds, seconds / args.trials
                else:
                    own = VARIANTS[kind] + ([] if args.whole_space else flags)
                    found = study_seconds(folder, f"bench-{round_}-{number}", args.trials, place, own)
                whole[place, kind].append(found[0])
                steady[place, kind].append(found[1])
                print(
                    f"round {round_ + 1}: {place}, {kind}: {found[0]:.1f} s, {found[1]:.3f} s a trial", file=sys.stderr
                )
    what = "drawn from the default space" if args.whole_space else f"of hidden_size {shape['hidden_size']}"
    about = f"{args.trials} trials {what}, {EPOCHS} epochs each, {args.rounds} rounds"
    heading(about, "optlstm", "torch", *(("ray",) if "ray" in args.backends else ()))
    rows = []
    for place, kind in wanted:
        per_hour = [3600 / seconds for seconds in steady[place, kind]]
        rates = {key: [1 / seconds for seconds in all_] for key, all_ in steady.items()}
        by_one, by_first = (ratio(rates, (place, kind), base) for base in ((place, ONE), (args.backends[0], kind)))
        row = [f"{place}: {kind}", spread(per_hour, ".0f"), f"{by_one:.2f}", f"{by_first:.2f}"]
        rows.append([*row, "" if place == "bare loop" else spread(whole[place, kind])])
    table(["", "trials an hour", "by one worker's", f"by {args.backends[0]}'s", "whole command, s"], rows)


if __name__ == "__main__":
    main()
