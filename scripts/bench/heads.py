"""What an epoch costs by loss: training on 8,640 hours and validation on 2,880, all losses in turn in one run.

    python scripts/bench/heads.py [--epochs 5] [--hidden 64] [--patch 24] [--window 336] [--horizon 24] [LOSS ...]

The medians over the epochs, and each divided by that of mse.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch

from optlstm.tasks.forecast.data import ForecastData
from optlstm.tasks.forecast.losses import LOSSES
from optlstm.tasks.forecast.problem import ForecastProblem
from optlstm.tasks.forecast.task import Forecast
from optlstm.tasks.options import DataConfig
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import fit
from optlstm.training.metric import Goal


def made_up(horizon: int) -> ForecastData:
    """Hourly counts with a day and a week."""
    hours, random = np.arange(8640 + 2 * 2880), np.random.default_rng(0)
    mean = 20 + 10 * np.sin(2 * np.pi * hours / 24) + 5 * np.sin(2 * np.pi * hours / 168)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "hours.csv"
        pd.DataFrame({"ds": hours, "y": random.poisson(mean)}).to_csv(file, index=False)
        return Forecast.read(DataConfig(path=str(file), horizon=horizon, splits=(8640, 2880, 2880), season=24)).data()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"epochs": 5, "hidden": 64, "patch": 24, "window": 336, "horizon": 24}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("losses", nargs="*", default=["mse", "mae", "quantiles", "normal", "student_t"], metavar="LOSS")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = made_up(args.horizon)
    hp = Hyperparameters(window=args.window, patch=args.patch, hidden_size=args.hidden, linear_skip=True)
    runs = {}
    for loss in dict.fromkeys(["mse", *args.losses]):
        problem = ForecastProblem(data, torch.device("cpu"), goal=Goal(loss, (LOSSES[loss].metric,)))
        runs[loss] = (problem, fit(problem, hp, epochs=args.epochs + 1, patience=None, seed=0))
        next(runs[loss][1])  # warms up
    seconds: dict[str, list[float]] = {loss: [] for loss in runs}
    validated: dict[str, list[float]] = {loss: [] for loss in runs}
    for _ in range(args.epochs):
        for loss, (problem, run) in runs.items():
            began = time.process_time()  # of one thread: what else the machine does changes little
            next(run)
            seconds[loss].append(time.process_time() - began)
            network = problem.network(hp).eval()
            began = time.process_time()
            with torch.no_grad():
                problem.validate(network, hp)
            validated[loss].append(time.process_time() - began)
    usual = median(seconds["mse"])
    print("loss                epoch, CPU s   of mse   of which validation")
    for loss, times in seconds.items():
        print(f"{loss:18} {median(times):10.2f} {median(times) / usual:8.2f} {median(validated[loss]):14.2f}")


if __name__ == "__main__":
    main()
