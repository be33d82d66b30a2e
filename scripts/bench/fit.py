"""`fit` in so many minutes on many data sets: when it ended, its test beside the best baseline's, and other libraries.

    python scripts/bench/fit.py LIST.toml [--only NAME ...] [--minutes 3] [--autolstm PYTHON] [--autogluon PYTHON]

The list is that of `accuracy.py`; sets with a `test_file` are left out. PYTHON is that of an environment with the other
library (neuralforecast, autogluon.timeseries), which has the same minutes and cores, one after the other, and the same
rows before the test. The others' forecasts take long to make (AutoGluon's statistical models are fitted to each), so
that the last columns compare MSEs over at most `--forecasts` of the test's windows, evenly spaced, ours too. The
series are given to the others on our scale, several columns as several series. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from optlstm.models.model import Model
from optlstm.models.selection import study_plan
from optlstm.study.database.connection import open_database
from optlstm.study.results import load_study
from optlstm.tasks.forecast.calibrate import Predicted
from optlstm.tasks.forecast.task import Forecast

RIVALS = Path(__file__).with_name("fit_rivals.py")


@dataclass(frozen=True)
class Windows:
    """Some windows of a model's test, [n]: the first row that each forecasts, and its series; and the same as a job."""

    model: Model
    task: Forecast
    data: Any
    first: Any
    series: Any
    step: int
    count: int

    @classmethod
    def of(cls, folder: Path, name: str, most: int) -> Windows:
        study = load_study(open_database(f"sqlite:///{folder}/runs/optlstm.db"), name)
        task = study_plan(study, None)[0].task
        assert isinstance(task, Forecast)
        tests = {int(end - begin) for begin, end in task.cuts[:, 2:]}
        if len(tests) > 1:
            raise SystemExit("the series have tests of several lengths")
        windows = tests.pop() - task.horizon + 1
        step = max(1, -(-(windows - 1) // max(1, most - 1)))
        count = (windows - 1) // step + 1
        first = (task.cuts[:, 2, None] + step * np.arange(count)).ravel()
        data = task.evaluator().training_data(joined=False)
        return cls(
            Model.load(folder / "model"), task, data, first, np.repeat(np.arange(len(task.cuts)), count), step, count
        )

    @property
    def truth(self) -> Any:
        """[n, columns, horizon], standardised."""
        return self._scaled(self.task.panel.truth(self.first, self.task.horizon))

    @property
    def ours(self) -> Any:
        forecaster = self.model.predictor.forecaster
        batches = forecaster.forecasts(self.data, self.first, self.series)
        return self._scaled(
            np.concatenate([Predicted.of(forecaster, b, self.first, self.series).point for b in batches])
        )

    def _scaled(self, values: Any) -> Any:
        mean, std = (part[self.series][:, :, None] for part in (self.data.mean, self.data.std))
        return (values - mean) / std

    def rivals(self, kind: str, python: str, seconds: float) -> tuple[Any, dict[str, Any]]:
        """Another library's forecasts, as `ours`, and its summary."""
        task = self.task
        with tempfile.TemporaryDirectory() as folder:
            job = job_of(task, self.data, Path(folder), self.step, self.count, seconds)
            summary = answer(kind, python, job, Path(folder))
            made = pd.read_csv(job["out"]).sort_values(["unique_id", "cutoff", "ds"])
        shape = (len(task.cuts), len(task.panel.columns), self.count, task.horizon)
        forecasts = made["y_hat"].to_numpy().reshape(shape).swapaxes(1, 2)
        return forecasts.reshape(-1, len(task.panel.columns), task.horizon), summary


def job_of(task: Forecast, data: Any, folder: Path, step: int, count: int, seconds: float) -> dict[str, Any]:
    """What another library is to do: the series, on the scale of `data`, up to the last of `count` forecasts."""
    panel, parts = task.panel, []
    least = min(int(test - begin) for begin, _, test, _ in task.cuts)
    for i, (begin, _, test, _) in enumerate(task.cuts.tolist()):
        rows = slice(max(begin, test - least), test + task.horizon + step * (count - 1))
        for c in range(len(panel.columns)):
            values = (panel.values[rows, c] - data.mean[i, c]) / data.std[i, c]
            parts.append(pd.DataFrame({"unique_id": f"s{i:05}c{c:03}", "ds": panel.time[rows], "y": values}))
    pd.concat(parts).ffill().to_csv(folder / "series.csv", index=False)
    return {
        "file": f"{folder}/series.csv", "out": f"{folder}/made.csv", "freq": panel.freq, "horizon": task.horizon,
        "begin": least, "validation": int(min(task.cuts[:, 2] - task.cuts[:, 1])), "step": step, "count": count,
        "seconds": seconds, "cores": os.cpu_count(),
    }  # fmt: skip


def command_of(kind: str, python: str, job: dict[str, Any], folder: Path) -> tuple[list[str], dict[str, str]]:
    """What has `fit_rivals.py` do a job, and its environment."""
    (folder / "job.json").write_text(json.dumps(job))
    without = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return [python, str(RIVALS), kind, f"{folder}/job.json"], without


def answer(kind: str, python: str, job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What it prints. Raises RuntimeError where it fails."""
    command, without = command_of(kind, python, job, folder)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=without, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def fitted(entry: dict[str, Any], name: str, file: Path, minutes: float, folder: Path) -> tuple[dict[str, Any], float]:
    """What `fit --json` prints, and its minutes."""
    command = [sys.executable, "-m", "optlstm", "fit", "--data", str(file), *shlex.split(entry["flags"])]
    command += ["--minutes", f"{minutes:g}", "--name", name, "-o", "model", "--json", "--quiet"]
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.splitlines()[-1])
    return json.loads(done.stdout), (time.monotonic() - began) / 60


def line_of(name: str, entry: dict[str, Any], file: Path, given: argparse.Namespace, rivals: dict[str, str]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        result, minutes = fitted(entry, name, file, given.minutes, Path(folder))
        best, scores = min((scores["mse"], name) for name, scores in result["baselines"].items() if "mse" in scores)
        mse, trials = result["test"]["mse"], sum(result["counts"].values())
        line = f"| {name} | {trials} | {minutes:.1f} | {mse:.4f} | {best:.4f} ({scores}) | {100 * mse / best:.0f} % |"
        if not rivals:
            return line
        windows = Windows.of(Path(folder), name, given.forecasts)
        truth = windows.truth
        line += f" {windows.count} | {np.nanmean((windows.ours - truth) ** 2):.4f} |"
        for kind, python in rivals.items():
            try:
                forecasts, summary = windows.rivals(kind, python, 60 * given.minutes)
                error = np.nanmean((forecasts - truth) ** 2)
                line += f" {error:.4f} ({summary['models']}, {summary['seconds'] / 60:.1f} min) |"
            except RuntimeError as error:
                line += f" {error} |"
    return line


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("list", type=Path)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--autolstm", metavar="PYTHON")
    parser.add_argument("--autogluon", metavar="PYTHON")
    parser.add_argument("--forecasts", type=int, default=40)
    given = parser.parse_args()
    sets = tomllib.loads(given.list.read_text())
    rivals = {kind: getattr(given, kind) for kind in ("autolstm", "autogluon") if getattr(given, kind)}
    more = ["forecasts compared", "ours", *rivals] if rivals else []
    heading = ["", "trials", "minutes", "mse", "best baseline", "of it", *more]
    print(f"| {' | '.join(heading)} |\n|{'---|' * len(heading)}")
    for name, entry in sets.items():
        if "test_file" in entry or (given.only and name not in given.only):
            continue
        try:
            line = line_of(name, entry, (given.list.parent / entry["file"]).absolute(), given, rivals)
        except RuntimeError as error:
            line = f"| {name} | {error} |"
        print(line, flush=True)


if __name__ == "__main__":
    main()
