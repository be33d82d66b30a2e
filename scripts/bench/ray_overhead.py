"""What Ray costs per trial: trials that do nothing but report, this adapter against stock OptunaSearch + ASHAScheduler.

Both in one run on one local Ray, two trials at a time, each with a SQLite study. Prints a markdown table.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time

import optuna
from nothing import SPACE, Nothing

from optlstm.backends.driver import Run
from optlstm.backends.local.runner import run_local
from optlstm.backends.ray.connection import connected
from optlstm.backends.ray.runner import run_ray
from optlstm.backends.trial import Job
from optlstm.study.database.connection import open_database
from optlstm.study.declaration import parse_space
from optlstm.study.ledger import Ledger
from optlstm.study.record import StudyRecord


def ours(engine: str, trials: int, reports: int, workers: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        options = {"grace_period": 1, "reduction_factor": 4, "brackets": 1}
        space = parse_space(SPACE, {"x": 0.5, "y": 0.1})
        scheduler = "asha" if engine == "ray" else "study"
        pruner_options = options if engine == "ray" else {"grace_period": 1, "reduction_factor": 4}
        record = StudyRecord(space, 0, reports, "tpe", "asha", pruner_options=pruner_options, scheduler=scheduler)
        ledger = Ledger(open_database(f"sqlite:///{folder}/study.db"), "overhead", record)
        job = Job(Nothing, reports)
        began = time.perf_counter()
        if engine == "ray":
            run_ray(Run(ledger, trials), job, workers=workers)
        else:
            run_local(Run(ledger, trials), job, 1)
        return time.perf_counter() - began


def stock_space(trial: optuna.Trial) -> None:
    trial.suggest_float("x", 0, 1)
    trial.suggest_float("y", 1e-4, 1, log=True)


def stock(trials: int, reports: int, workers: int) -> float:
    from optuna.storages import RDBStorage
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    def objective(config: dict[str, float]) -> None:
        for epoch in range(1, reports + 1):
            tune.report({"value": (config["x"] + config["y"]) / epoch, "epoch": epoch})

    with tempfile.TemporaryDirectory() as folder:
        search = OptunaSearch(
            stock_space, metric="value", mode="min", storage=RDBStorage(f"sqlite:///{folder}/study.db")
        )
        tuner = tune.Tuner(
            tune.with_resources(objective, {"cpu": 1}),
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=ASHAScheduler(
                    metric="value", mode="min", time_attr="epoch", max_t=reports, grace_period=1, reduction_factor=4
                ),
                num_samples=trials,
                max_concurrent_trials=workers,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        began = time.perf_counter()
        tuner.fit()
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--reports", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("ray").setLevel(logging.ERROR)
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"
    names = ("this adapter, ray asha", "stock OptunaSearch + ASHAScheduler", "this program, local, one at a time")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with connected(None, args.workers, 1.0):
        for _ in range(args.rounds):  # alternating, so that what else the machine does falls on all
            seconds[names[0]].append(ours("ray", args.trials, args.reports, args.workers))
            seconds[names[1]].append(stock(args.trials, args.reports, args.workers))
            seconds[names[2]].append(ours("local", args.trials, args.reports, args.workers))
    print(f"\n{args.trials} trials of {args.reports} reports, {args.workers} at a time, SQLite, {args.rounds} rounds")
    print("\n| | median s per trial | all rounds, s |\n|---|---|---|")
    for name, all_ in seconds.items():
        print(f"| {name} | {sorted(all_)[len(all_) // 2] / args.trials:.3f} | {', '.join(f'{s:.1f}' for s in all_)} |")


if __name__ == "__main__":
    main()
