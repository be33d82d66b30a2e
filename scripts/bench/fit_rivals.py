"""Other libraries' automatic forecasts in a limited time: what `fit.py` runs, each in an environment of its own.

    PYTHON scripts/bench/fit_rivals.py autolstm|autolstm_asha|autogluon|plain JOB.json

autolstm   neuralforecast's `AutoLSTM` with its default space, Optuna's TPE, the squared error as its loss; refitted on
           the validation rows too. No trial may take more than a third of the time, the search ends when as much is
           left as its longest trial took, and the refit has what is left.
autolstm_asha  the same on its Ray backend, one trial at a time, with Ray's `ASHAScheduler` and Optuna's TPE; only a
           curve is made, in which trials that the scheduler stops have no line.
autogluon  AutoGluon's time series, `medium_quality` without the models whose weights are downloaded, by MSE.
plain      the search of Optuna's tutorials with the network of `tutorial.py`: TPE, MedianPruner, a small space of six
           params, 20 epochs. Of one series; only a curve is made.

A job says: file (unique_id, ds, y; standardised), freq, horizon, begin and validation (rows of every series before the
first forecast, and how many of them are the last to validate with), step and count (of the forecasts: each begins so
many rows after the one before), seconds, cores, out. The forecasts go to `out` (unique_id, ds, cutoff, y_hat), and
{"seconds": of search and training, "models": what was trained} is printed. It is run in an empty folder.

With `curve`, a file, each trial of one series adds a line to it: the clock when it ended, its validation value, the MSE
of the same forecasts, and the processor's seconds that these took, which are not its own. SIGUSR1 ends the search, with
no refit; a third of the `seconds`, the processor's, is what a trial of AutoLSTM may take.
"""

import json
import logging
import os
import signal
import sys
import time
import warnings
from functools import partial

import numpy as np
import pandas as pd


class SearchEnded(BaseException):
    pass


def end_search(*_):
    raise SearchEnded


