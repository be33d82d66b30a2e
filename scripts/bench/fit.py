"""`fit` in so many minutes on many data sets: when it ended, and its test beside the best baseline.

    python scripts/bench/fit.py LIST.toml [--only NAME ...] [--minutes 3]

The list is that of `accuracy.py`; sets with a `test_file` are left out. Prints a Markdown table.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("list", type=Path)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--minutes", type=float, default=3.0)
    given = parser.parse_args()
    sets = tomllib.loads(given.list.read_text())
    print("| | trials | minutes | mse | best baseline | of it |\n|---|---|---|---|---|---|")
    for name, entry in sets.items():
        if "test_file" in entry or (given.only and name not in given.only):
            continue
        file = (given.list.parent / entry["file"]).absolute()
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "optlstm", "fit", "--data", str(file), *shlex.split(entry["flags"])]
            command += ["--minutes", f"{given.minutes:g}", "--name", name, "-o", "model", "--json", "--quiet"]
            began = time.monotonic()
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            minutes = (time.monotonic() - began) / 60
        if done.returncode:
            print(f"| {name} | | {minutes:.1f} | {done.stderr.splitlines()[-1]} | | |", flush=True)
            continue
        result = json.loads(done.stdout)
        best, scores = min(((scores["mse"], name) for name, scores in result["baselines"].items()), key=lambda s: s[0])
        mse, trials = result["test"]["mse"], sum(result["counts"].values())
        print(
            f"| {name} | {trials} | {minutes:.1f} | {mse:.4f} | {best:.4f} ({scores}) | {100 * mse / best:.0f} % |",
            flush=True,
        )


if __name__ == "__main__":
    main()
