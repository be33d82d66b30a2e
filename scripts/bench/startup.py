"""Start-up: `--help`, `show` of a study of 20 trials, and the first epoch of a new study, from the command on.

The first epoch is there when the study database has it: the file is looked at from outside, every 20 ms.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sqlite3
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from rounds import alternate, heading, optlstm, positive, quietly, ratio, spread, table

TERMINAL = "python -c 'import typer, rich, pydantic'"
_NAMES = (f"study-{number}" for number in itertools.count())


def seconds(command: list[str], folder: Path) -> float:
    began = time.perf_counter()
    quietly(command, folder)
    return time.perf_counter() - began


def first_epoch(folder: Path, backend: str, workers: int) -> float:
    """Seconds until a new study of the bundled series has its first value; it is ended then."""
    name = next(_NAMES)
    command = optlstm("study", "--name", name, "--backend", backend, "--workers", str(workers), "--quiet")
    command += ["--storage", f"sqlite:///{name}.db"]
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        while not _has_a_value(folder / f"{name}.db"):
            if process.poll() is not None:
                raise SystemExit(f"it ended before its first epoch: {' '.join(command)}")
            time.sleep(0.02)
        return time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


def _has_a_value(path: Path) -> bool:
    # Before the file and its tables are there.
    with (
        contextlib.suppress(sqlite3.OperationalError),
        contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file,
    ):
        return file.execute("SELECT 1 FROM trial_intermediate_values LIMIT 1").fetchone() is not None
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--ray", action="store_true", help="the first epoch on Ray too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        quietly(
            optlstm("study", "--name", "shown", "--trials", "20", "--epochs", "2", "--sampler", "random", "--quiet"),
            folder,
        )
        peers = {
            "python -c pass": partial(seconds, [sys.executable, "-c", "pass"], folder),
            TERMINAL: partial(seconds, [sys.executable, "-c", "import typer, rich.table, pydantic"], folder),
            "--help": partial(seconds, optlstm("--help"), folder),
            "python -c 'import optuna, sqlalchemy.orm'": partial(
                seconds,
                [
                    sys.executable,
                    "-c",
                    "import optuna.storages._rdb.storage, sqlalchemy.orm; optuna.storages.RDBStorage",
                ],
                folder,
            ),
            "show, 20 trials": partial(seconds, optlstm("show", "shown"), folder),
            "python -c 'import torch'": partial(seconds, [sys.executable, "-c", "import torch"], folder),
            "first epoch, 1 worker": partial(first_epoch, folder, "local", 1),
            "first epoch, 2 workers": partial(first_epoch, folder, "local", 2),
        }
        if args.ray:
            peers["first epoch on Ray, 2 workers"] = partial(first_epoch, folder, "ray", 2)
        found = alternate(peers, args.rounds)
    heading(f"from the command on, {args.rounds} rounds", "optlstm", "optuna", "torch", *(("ray",) if args.ray else ()))
    table(["", "s: median (least-most)"], [[name, spread(taken, ".2f")] for name, taken in found.items()])
    print(f"--help by that import, the median of the rounds' ratios: {ratio(found, '--help', TERMINAL):.2f}")


if __name__ == "__main__":
    main()
