"""A model that is updated every night, against one that is refitted from scratch every night.

    python scripts/bench/nightly.py ETTh1.csv [--nights 30] [--time date --target OT] [--json OUT]

One search on the rows before the first night. Then, night after night, 24 rows more: `update --mode continue` of last
night's model, and `update --mode refit` of the first one, which trains its params anew on all rows. Prints for each the
mean squared error of the following day (standardised), and the seconds it took.
"""

import argparse
import json
import logging
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

import optlstm
from optlstm.models.update import update

STEPS = 24


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nights", type=int, default=30)
    parser.add_argument("data")
    parser.add_argument("--time", default="date")
    parser.add_argument("--target", default="OT")
    parser.add_argument("--rows", type=int, default=8000, help="of the first night")
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--json")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    table = pd.read_csv(given.data)[[given.time, given.target]]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = optlstm.tune(
            table[: given.rows], time=given.time, target=given.target, horizon=STEPS, n_trials=given.trials, seed=1,
            name="nightly", storage=f"sqlite:///{folder}/s.db", storage_path=folder / "runs", progress=False,
        )  # fmt: skip
        first = model = result.refit()
        std = first.card.task.std[0][0]
        nights = []
        for night in range(1, given.nights + 1):
            end = given.rows + night * STEPS
            table[:end].to_csv(folder / "known.csv", index=False)
            row: dict[str, float] = {}
            began = time.perf_counter()
            model = update(model, folder / "known.csv", "continue")
            row["continue_s"] = time.perf_counter() - began
            began = time.perf_counter()
            anew = update(first, folder / "known.csv", "refit")
            row["refit_s"] = time.perf_counter() - began
            truth = table[given.target][end : end + STEPS].to_numpy()
            for kind, candidate in (("continue", model), ("refit", anew), ("first", first)):
                forecast = candidate.predict(folder / "known.csv")[given.target].to_numpy()
                row[kind] = float(np.mean(((forecast - truth) / std) ** 2))
            nights.append(row)
            print(night, {key: round(value, 5) for key, value in row.items()}, model.card.history[-1].how, flush=True)
    means = {key: float(np.mean([row[key] for row in nights])) for key in nights[0]}
    print("| nights | mse updated | mse refitted | mse of the first model | seconds updated | refitted |")
    print(
        f"| {given.nights} | {means['continue']:.5f} | {means['refit']:.5f} | {means['first']:.5f} |"
        f" {means['continue_s']:.1f} | {means['refit_s']:.1f} |"
    )
    if given.json:
        Path(given.json).write_text(json.dumps({"means": means, "nights": nights}, indent=1))


if __name__ == "__main__":
    main()