def add_to(curve, value, test):
    """A trial has ended: see the module."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    line, began = {"clock": time.time(), "value": value}, time.process_time()
    line |= {"test": float(test()), "untimed": time.process_time() - began}
    with open(curve, "a") as file:
        print(json.dumps(line), file=file)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])


def test_windows(job, frame):
    """[count, horizon]: what the forecasts of one series should have been."""
    values = frame["y"].to_numpy()
    return np.stack([values[at : at + job["horizon"]] for at in test_starts(job)])


def test_starts(job):
    return [job["begin"] + k * job["step"] for k in range(job["count"])]


def autolstm(job, frame, asha=False):
    import optuna
    import torch
    from neuralforecast import NeuralForecast
    from neuralforecast.auto import AutoLSTM
    from neuralforecast.losses.pytorch import MSE
    from pytorch_lightning import Callback

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(job["cores"])
    began, horizon = time.monotonic(), job["horizon"]
    backend = "ray" if asha else "optuna"
    default = AutoLSTM.get_default_config(h=horizon, backend=backend)
    quiet = {"enable_progress_bar": False, "logger": False, "enable_model_summary": False, "accelerator": "cpu"}
    quiet |= {"start_padding_enabled": True}  # of short series most of the windows are longer
    seen, curve = [], job.get("curve")

    def left():
        return job["seconds"] - (time.monotonic() - began)

    def longest():
        return max((trial.duration.total_seconds() for trial in seen), default=0.0)

    class OfProcessor(Callback):
        def on_train_start(self, trainer, module):
            self.end = time.process_time() + job["seconds"] / 3

        def on_train_batch_end(self, trainer, *args):
            trainer.should_stop |= time.process_time() > self.end

    def config(trial):
        limit = {"max_time": {"seconds": max(5.0, min(job["seconds"] / 3, left() - longest()))}}
        return {**default(trial), **quiet, **({"callbacks": [OfProcessor()]} if curve else limit)}

    def after(study, trial):
        seen.append(trial)
        if not curve and left() < 2 * longest():
            study.stop()

    class Timed(AutoLSTM):
        def fit(self, *args, **kwargs):
            try:
                return super().fit(*args, **kwargs)
            finally:
                self.ended = time.monotonic()

        def _fit_model(self, *args, dataset, **kwargs):
            fitted = super()._fit_model(*args, dataset=dataset, **kwargs)
            if curve:
                value = float(fitted.metrics["ptl/val_loss"])
                add_to(curve, value, lambda: error(fitted.predict(dataset, step_size=job["step"])))
            return fitted

    def error(made):
        return ((made.reshape(job["count"], -1) - test_windows(job, frame)) ** 2).mean()

    seed = job.get("seed", 1)
    if asha:
        search = ray_search({**default, **quiet, "callbacks": [OfProcessor()]}, seed)
    else:
        search = {"config": config, "search_alg": optuna.samplers.TPESampler(seed=seed), "callbacks": [after]}
    model = Timed(h=horizon, loss=MSE(), num_samples=1000, refit_with_val=True, backend=backend, **search)
    forecaster = NeuralForecast([model], freq=job["freq"])
    made = forecaster.cross_validation(
        frame, val_size=job["validation"], test_size=horizon + job["step"] * (job["count"] - 1),
        step_size=job["step"], n_windows=None,
    )  # fmt: skip
    fitted = forecaster.models[0]
    name = next(column for column in made.columns if column not in ("unique_id", "ds", "cutoff", "y"))
    out = made.reset_index().rename(columns={name: "y_hat"})[["unique_id", "ds", "cutoff", "y_hat"]]
    return out, fitted.ended - began, f"{len(seen)} trials"


def ray_search(config, seed):
    """One trial at a time on a Ray of its own."""
    import ray
    from neuralforecast.common._base_auto import RayOptions
    from ray.tune import RunConfig
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    ray.init("local", num_cpus=1, include_dashboard=False, object_store_memory=10**8)
    options = RayOptions(RunConfig(storage_path=os.getcwd(), verbose=0), ASHAScheduler(), cpus=1)
    return {"config": config, "search_alg": OptunaSearch(seed=seed), "ray_options": options}


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


def plain(job, frame):
    import optuna
    import torch
    from torch.utils.data import DataLoader
    from tutorial import Forecaster, WindowDataset, evaluate, train_epoch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(job["cores"])
    began, horizon, test = time.monotonic(), job["horizon"], job["begin"]
    values = torch.tensor(frame["y"].to_numpy(), dtype=torch.float32)
    truth = test_windows(job, frame)

    def objective(trial):
        window = horizon * trial.suggest_categorical("window", [1, 2, 4])
        batch = trial.suggest_categorical("batch_size", [32, 64, 128])
        model = Forecaster(
            trial.suggest_int("hidden_size", 16, 128, log=True), horizon,
            num_layers=(layers := trial.suggest_int("num_layers", 1, 2)),
            dropout=trial.suggest_float("dropout", 0.0, 0.5) if layers > 1 else 0.0,
        )  # fmt: skip
        optimizer = torch.optim.Adam(model.parameters(), lr=trial.suggest_float("lr", 1e-4, 1e-2, log=True))
        valid = test - job["validation"]
        train = DataLoader(WindowDataset(values, 0, valid, window, horizon), batch_size=batch, shuffle=True)
        held_out = DataLoader(WindowDataset(values, valid - window, test, window, horizon), batch_size=batch)
        best, state = float("inf"), None
        try:
            for epoch in range(20):
                train_epoch(model, optimizer, train)
                value = evaluate(model, held_out)
                if value < best:
                    best, state = value, {k: v.clone() for k, v in model.state_dict().items()}
                trial.report(value, epoch)
                if trial.should_prune():
                    raise optuna.TrialPruned
        finally:
            if state is not None:
                model.load_state_dict(state)
                add_to(job["curve"], best, lambda: error(model, window))
        return best

    def error(model, window):
        inputs = torch.stack([values[at - window : at] for at in test_starts(job)]).unsqueeze(-1)
        with torch.no_grad():
            return ((model.eval()(inputs).numpy() - truth) ** 2).mean()

    torch.manual_seed(job["seed"])
    sampler, pruner = optuna.samplers.TPESampler(seed=job["seed"]), optuna.pruners.MedianPruner()
    study = optuna.create_study(sampler=sampler, pruner=pruner)
    study.optimize(objective, n_trials=1000)
    return None, time.monotonic() - began, f"{len(study.trials)} trials"


def main():
    with open(sys.argv[2]) as file:
        job = json.load(file)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what others print must not be taken for the answer
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    signal.signal(signal.SIGUSR1, end_search)
    frame = pd.read_csv(job["file"], parse_dates=["ds"])
    searches = {"autolstm": autolstm, "autogluon": autogluon, "plain": plain}
    search = {**searches, "autolstm_asha": partial(autolstm, asha=True)}[sys.argv[1]]
    try:
        made, seconds, models = search(job, frame)
    except SearchEnded:
        print("{}", file=out)
        return
    made.to_csv(job["out"], index=False)
    print(json.dumps({"seconds": seconds, "models": models}), file=out)


if __name__ == "__main__":
    main()
