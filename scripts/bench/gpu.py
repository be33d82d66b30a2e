"""Everything that is to be known of one GPU, in one go of less than ten minutes: prints markdown tables.

- throughput: windows per second of the trainer and of a bare loop of the same network (patch 1, 24; hidden 64, 256);
- trials an hour with 1, 4, 8 and 16 trials on the GPU at a time, each a process (`--gpus-per-trial 1/N`);
- determinism: the same trials trained twice, bit for bit;
- peak memory, of torch and of the whole device.

Each part has its share of the time; one that does not come to its end, or fails, is named, and the exit code is 1.
Without a GPU: exit 1. `--device cpu --quick` runs every part on a CPU, to see that the script works; nothing of that is
a measurement.
"""

from __future__ import annotations

import argparse
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from throughput import BATCH, HORIZON, ROWS, WINDOW, problem_and_hp, series, windows
from torch.nn import functional as F
from workers import write_series

from optlstm.tasks.forecast.problem import ForecastProblem
from optlstm.training.loop import fit
from optlstm.training.runtime import choose_deterministic_kernels, prepare

SHAPES = [(1, 64), (1, 256), (24, 64), (24, 256)]  # patch, hidden size
PLACES = (1, 4, 8, 16)


def shapes(quick: bool) -> list[tuple[int, int]]:
    return [(24, 8)] if quick else SHAPES


def on(device: torch.device, hidden: int, patch: int) -> tuple[ForecastProblem, Any]:
    problem, hp = problem_and_hp(hidden, patch, device)
    return problem, hp


def synchronised(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def trainer(device: torch.device, hidden: int, patch: int, seconds: float) -> float:
    """Windows per second, its validation apart."""
    problem, hp = on(device, hidden, patch)
    inner, spent = problem.validate, 0.0

    def validate(*args: Any) -> Any:
        nonlocal spent
        began = synchronised(device)
        result = inner(*args)
        spent += synchronised(device) - began
        return result

    problem.validate = validate  # type: ignore[method-assign]
    epochs = fit(problem, hp, epochs=100_000, patience=0, seed=0)
    next(epochs)
    done, spent, began = 0, 0.0, synchronised(device)
    while (taken := synchronised(device) - began - spent) < seconds or not done:
        next(epochs)
        done += 1
    return done * windows() / taken


def bare(device: torch.device, hidden: int, patch: int, seconds: float) -> float:
    """Windows per second of a loop as one writes it, of the same network."""
    problem, hp = on(device, hidden, patch)
    network = problem.network(hp).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=hp.learning_rate)
    values = torch.tensor(series()[: int(ROWS * 0.7)], dtype=torch.float32, device=device)
    view = values.unfold(0, WINDOW + HORIZON, 1)

    def epoch() -> None:
        order = torch.randperm(len(view), device=device)
        for at in range(0, len(order), BATCH):
            rows = view[order[at : at + BATCH]]
            optimizer.zero_grad()
            F.mse_loss(network(rows[:, :WINDOW]), rows[:, WINDOW:]).backward()
            optimizer.step()

    epoch()
    done, began = 0, synchronised(device)
    while (taken := synchronised(device) - began) < seconds or not done:
        epoch()
        done += 1
    return done * len(view) / taken


def throughput(device: torch.device, quick: bool) -> None:
    seconds = 0.1 if quick else 6.0
    print("| patch | hidden | optlstm, windows/s | bare loop, windows/s | ratio | peak of torch, MB |")
    print("|---|---|---|---|---|---|")
    for patch, hidden in shapes(quick):
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        rates: list[list[float]] = [[], []]
        for _ in range(1 if quick else 3):
            for measure, into in zip((trainer, bare), rates, strict=True):
                into.append(measure(device, hidden, patch, seconds / 3))
        ours, theirs = (sorted(rate)[len(rate) // 2] for rate in rates)
        peak = f"{torch.cuda.max_memory_allocated() / 1e6:,.0f}" if device.type == "cuda" else "none"
        print(f"| {patch} | {hidden} | {ours:,.0f} | {theirs:,.0f} | {ours / theirs:.2f} | {peak} |", flush=True)


def determinism(device: torch.device, quick: bool) -> None:
    for patch, hidden in shapes(quick):
        values = []
        for _ in range(2):
            problem, hp = on(device, hidden, patch)
            epochs = fit(problem, hp, epochs=2 if quick else 4, patience=0, seed=7)
            values.append([epoch.value for epoch in epochs])
        print(
            f"patch {patch}, hidden {hidden}: {'equal' if values[0] == values[1] else f'DIFFERENT: {values}'}",
            flush=True,
        )
        assert values[0] == values[1]


def places(device: torch.device, quick: bool) -> None:
    """Whole `study` commands: trials an hour from the ends that the study has, once each worker has ended its first."""
    print("| at a time | trials an hour | of one at a time | device memory, MB |\n|---|---|---|---|")
    alone = None
    with tempfile.TemporaryDirectory() as folder:
        write_series(Path(folder) / "series.csv", 600 if quick else 6000)
        for count in (1, 2) if quick else PLACES:
            trials, share = 2 * count + 1, "0" if device.type == "cpu" else f"{1 / count:.6f}"
            space = [
                f"space.hidden_size={8 if quick else 256}",
                "space.patch=24",
                "space.window=336" if not quick else "space.window=48",
            ]
            settings = [part for key in space for part in ("--set", key)]
            flags = ["--data", "series.csv", "--horizon", "24", "--sampler", "random", "--pruner", "none", *settings]
            size = ["--epochs", "2" if quick else "4", "--trials", str(trials), "--workers", str(count)]
            command = [sys.executable, "-m", "optlstm", "study", *flags, *size, "--gpus-per-trial", share]
            storage = f"sqlite:///{folder}/{count}.db"
            process = subprocess.Popen(
                [*command, "--name", str(count), "--storage", storage, "--set", "artifacts=0"],
                cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            used = 0.0
            while process.poll() is None:
                if device.type == "cuda":
                    free, total = torch.cuda.mem_get_info()
                    used = max(used, (total - free) / 1e6)
                time.sleep(0.2)
            assert process.stderr is not None
            if process.returncode:
                raise RuntimeError(f"{count} at a time: {process.stderr.read()[-2000:]}")
            with sqlite3.connect(Path(folder) / f"{count}.db") as database:
                query = "SELECT (julianday(datetime_complete) - 2440587.5) * 86400 FROM trials ORDER BY 1"
                ends = [row[0] for row in database.execute(query)]
            rate = 3600 * (len(ends) - count) / max(ends[-1] - ends[count - 1], 1e-9)
            alone = alone or rate
            print(f"| {count} | {rate:,.0f} | {rate / alone:.2f} | {used:,.0f} |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="to see that it runs; no measurement")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("there is no GPU here: nothing was measured")
        return 1
    prepare(threads=1)
    choose_deterministic_kernels(device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "a CPU, which is no measurement"
    print(f"{name}, torch {torch.__version__}, CUDA {torch.version.cuda}\n", flush=True)
    began, failed = time.monotonic(), list[str]()
    parts: list[Callable[[torch.device, bool], None]] = [throughput, determinism, places]
    for part in parts:
        print(f"\n## {part.__name__}\n", flush=True)
        try:
            part(device, arguments.quick)
        except Exception:
            traceback.print_exc()
            failed.append(part.__name__)
    print(f"\n{time.monotonic() - began:.0f} s" + (f"; FAILED: {', '.join(failed)}" if failed else ""))
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
