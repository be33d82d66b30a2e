"""The default study and `refit` of many data sets, beside the baselines in refit's own table.

    python scripts/bench/accuracy.py [LIST.toml] [--only NAME ...] [--trials 30] [--refit "--top 5"] [--choose]

Without a list: made-up series (trends, seasons, level shifts, changing variance, intermittent demand, chaos, noise),
each from a fixed seed. A list has a table for each data set, paths relative to it:

    [airline]
    file = "airline-passengers.csv"
    flags = "--time Month --target Passengers --horizon 12"
    test_file = "..."      # where the test rows are a file of their own

`--choose` leaves the test rows out: of each series the newest fifth, or as many as the third number of `data.splits`;
files of their own are not read. Defaults may be chosen by what it prints. It is a Markdown table; of forecasts there
follow the geometric mean of the MSE divided by NLinear's, and the largest ratio to a data set's best baseline.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Floats = np.ndarray[Any, np.dtype[np.float64]]


def season(rows: int, period: float, random: np.random.Generator, harmonics: int = 3) -> Floats:
    angle = 2 * np.pi * np.arange(rows) / period
    parts = [
        random.normal() / k * np.sin(k * angle) + random.normal() / k * np.cos(k * angle)
        for k in range(1, harmonics + 1)
    ]
    return np.sum(parts, axis=0)


def recursion(rows: int, step: Callable[[Floats, int], float], first: tuple[float, ...] = (0.0, 0.0)) -> Floats:
    y = np.zeros(rows)
    y[: len(first)] = first
    for i in range(len(first), rows):
        y[i] = step(y, i)
    return y


def made_up() -> Iterator[tuple[str, Floats, str, int]]:
    """Name, values, frequency and horizon."""
    random, n = np.random.default_rng, np.arange
    r = random(1)
    yield "multiplied season", np.exp(0.01 * n(120) + 0.2 * season(120, 12, r) + 0.05 * r.normal(size=120)), "MS", 12
    r = random(2)
    yield "quarters, a trend", 0.05 * n(100) + season(100, 4, r, 1) + 0.3 * r.normal(size=100), "QS", 4
    r = random(3)
    shifts = np.repeat(3 * r.normal(size=7), 100)
    yield "level shifts", shifts + season(700, 7, r, 2) + 0.5 * r.normal(size=700), "D", 14
    r = random(4)
    variance = 0.2 + np.abs(np.sin(np.pi * n(3000) / 24))
    yield "changing variance", season(3000, 24, r) + r.normal(size=3000) * variance, "h", 24
    r = random(5)
    yield "intermittent demand", (r.random(300) < 0.3) * r.gamma(2, 2, size=300).round(1), "W", 4
    yield "random walk", np.cumsum(random(6).normal(size=400)), "D", 7
    e = random(7).normal(size=150)
    yield "cycles without a season", recursion(150, lambda y, i: 1.4 * y[i - 1] - 0.8 * y[i - 2] + e[i]), "YS", 3
    henon = recursion(2000, lambda y, i: 1 - 1.4 * y[i - 1] ** 2 + 0.3 * y[i - 2], (0.3, 0.9))
    yield "chaos", henon + 0.02 * random(8).normal(size=2000), "h", 6
    r = random(9)
    yield "days and weeks", season(2500, 24, r) + 1.5 * season(2500, 168, r, 4) + 0.3 * r.normal(size=2500), "h", 24
    r = random(10)
    damped = 0.3 * np.cumsum(0.95 ** n(240))
    yield "damped trend", damped + 0.5 * season(240, 12, r) + 0.2 * r.normal(size=240), "MS", 12
    r = random(11)
    yield "weeks of years", 2 * season(520, 52.18, r, 2) + 0.01 * n(520) + 0.5 * r.normal(size=520), "W", 8
    r = random(12)
    yield "five years of months", 0.1 * n(60) + season(60, 12, r, 1) + 0.2 * r.normal(size=60), "MS", 6
    e2 = random(13).normal(size=1500)
    yield "threshold", recursion(1500, lambda y, i: (0.9 if y[i - 1] < 0 else -0.6) * y[i - 1] + e2[i]), "D", 3
    r = random(14)
    drift = 0.02 * np.cumsum(r.normal(size=5000))
    yield "growing amplitude", (1 + np.abs(drift)) * season(5000, 24, r) + 0.3 * r.normal(size=5000) + drift, "h", 48


def write_made_up(folder: Path) -> dict[str, dict[str, str]]:
    """Their files, and the list of them."""
    entries = {}
    for name, values, freq, horizon in made_up():
        file = folder / f"{name.replace(',', '').replace(' ', '-')}.csv"
        times = pd.date_range("2000-01-01", periods=len(values), freq=freq)
        pd.DataFrame({"ds": times, "y": values}).to_csv(file, index=False)
        entries[name] = {"file": str(file), "flags": f"--horizon {horizon}"}
    return entries


def without_test_rows(file: Path, flags: list[str], folder: Path) -> Path:
    """A copy of a file with its training and validation rows alone."""
    frame = pd.read_csv(file)
    splits = next((json.loads(flag.split("=", 1)[1]) for flag in flags if flag.startswith("data.splits=")), [0.2])
    series = frame.groupby("unique_id") if "unique_id" in frame else frame.groupby(np.zeros(len(frame)))
    sizes, behind = series[frame.columns[0]].transform("size"), series.cumcount(ascending=False)
    test = splits[-1] if splits[-1] >= 1 else (splits[-1] * sizes).round()
    out = folder / f"choose-{file.name.removesuffix('.gz')}"
    frame[behind >= test].to_csv(out, index=False)
    return out


def optlstm(folder: Path, *arguments: str) -> tuple[str, float]:
    """What a command printed, and its seconds."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "optlstm", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError((done.stderr or done.stdout).strip().splitlines()[-1])
    return done.stdout, time.perf_counter() - began


