"""What is learnt in bf16 and in fp32: the same trainings of the bundled series and of ETTh1's OT, 24 hours ahead.

Shown are the best validation value (a network is validated in fp32, whatever it trains in), and how many times faster
the same epochs were, validation included: the process's own time, one thread.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from rounds import heading, positive, spread, table

from optlstm.run.plan import make_plan
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import fit
from optlstm.training.runtime import prepare

CO2 = {"window": 156, "patch": 4}
DAYS = {"window": 336, "patch": 24}
HOURS = {"window": 96, "patch": 4, "num_layers": 2}


def trained(problem: Any, hp: Hyperparameters, epochs: int, seed: int, precision: str) -> tuple[float, float]:
    """The best validation value and the seconds."""
    began = time.process_time()
    *_, last = fit(problem, hp, epochs=epochs, patience=0, seed=seed, precision=precision)
    return last.best_value, time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("etth1", type=Path, help="ETTh1.csv")
    parser.add_argument("--seeds", type=positive, default=3)
    parser.add_argument("--epochs", type=positive, default=5)
    parser.add_argument("--hidden", type=positive, default=64)
    args = parser.parse_args()
    prepare(1)
    etth1 = {"path": str(args.etth1), "time": "date", "target": "OT", "horizon": 24, "splits": [8640, 2880, 2880]}
    rows = []
    for name, data, params in (("co2", {}, CO2), ("ETTh1", etth1, DAYS), ("ETTh1", etth1, HOURS)):
        problem = make_plan({"name": "precision", "data": {**data, "folds": 0}}).problem
        for supervision in ("last_step", "every_step"):
            space = {**params, "hidden_size": args.hidden, "linear_skip": "solved", "supervision": supervision}
            hp = Hyperparameters.from_params(space)
            runs = [
                [trained(problem, hp, args.epochs, seed, precision) for precision in ("fp32", "bf16")]
                for seed in range(args.seeds)
            ]
            values = np.array([[value for value, _ in run] for run in runs])  # [seeds, 2]
            faster = [fp32 / bf16 for (_, fp32), (_, bf16) in runs]
            change = values[:, 1] / values[:, 0] - 1
            shape = f"{params['window']} / {params['patch']}"
            learnt = [spread(values[:, i]) for i in (0, 1)]
            rows.append([name, shape, supervision, *learnt, f"{100 * np.mean(change):+.2f} %", spread(faster, ".2f")])
    heading(f"hidden {args.hidden}, {args.epochs} epochs, {args.seeds} seeds", "optlstm", "torch")
    table(["data", "window / patch", "supervision", "fp32", "bf16", "bf16 is", "times as fast"], rows)


if __name__ == "__main__":
    main()
