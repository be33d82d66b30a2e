"""Parity: the same studies, one trial at a time, on `local` and on `ray`; every column and every weight must be equal.

Real training of a small forecast over a conditional space in which some learning rates diverge (those trials fail with
a non-finite loss), some trials raise, and some report NaN; with the losses of quantiles and of counts; with every step
supervised, and with LSTMs that train in bfloat16; of labelled sequences in two folds; of labels of steps, and several;
of texts; of numbers, and of windows of longer sequences; and of many series with covariates. In some the first driver
is killed (SIGKILL). Prints one row per pairing and a total; exits 1 on any difference.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import signal
import sqlite3
import sys
import tempfile
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd

from optlstm.backends.driver import Run
from optlstm.backends.local.runner import run_local
from optlstm.backends.ray.connection import connected
from optlstm.backends.ray.runner import run_ray
from optlstm.backends.trial import Job
from optlstm.run.plan import Plan, make_plan
from optlstm.run.retention import copy_weights
from optlstm.study.database.connection import open_database
from optlstm.study.ledger import Ledger
from optlstm.study.population_ledger import PopulationLedger
from optlstm.tasks.forecast.losses import LOSSES

TRIALS = 24
RAISES, NAN = (5, 17), (8, 20)  # trial numbers
KILLED = "local, killed"  # the driver, once that many trials have begun
CONDITIONAL = {
    "window": {"choices": [16, 32]},
    "patch": {"choices": [4, 8]},
    "hidden_size": {"low": 4, "high": 16, "step": 4},
    "num_layers": {"low": 1, "high": 2},
    "recurrent_dropout": {"low": 0.0, "high": 0.4, "when": {"num_layers": 2}},
    "dropout": {"low": 0.0, "high": 0.4, "step": 0.1},
    "optimizer": {"choices": ["adamw", "sgd"], "default": "adamw"},
    # Beyond 1 many of these diverge, and must FAIL alike.
    "learning_rate": {"low": 1e-3, "high": 1e6, "log": True, "default": 1e-2},
    "lr_schedule": "cosine",
    "pooling": "last",
    "linear_skip": True,
    "window_norm": "last",
    "supervision": {"choices": ["last_step", "every_step"]},
}
EVERY_STEP = {**CONDITIONAL, "supervision": "every_step"}
WIDE = {**CONDITIONAL, "hidden_size": {"choices": [64, 96]}, "window": {"choices": [32, 48]}, "patch": 4}  # uses bf16
PROBABILISTIC = ("quantiles", "student_t", "negative_binomial")
# They diverge sooner than squared errors: with those learning rates nearly all trials would fail.
TAMER = {**CONDITIONAL, "learning_rate": {"low": 1e-3, "high": 1e2, "log": True, "default": 1e-2}}
FINITE = {
    **CONDITIONAL,
    "num_layers": 1,
    "recurrent_dropout": 0.1,
    "dropout": 0.1,
    "hidden_size": {"choices": [4, 8]},
    "supervision": "every_step",
    "learning_rate": {"choices": [1e-3, 1e-2, 1e6]},
}
LABELLED = {
    "hidden_size": {"low": 4, "high": 16, "step": 4},
    "num_layers": {"low": 1, "high": 2},
    "bidirectional": {"choices": [True, False]},
    "dropout": {"low": 0.0, "high": 0.4, "step": 0.1},
    "recurrent_dropout": {"low": 0.0, "high": 0.4, "when": {"num_layers": 2}},
    "pooling": {"choices": ["mean", "max", "last"]},
    "learning_rate": {"low": 1e-3, "high": 1e-1, "log": True, "default": 1e-2},
}
PAIRINGS = [
    ("tpe", "asha"),
    ("tpe", "median"),
    ("tpe", "none"),
    ("random", "hyperband"),
    ("random", "median"),
    ("grid", "median"),
    ("grid", "none"),
    ("gp", "asha"),
    ("gp", "patient"),
    ("cmaes", "asha"),
    ("cmaes", "median"),
    ("qmc", "hyperband"),
    ("qmc", "none"),
]


@dataclass(frozen=True)
class Troubled:
    """The real objective, but some trials raise and some report NaN."""

    make: Any

    def __call__(self, data: Any) -> Any:
        objective = self.make(data)

        def troubled(trial: Any) -> float:
            if trial.number in RAISES:
                raise ValueError("a trial that raises")
            if trial.number in NAN:
                trial.report(float("nan"), 1)
                if trial.should_prune():
                    raise optuna.TrialPruned
            return float(objective(trial))

        return troubled


def plan_of(folder: Path, sampler: str, pruner: str, task: str = "forecast") -> Plan:
    data, loss = folder / "series.csv", task if task in LOSSES else "mse"
    if not data.exists():
        steps = np.arange(400)
        noise = np.random.default_rng(0).normal(0, 0.2, len(steps))
        times = pd.date_range("2024-01-01", periods=len(steps), freq="h")
        values = np.sin(steps * 2 * np.pi / 24) + noise
        values = np.round(10 + 5 * values).clip(0) if LOSSES[loss].counts else values
        pd.DataFrame({"ds": times, "y": values}).to_csv(data, index=False)
    if task == "panel":
        return panel_plan(folder, pruner)
    if task not in ("forecast", "every_step", "bf16", *LOSSES):
        return labelled_plan(folder, task, pruner)
    usual = FINITE if sampler == "grid" else CONDITIONAL
    space = {"every_step": EVERY_STEP, "bf16": WIDE, **dict.fromkeys(PROBABILISTIC, TAMER)}.get(task, usual)
    options = {"n_startup_trials": 5} if sampler in ("tpe", "gp") else {}
    raw = {
        "name": "parity",
        "seed": 3,
        "data": {"path": str(data), "horizon": 6},
        "training": {"epochs": 6, "patience": 4, "loss": loss, "precision": "bf16" if task == "bf16" else "fp32"},
        "sampler": {"name": sampler, **options},
        "space": space,
    }
    if pruner != "pbt":
        return make_plan({**raw, "trials": TRIALS, "pruner": {"name": pruner}})
    # A population whose networks grow; learning rates that do not diverge, or no member would be left.
    learning_rate = {"low": 1e-3, "high": 1e-1, "log": True, "default": 1e-2}
    population = {"population": 6, "interval": 3, "morph": True}
    tame = {**space, "learning_rate": learning_rate, "recurrent_dropout": {"low": 0.0, "high": 0.4}}
    return make_plan({**raw, "training": {"epochs": 12}, "scheduler": "pbt", "pbt": population, "space": tame})


def labelled_plan(folder: Path, task: str, pruner: str) -> Plan:
    """Sequences of 8 to 20 steps, labelled as a whole or step by step, or texts of 2 to 9 words, of two classes.

    number: sequences whose amplitude is learned, by its quantiles, in two folds. windows: a number at every step.
    """
    random, rows = np.random.default_rng(0), []
    for i in range(160):
        if task == "number":
            steps = (i / 40) * np.sin(np.arange(random.integers(8, 21)) * 0.7) + random.normal(0, 0.1)
            rows += [{"series_id": i, "t": t, "x": x, "z": -x, "label": i / 40} for t, x in enumerate(steps)]
        elif task == "windows":
            left = np.arange(random.integers(12, 30))[::-1]
            steps = random.normal(-left, 1.0)
            rows += [{"series_id": i, "t": t, "x": x, "label": left[t]} for t, x in enumerate(steps) if i < 40]
        elif task != "text":
            steps = np.sin(np.arange(random.integers(8, 21)) * (0.4 + 0.4 * (i % 2))) + random.normal(0, 0.5)
            count = {"up": i % 2, "level": steps.mean()} if task == "several" else {}
            labels = (steps > 0) * 1 if task == "steps" else [i % 2] * len(steps)
            rows += [
                {"series_id": i, "t": t, "x": x, "z": -x, "label": labels[t], **count} for t, x in enumerate(steps)
            ]
        else:
            words = random.choice(
                ["good", "fine", "thing", "so"] if i % 2 else ["bad", "thing", "so", "poor"], i % 8 + 2
            )
            rows.append({"text": " ".join(words), "label": i % 2})
    data = folder / f"{task}.csv"
    pd.DataFrame(rows).to_csv(data, index=False)
    kind = task if task == "text" else "sequence"
    raw = {"name": "parity", "seed": 3, "task": kind, "trials": TRIALS, "pruner": {"name": pruner}}
    source = {"path": str(data), "folds": 2 if task in ("sequence", "number") else 0, "per_step": task == "steps"}
    source |= {"kind": "number", "cap": 15.0, "every": 2} if task == "windows" else {}
    source |= {"label": "up,level", "channels": ["x", "z"]} if task == "several" else {}
    training = {"epochs": 4, "patience": 4} | ({"loss": "quantiles"} if task == "number" else {})
    space = LABELLED | ({"window": {"choices": [4, 8]}} if task == "windows" else {})
    space |= {"conv_filters": {"choices": [0, 4]}, "conv_stride": 2} if task in ("sequence", "number") else {}
    return make_plan({**raw, "data": source, "training": training, "space": space})


def panel_plan(folder: Path, pruner: str) -> Plan:
    """Six hourly series of 90 to 240 rows, with what is known of the future, of the past, and of each series."""
    random, parts = np.random.default_rng(0), []
    for i in range(6):
        steps = np.arange(90 + 30 * i)
        promo = random.integers(0, 2, len(steps))
        frame = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=len(steps), freq="h"), "promo": promo})
        frame["y"] = (i + 1) * (np.sin(steps * 2 * np.pi / 24) + promo + random.normal(0, 0.2, len(steps)))
        frame["kind"], frame["noise"] = np.where(promo, "sale", "none"), random.normal(size=len(steps))
        parts.append(frame.assign(unique_id=f"series {i}", shop="ab"[i % 2]))
    data = folder / "panel.csv"
    pd.concat(parts).to_csv(data, index=False)
    covariates = {"future": ["promo", "kind"], "past": ["noise"], "static": ["shop"], "calendar": True}
    raw = {"name": "parity", "seed": 3, "trials": TRIALS, "pruner": {"name": pruner}, "space": CONDITIONAL}
    source = {"path": str(data), "horizon": 6, "epoch_windows": 256, **covariates}
    return make_plan({**raw, "data": source, "training": {"epochs": 4, "patience": 4}})


def run(plan: Plan, folder: Path, engine: str, trials: int) -> tuple[Ledger, float]:
    """Take the study in `folder` up to `trials` trials on one engine."""
    database = open_database(f"sqlite:///{folder}/study.db")
    if plan.population is None:
        ledger = Ledger(database, "parity", plan.record)
    else:
        ledger = PopulationLedger(database, "parity", plan.record, options=plan.population)
        ledger.copy = partial(copy_weights, folder)
    real = plan.job(folder)
    job = Job(Troubled(real.make_objective), real.data)
    began = time.perf_counter()
    if engine == "local":
        run_local(Run(ledger, trials), job, 1)
    else:
        run_ray(Run(ledger, trials), job, workers=1)
    return ledger, time.perf_counter() - began


def run_killed(folder: Path, sampler: str, pruner: str, task: str, trials: int) -> None:
    """Take the study in `folder` on `local`; SIGKILL once it has an epoch of a trial behind the first so many."""
    spawn = multiprocessing.get_context("spawn")
    driver = spawn.Process(target=_run_there, args=(folder, sampler, pruner, task, TRIALS))
    driver.start()
    while driver.is_alive() and not _has_begun(folder / "study.db", trials):
        time.sleep(0.005)
    driver.kill()
    driver.join()
    if driver.exitcode != -signal.SIGKILL:
        raise SystemExit(f"the driver was to be killed, and ended with {driver.exitcode}")


def _run_there(folder: Path, sampler: str, pruner: str, task: str, trials: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    run(plan_of(folder, sampler, pruner, task), folder, "local", trials)


def _has_begun(path: Path, trials: int) -> bool:
    with (
        suppress(sqlite3.OperationalError),  # before the file and its tables are there
        closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file,
    ):
        query = "SELECT 1 FROM trials JOIN trial_intermediate_values USING (trial_id) WHERE number >= ? LIMIT 1"
        return file.execute(query, (trials,)).fetchone() is not None
    return False


def rows(ledger: Ledger, folder: Path) -> list[tuple[Any, ...]]:
    """Every trial's number, state, values, params, intermediate values, reason, and the digest of its weights."""
    digests = {}
    for trial in ledger.trials:
        headers = sorted((folder / f"trial-{trial.number:05d}").glob("epoch-*.json"))
        digests[trial.number] = json.loads(headers[-1].read_text())["tensors"] if headers else None
    return [
        (
            t.number,
            t.state.name,
            t.values,
            t.params,
            t.intermediate_values,
            t.user_attrs.get("reason"),
            [t.user_attrs.get(key) for key in ("member", "generation", "parent", "replaces", "from_epoch")],
            digests[t.number],
        )
        for t in ledger.trials
    ]


