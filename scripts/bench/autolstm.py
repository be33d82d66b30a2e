"""neuralforecast's `AutoLSTM` on ETTh1's OT, 24 hours ahead: a peer of `search.py`, in neuralforecast's environment.

    python scripts/bench/autolstm.py ETTh1.csv BACKEND TRIALS STEPS

Its default space but for max_steps, the loss, the window (96 hours; with its longest default, 1,536, a trial takes
minutes) and 64 windows a step; TPE, its default resources. Prints {"search_s": ..., "test_mse": ...}: seconds of search
and refit (no import, no test), and MSE over every window of the test rows, standardised.
"""

import json
import logging
import os
import sys
import time
import warnings

import optuna
import pandas as pd
from neuralforecast import NeuralForecast
from neuralforecast.auto import AutoLSTM
from neuralforecast.losses.pytorch import MSE

WINDOW, HORIZON, TRAIN, PART = 96, 24, 8640, 2880


class Timed(AutoLSTM):
    def fit(self, *args, **kwargs):
        began = time.perf_counter()
        try:
            return super().fit(*args, **kwargs)
        finally:
            self.search_s = time.perf_counter() - began


def main():
    path, backend, trials, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what others print must not be taken for the answer
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table = pd.read_csv(path)[: TRAIN + 2 * PART]
    train = table["OT"][:TRAIN]
    scaled = (table["OT"] - train.mean()) / train.std(ddof=0)
    frame = pd.DataFrame({"unique_id": "OT", "ds": pd.to_datetime(table["date"]), "y": scaled})
    default = AutoLSTM.get_default_config(h=HORIZON, backend=backend)
    fixed = {
        "input_size": WINDOW,
        "max_steps": steps,
        "enable_progress_bar": False,
        "logger": False,
        "enable_model_summary": False,
    }
    if backend == "optuna":
        config, search = (lambda trial: {**default(trial), **fixed}), optuna.samplers.TPESampler(seed=1)
    else:
        from ray.tune.search.optuna import OptunaSearch

        config, search = {**default, **fixed}, OptunaSearch(seed=1)
    model = Timed(h=HORIZON, loss=MSE(), config=config, search_alg=search, num_samples=trials, backend=backend)
    forecaster = NeuralForecast([model], freq="h")
    found = forecaster.cross_validation(frame, val_size=PART, test_size=PART, n_windows=None, step_size=1)
    name = next(column for column in found.columns if column not in ("unique_id", "ds", "cutoff", "y"))
    error = ((found[name] - found["y"]) ** 2).mean()
    print(
        json.dumps({"search_s": forecaster.models[0].search_s, "test_mse": float(error), "rows": len(found)}), file=out
    )


if __name__ == "__main__":
    main()
