"""neuralforecast's `AutoLSTM` on ETTh1's OT, 24 hours ahead: a peer of `search.py`, in neuralforecast's environment.

    python scripts/bench/autolstm.py ETTh1.csv BACKEND TRIALS STEPS

Its default space within the sizes that optlstm searches (32 to 80 units, one or two layers, windows of 96 hours, 64 of
them a step; with its longest default window, 1,536, a trial takes minutes), TPE, its default resources. Prints
{"search_s": ..., "test_mse": ...}: seconds of search and refit (no import, no test), and MSE over every window of the
test rows, standardised.
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

WINDOW, BATCH, HORIZON, TRAIN, PART = 96, 64, 24, 8640, 2880
SIZES = [32, 48, 64, 80]


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
    fixed = {"input_size": WINDOW, "windows_batch_size": BATCH, "max_steps": steps}
    fixed |= {"enable_progress_bar": False, "logger": False, "enable_model_summary": False}
    if backend == "optuna":

        def config(trial):
            size, layers = trial.suggest_categorical("size", SIZES), trial.suggest_int("layers", 1, 2)
            return {**default(trial), **fixed, "encoder_hidden_size": size, "encoder_n_layers": layers}

        search = optuna.samplers.TPESampler(seed=1)
    else:
        import ray
        from ray import tune
        from ray.tune.search.optuna import OptunaSearch

        ray.init("local", include_dashboard=False)  # else it joins, or looks for, another Ray of this machine
        own = {"encoder_hidden_size": tune.choice(SIZES), "encoder_n_layers": tune.randint(1, 3)}
        config, search = {**default, **fixed, **own}, OptunaSearch(seed=1)
    model = Timed(h=HORIZON, loss=MSE(), config=config, search_alg=search, num_samples=trials, backend=backend)
    forecaster = NeuralForecast([model], freq="h")
    found = forecaster.cross_validation(frame, val_size=PART, test_size=PART, n_windows=None, step_size=1)
    name = next(column for column in found.columns if column not in ("unique_id", "ds", "cutoff", "y"))
    error = ((found[name] - found["y"]) ** 2).mean()
    answer = {"search_s": forecaster.models[0].search_s, "test_mse": float(error), "rows": len(found)}
    print(json.dumps(answer), file=out)


if __name__ == "__main__":
    main()