def compare(sampler: str, pruner: str, legs: list[tuple[str, int]], task: str) -> tuple[int, Ledger, float, float]:
    """How many trials equal those of an unbroken local run; `legs` are (engine, trials in all) one after the other."""
    with tempfile.TemporaryDirectory() as local_folder, tempfile.TemporaryDirectory() as other_folder:
        plan = plan_of(Path(local_folder), sampler, pruner, task)
        reference, local_s = run(plan, Path(local_folder), "local", TRIALS)
        other_plan, other_s = plan_of(Path(other_folder), sampler, pruner, task), 0.0
        for engine, trials in legs:
            if engine == KILLED:
                run_killed(Path(other_folder), sampler, pruner, task, trials)
                continue
            other, seconds = run(other_plan, Path(other_folder), engine, trials)
            other_s += seconds
        expected, found = rows(reference, Path(local_folder)), rows(other, Path(other_folder))
    same = sum(a == b for a, b in zip(expected, found, strict=False)) if len(expected) == len(found) else 0
    return same, reference, local_s, other_s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the first two pairings only")
    parser.add_argument("--task", help="the pairings of this task, or loss, only")
    given = parser.parse_args()
    quick = given.quick
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print("| task | sampler | pruner | engines | complete | pruned | failed | identical | local s | other s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    wrong = 0
    with connected(None, 2, 1.0):
        cases = [("forecast", s, p, [("ray", TRIALS)]) for s, p in (PAIRINGS[:2] if quick else PAIRINGS)]
        cases.append(("forecast", "tpe", "asha", [("local", 8), ("ray", 16), ("local", 24)]))
        cases += [(t, "tpe", "asha", [(KILLED, 8), ("ray", 16), ("local", 24)]) for t in ("every_step", "bf16")]
        cases.append(("forecast", "tpe", "pbt", [("ray", TRIALS)]))
        legs = [(KILLED, 8), ("ray", 16), ("local", 24)]
        cases += [(loss, "tpe", "asha", legs) for loss in PROBABILISTIC]
        cases += [(task, "tpe", "median", [("ray", TRIALS)]) for task in ("sequence", "text", "panel")]
        cases += [(task, "tpe", "median", legs) for task in ("steps", "several", "number", "windows")]
        for task, sampler, pruner, legs in (c for c in cases if given.task in (None, c[0])):
            same, ledger, local_s, other_s = compare(sampler, pruner, legs, task)
            counts, total = ledger.counts, len(ledger.trials)
            engines = ", ".join(f"{engine} to {trials}" for engine, trials in legs)
            states = " | ".join(str(counts[state]) for state in ("COMPLETE", "PRUNED", "FAIL"))
            what, times = f"{task} | {sampler} | {pruner} | {engines}", f"{local_s:.1f} | {other_s:.1f}"
            print(f"| {what} | {states} | {same} of {total} | {times} |", flush=True)
            wrong += same != total
    print(f"\n{'all identical' if not wrong else f'{wrong} pairings differ'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