def row(name: str, found: dict[str, Any], seconds: float) -> tuple[str, float, float]:
    """A line of the table, and MSE divided by NLinear's and by the best baseline's."""
    test, rivals = found["test"], found["baselines"]
    if "mse" not in test:
        scores = ", ".join(f"{metric} {test[metric]:.4f}" for metric in ("accuracy", "log_loss"))
        return f"| {name} | {scores} | | | {seconds:.0f} |", math.nan, math.nan
    best = min(rivals, key=lambda rival: rivals[rival]["mse"])
    to_best, to_nlinear = (test["mse"] / rivals[rival]["mse"] for rival in (best, "nlinear"))
    others = " / ".join("" if test[metric] is None else f"{test[metric]:.4g}" for metric in ("mse", "mase", "smape"))
    line = f"| {name} | {others} | {rivals[best]['mse']:.4g} {best} | {to_nlinear:.3f} | {seconds:.0f} |"
    return line, to_nlinear, to_best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", nargs="?", type=Path)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--refit", default="")
    parser.add_argument("--choose", action="store_true")
    options = parser.parse_args()
    ratios, largest = list[float](), (0.0, "")
    print(
        "| data | mse / mase / smape, or scores | best baseline's mse | mse to nlinear's | s |\n|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        entries = tomllib.loads(options.list.read_text()) if options.list else write_made_up(folder)
        for number, (name, entry) in enumerate(entries.items()):
            if options.only and name not in options.only:
                continue
            flags, at = shlex.split(entry.get("flags", "")), options.list.parent if options.list else folder
            file = (at / entry["file"]).resolve()
            if options.choose and "test_file" not in entry:
                file = without_test_rows(file, flags, folder)
            if "test_file" in entry and not options.choose:
                flags += ["--test-data", str((at / entry["test_file"]).resolve())]
            study = ("--name", f"s{number}", "--trials", str(options.trials), "--seed", str(options.seed), "--quiet")
            try:
                _, search_s = optlstm(folder, "study", "--data", str(file), *flags, *study)
                refit = ("refit", f"s{number}", "-o", f"m{number}", "--json", *shlex.split(options.refit))
                out, refit_s = optlstm(folder, *refit)
            except RuntimeError as error:
                print(f"| {name} | {error} | | | |", flush=True)
                continue
            line, to_nlinear, to_best = row(name, json.loads(out), search_s + refit_s)
            print(line, flush=True)
            if not math.isnan(to_nlinear):
                ratios.append(to_nlinear)
                largest = max(largest, (to_best, name))
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        print(f"\n{len(ratios)} forecasts: geometric mean of MSE to NLinear's {mean:.3f}")
        print(f"largest MSE to the best baseline's {largest[0]:.3f} ({largest[1]})")


if __name__ == "__main__":
    main()
