"""Other libraries' automatic forecasts in a limited time: what `fit.py` runs, each in an environment of its own.

    PYTHON scripts/bench/fit_rivals.py autolstm|autogluon JOB.json

autolstm   neuralforecast's `AutoLSTM` with its default space, Optuna's TPE, the squared error as its loss; refitted on
           the validation rows too. No trial may take more than a third of the time, the search ends when as much is
           left as its longest trial took, and the refit has what is left.
autogluon  AutoGluon's time series, `medium_quality` without the models whose weights are downloaded, by MSE.

A job says: file (unique_id, ds, y; standardised), freq, horizon, begin and validation (rows of every series before the
first forecast, and how many of them are the last to validate with), step and count (of the forecasts: each begins so
many rows after the one before), seconds, cores, out. The forecasts go to `out` (unique_id, ds, cutoff, y_hat), and
{"seconds": of search and training, "models": what was trained} is printed. It is run in an empty folder.
"""

import json
import logging
import os
import sys
import time
import warnings

import pandas as pd


def autolstm(job, frame):
    import optuna
    import torch
    from neuralforecast import NeuralForecast
    from neuralforecast.auto import AutoLSTM
    from neuralforecast.losses.pytorch import MSE

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(job["cores"])
    began, horizon = time.monotonic(), job["horizon"]
    default = AutoLSTM.get_default_config(h=horizon, backend="optuna")
    quiet = {"enable_progress_bar": False, "logger": False, "enable_model_summary": False, "accelerator": "cpu"}
    quiet |= {"start_padding_enabled": True}  # of short series most of the windows are longer
    seen = []

    def left():
        return job["seconds"] - (time.monotonic() - began)

    def longest():
        return max((trial.duration.total_seconds() for trial in seen), default=0.0)

    def config(trial):
        limit = {"seconds": max(5.0, min(job["seconds"] / 3, left() - longest()))}
        return {**default(trial), **quiet, "max_time": limit}

    def after(study, trial):
        seen.append(trial)
        if left() < 2 * longest():
            study.stop()

    class Timed(AutoLSTM):
        def fit(self, *args, **kwargs):
            try:
                return super().fit(*args, **kwargs)
            finally:
                self.ended = time.monotonic()

    model = Timed(
        h=horizon, loss=MSE(), config=config, search_alg=optuna.samplers.TPESampler(seed=1), num_samples=1000,
        refit_with_val=True, backend="optuna", callbacks=[after],
    )  # fmt: skip
    forecaster = NeuralForecast([model], freq=job["freq"])
    made = forecaster.cross_validation(
        frame, val_size=job["validation"], test_size=horizon + job["step"] * (job["count"] - 1),
        step_size=job["step"], n_windows=None,
    )  # fmt: skip
    fitted = forecaster.models[0]
    name = next(column for column in made.columns if column not in ("unique_id", "ds", "cutoff", "y"))
    out = made.reset_index().rename(columns={name: "y_hat"})[["unique_id", "ds", "cutoff", "y_hat"]]
    return out, fitted.ended - began, f"{len(seen)} trials"


def autogluon(job, frame):
    from autogluon.timeseries import TimeSeriesDataFrame, TimeSeriesPredictor

    began = time.monotonic()
    long = frame.rename(columns={"unique_id": "item_id", "ds": "timestamp", "y": "target"})
    series = [part for _, part in long.groupby("item_id", sort=False)]
    train = TimeSeriesDataFrame.from_data_frame(pd.concat(part[: job["begin"]] for part in series))
    predictor = TimeSeriesPredictor(
        prediction_length=job["horizon"],
        target="target",
        freq=job["freq"],
        eval_metric="MSE",
        path="models",
        verbosity=0,
    )
    predictor.fit(
        train,
        presets="medium_quality",
        time_limit=job["seconds"],
        excluded_model_types=["Chronos", "Chronos2", "Toto", "Toto2"],
    )
    seconds = time.monotonic() - began
    parts = []
    for k in range(job["count"]):
        last = job["begin"] + k * job["step"]
        known = pd.concat(part[max(0, last - 2500) : last] for part in series)
        forecast = predictor.predict(TimeSeriesDataFrame.from_data_frame(known))["mean"].rename("y_hat").reset_index()
        cutoffs = {part["item_id"].iloc[0]: part["timestamp"].iloc[last - 1] for part in series}
        forecast["cutoff"] = forecast["item_id"].map(cutoffs)
        parts.append(forecast.rename(columns={"item_id": "unique_id", "timestamp": "ds"}))
    return pd.concat(parts), seconds, predictor.model_best


def main():
    with open(sys.argv[2]) as file:
        job = json.load(file)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what others print must not be taken for the answer
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    frame = pd.read_csv(job["file"], parse_dates=["ds"])
    made, seconds, models = {"autolstm": autolstm, "autogluon": autogluon}[sys.argv[1]](job, frame)
    made.to_csv(job["out"], index=False)
    print(json.dumps({"seconds": seconds, "models": models}), file=out)


if __name__ == "__main__":
    main()
