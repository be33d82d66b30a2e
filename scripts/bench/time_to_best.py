"""Seconds and trials until a study is within 2 % of its best validation value, by two versions of the program.

    python scripts/bench/time_to_best.py LIST.toml --against CHECKOUT [--only NAME ...] [--trials 60]

LIST.toml has one table a data set: `file`, relative to the list, and `flags` of `study`. CHECKOUT is the root of
another version of this repository, whose studies run in turn with this one's. Counted from the start of the first trial
to the end of the trial that is near enough. The metric must be one of which less is better.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import optuna

HERE = Path(__file__).resolve().parents[2]
NEAR = 1.02  # of the best value


def search(checkout: Path, work: Path, name: str, data: Path, flags: list[str]) -> tuple[float, int]:
    """Seconds and trials of a new study, see the module."""
    storage = f"sqlite:///{work / f'{name}.db'}"
    given = ["--data", str(data), *flags, "--name", name, "--storage", storage, "--quiet"]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    command = [sys.executable, "-m", "optlstm", "study", *given]
    subprocess.run(command, cwd=work, env=environment, check=True, stdout=subprocess.DEVNULL)
    return until_near(optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False))


def until_near(trials: list[optuna.trial.FrozenTrial]) -> tuple[float, int]:
    """Seconds from the first trial's start, and trials that had begun by then."""
    complete = [trial for trial in trials if trial.value is not None and trial.datetime_complete is not None]
    best = min(trial.value for trial in complete if trial.value is not None)
    ends = [t.datetime_complete for t in complete if t.value is not None and t.value <= NEAR * best]
    end = min(moment for moment in ends if moment is not None)
    starts = [trial.datetime_start for trial in trials if trial.datetime_start is not None]
    return (end - min(starts)).total_seconds(), sum(start < end for start in starts)


def main() -> None:
    """Prints the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", type=Path)
    parser.add_argument("--against", type=Path, required=True, metavar="CHECKOUT")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--trials", type=int, default=60)
    args = parser.parse_args()
    sets = tomllib.loads(args.list.read_text(encoding="utf-8"))
    ratios = []
    print("| data | s, before | s | of before | trials, before | trials |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, entry in sets.items():
            if args.only and name not in args.only:
                continue
            data = (args.list.resolve().parent / entry["file"]).resolve()
            flags = [*shlex.split(entry.get("flags", "")), "--trials", str(args.trials), "--seed", "1"]
            before = search(args.against.resolve(), Path(folder), f"{name}-before", data, flags)
            now = search(HERE, Path(folder), name, data, flags)
            ratios.append(now[0] / before[0])
            row = f"| {name} | {before[0]:.1f} | {now[0]:.1f} | {ratios[-1]:.2f} | {before[1]} | {now[1]} |"
            print(row, flush=True)
    print(f"\nmedian of {len(ratios)}: {statistics.median(ratios):.2f} of before")


if __name__ == "__main__":
    main()
