"""Whether `explain` ranks the true drivers first, on made-up hourly data.

    python scripts/bench/explain.py [--seeds 20]

Eight covariates known ahead, of which two drive the series, and its own value a day before. Prints, a line a seed, the
three first inputs beside its own past, and the first lags; and in how many seeds the two covariates and lag 24 came
first.
"""

import argparse
import logging
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import optlstm
from optlstm.models.explain import explain

ROWS, COLUMNS, DRIVERS = 1500, 8, ("x2", "x5")
SPACE = {"window": 48, "patch": 1, "hidden_size": 32, "num_layers": 1, "dropout": 0.0, "learning_rate": 0.005}


def series(seed: int) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(ROWS, COLUMNS))
    y = draw.normal(size=ROWS)
    for i in range(24, ROWS):
        y[i] = 0.7 * y[i - 24] + 1.0 * x[i, 2] - 0.8 * x[i, 5] + draw.normal(0, 0.3)
    columns = {f"x{k}": x[:, k] for k in range(COLUMNS)}
    return pd.DataFrame({"ds": pd.date_range("2024", periods=ROWS, freq="h"), "y": y, **columns})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=20)
    count, right = parser.parse_args().seeds, 0
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in range(count):
            frame = series(seed)
            frame.to_csv(folder / "data.csv", index=False)
            result = optlstm.tune(
                folder / "data.csv", horizon=1, future=[f"x{k}" for k in range(COLUMNS)], n_trials=1, epochs=8,
                workers=1, folds=0, space=SPACE, name=f"e{seed}", storage=f"sqlite:///{folder}/s.db",
                storage_path=folder / "runs", progress=False,
            )  # fmt: skip
            found = explain(result.refit(ensemble=False), folder / "data.csv")
            inputs = [share.name for share in found.inputs if share.name != "own past"]
            lag = found.lags[0].name
            fine = {*inputs[:2]} == {*DRIVERS} and lag == "lag 24"
            right += fine
            print(
                f"{seed:>3}  {inputs[:3]}  {[share.name for share in found.lags[:2]]}  {'right' if fine else 'WRONG'}"
            )
    print(f"the true drivers first in {right} of {count} seeds")


if __name__ == "__main__":
    main()
