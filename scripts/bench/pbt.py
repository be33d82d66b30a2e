"""A population against random search, with the same number of epochs and the same first configurations.

    python scripts/bench/pbt.py ETTh1.csv

Random search trains `--members` configurations for `--epochs` epochs each. The population starts from the very same
ones (a trial's params and seeds follow from the study's seed and its number), and replaces its worst quarter every
second epoch. Studies go to `--storage`, and a second start continues them. Prints a markdown table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

STUDY = ["--time", "date", "--target", "OT", "--horizon", "24", "--set", "data.splits=[8640,2880,2880]"]


def optlstm(*args: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "optlstm", *args], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def searched(name: str, storage: str, data: str, flags: list[str]) -> dict[str, Any]:
    """Run a study, or what is left of it, and return what `show --format json` says."""
    optlstm("study", "--data", data, "--name", name, "--storage", storage, "--quiet", *STUDY, *flags)
    found: dict[str, Any] = json.loads(optlstm("show", name, "--storage", storage, "--format", "json"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="ETTh1.csv")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--members", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--storage", default="sqlite:///runs/optlstm.db")
    args = parser.parse_args()
    common = ["--sampler", "random", "--epochs", str(args.epochs), "--workers", str(args.workers)]
    kinds = {
        "random": ["--pruner", "none", "--trials", str(args.members), "--set", "training.patience=0"],
        "pbt": ["--scheduler", "pbt", "--set", f"pbt.population={args.members}"],
    }
    print(f"{args.members} configurations, {args.members * args.epochs} epochs in all; best validation MSE\n")
    print("| seed | random | pbt | copies made | at or below |\n|---|---|---|---|---|")
    wins = 0
    for seed in args.seeds:
        found = {
            kind: searched(f"{kind}-{seed}", args.storage, args.data, [*common, "--seed", str(seed), *flags])
            for kind, flags in kinds.items()
        }
        random, pbt = (found[kind]["best"]["value"] for kind in kinds)
        wins += pbt <= random
        copies = len(found["pbt"]["trials"]) - args.members
        print(f"| {seed} | {random:.6f} | {pbt:.6f} | {copies} | {'yes' if pbt <= random else 'no'} |", flush=True)
    print(f"\nThe population is at or below in {wins} of {len(args.seeds)} seeds.")


if __name__ == "__main__":
    main()
