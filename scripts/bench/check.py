"""Whether `check` tells a level shift from noise: made-up hourly series, with and without a step in the last 100 rows.

    python scripts/bench/check.py [--series 20] [--first 0]

Each series is a daily sine with autocorrelated noise; a small model knows the first 600 rows of 700. Prints a line a
series, and how many false alarms and misses there were.
"""

import argparse
import logging
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import optlstm
from optlstm.models.check import check

SMALL = {"window": 24, "patch": 12, "hidden_size": 8, "num_layers": 1}
ROWS, KNOWN, STEP = 700, 600, 2.0


def series(seed: int) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    y = np.sin(np.arange(ROWS) * 2 * np.pi / 24) + draw.normal(0, 0.5, ROWS)
    drift = np.zeros(ROWS)
    for i in range(1, ROWS):
        drift[i] = 0.7 * drift[i - 1] + draw.normal(0, 0.3)
    return pd.DataFrame({"ds": pd.date_range("2024", periods=ROWS, freq="h"), "y": y + drift})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--series", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="seed of the first series")
    given = parser.parse_args()
    count = given.series
    logging.disable(logging.WARNING)
    alarms = misses = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        where = {"storage": f"sqlite:///{folder}/studies.db", "storage_path": folder / "runs", "progress": False}
        for seed in range(given.first, given.first + count):
            noise = series(seed)
            shifted = noise.copy()
            shifted.loc[KNOWN:, "y"] += STEP
            result = optlstm.tune(
                noise.head(KNOWN),
                horizon=12,
                n_trials=1,
                epochs=3,
                workers=1,
                folds=0,
                space=SMALL,
                name=f"s{seed}",
                **where,
            )
            model, problems = result.refit(), []
            for kind, frame in (("noise", noise), ("shift", shifted)):
                frame.to_csv(folder / f"{kind}.csv", index=False)
                problems.append(check(model, folder / f"{kind}.csv").problems)
            alarms, misses = alarms + bool(problems[0]), misses + (not problems[1])
            print(
                f"{seed:>3}  noise: {problems[0] or 'in bounds'}  shift: {len(problems[1])} out of bounds", flush=True
            )
    print(f"{count} series of each: {alarms} false alarms, {misses} misses")


if __name__ == "__main__":
    main()
