"""Growth: what one more trial costs when a study has 100, 1,000, 5,000, 10,000: asked, 10 reports, told.

The study is made by the `study` command (bundled series, its default space, SQLite, pruner median), and filled by
inserting rows of ended trials with random params and falling losses. Then trials that only report are run on it, as on
one worker. Counted is the process's own time (user and system), as the machine may have other work; left out is
waiting for the disk, next to nothing on SQLite in WAL mode. Beside it stands Optuna alone: the same trials in memory,
asked and told, without reports or a database.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from nothing import Nothing
from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from rounds import heading, optlstm, own_peak_mb, plain, positive, quietly, spread, table
from sqlalchemy import insert

from optlstm.backends.driver import Run
from optlstm.backends.local.runner import run_local
from optlstm.backends.trial import Job
from optlstm.run.session import open_session
from optlstm.run.study_config import with_stored_config
from optlstm.study.database.connection import Database, open_database
from optlstm.study.events import TrialFinished
from optlstm.study.ledger import Ledger

REPORTS = 10
NAME = "growing"
THEIRS = {"random": optuna.samplers.RandomSampler, "tpe": optuna.samplers.TPESampler}


def random_trials(ledger: Ledger, count: int, seed: int) -> list[FrozenTrial]:
    """Complete trials of the study's space, none of them anybody's."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    noise = np.random.default_rng(seed)
    for _ in range(count):
        trial = study.ask()
        ledger.record.space.suggest(trial)
        start = noise.lognormal()
        for epoch in range(1, REPORTS + 1):
            trial.report(start * (0.5 + 0.5 / epoch), epoch)
        study.tell(trial, start * 0.55)
    return study.get_trials(deepcopy=False)


def fill(database: Database, ledger: Ledger, upto: int) -> None:
    """Have the study so many trials."""
    there = len(ledger.trials)
    study_id = ledger.study._study_id
    now = datetime.now()
    with database.rdb.engine.begin() as connection:
        first = connection.exec_driver_sql("SELECT MAX(trial_id) FROM trials").scalar_one() + 1
        rows: dict[Any, list[dict[str, Any]]] = {}

        def add(model: Any, **row: Any) -> None:
            rows.setdefault(model, []).append(row)

        for i, trial in enumerate(random_trials(ledger, upto - there, seed=upto)):
            own = {"trial_id": first + i}
            add(models.TrialModel, **own, number=there + i, study_id=study_id, state=TrialState.COMPLETE)
            rows[models.TrialModel][-1] |= {"datetime_start": now, "datetime_complete": now}
            add(models.TrialValueModel, **own, objective=0, value=trial.value, value_type="FINITE")
            for name, value in trial.params.items():
                kind = trial.distributions[name]
                add(
                    models.TrialParamModel,
                    **own,
                    param_name=name,
                    param_value=kind.to_internal_repr(value),
                    distribution_json=distribution_to_json(kind),
                )
            for step, value in trial.intermediate_values.items():
                add(
                    models.TrialIntermediateValueModel,
                    **own,
                    step=step,
                    intermediate_value=value,
                    intermediate_value_type="FINITE",
                )
            add(models.TrialUserAttributeModel, **own, key="train_seconds", value_json="1.0")
        for model, all_ in rows.items():
            connection.execute(insert(model.__table__), all_)


def bare(ledger: Ledger, count: int) -> list[float]:
    """Milliseconds for Optuna alone to ask for a trial and be told its value, the study's trials in memory."""
    study = optuna.create_study(sampler=THEIRS[ledger.record.sampler](seed=0))
    study.add_trials(ledger.trials)
    taken = []
    for _ in range(count):
        began = time.process_time()
        trial = study.ask()
        ledger.record.space.suggest(trial)
        study.tell(trial, 1.0)
        taken.append(1000 * (time.process_time() - began))
    return taken


def ours(ledger: Ledger, count: int) -> list[float]:
    """Milliseconds of each trial that only reports, from the end of the one before it to its own."""
    ends = [time.process_time()]
    ledger.listen(lambda event: ends.append(time.process_time()) if isinstance(event, TrialFinished) else None)
    run_local(Run(ledger, len(ledger.trials) + count + 1), Job(Quiet, REPORTS), 1)
    return [1000 * (after - before) for before, after in pairwise(ends[1:])]


class Quiet(Nothing):
    """As `Nothing`, of a space it knows nothing of."""

    def __call__(self, trial: Any) -> float:
        for epoch in range(1, self.reports + 1):
            trial.report(1e-9 / epoch, epoch)
        return 1.0


def continued(database: Database, folder: Path) -> Ledger:
    """The study's ledger, as the `study` command opens it."""
    raw, _ = with_stored_config(database, NAME, {"storage_path": str(folder)})
    return open_session(raw, NAME, database, lambda: database).ledger


def grown(folder: Path, sampler: str, sizes: Sequence[int], count: int) -> dict[int, tuple[list[float], list[float]]]:
    """Milliseconds at each size: ours, Optuna's alone. Prints the driver's peak memory last."""
    url = f"sqlite:///{folder}/{sampler}.db"
    found = {}
    for size in sizes:
        database = open_database(url)
        ledger = continued(database, folder)
        fill(database, ledger, size)
        database.close()
        database = open_database(url)
        began = time.perf_counter()
        ledger = continued(database, folder)
        opened = time.perf_counter() - began
        assert len(ledger.trials) == size
        found[size] = (ours(ledger, count), bare(ledger, count))
        print(f"{sampler}, {size} trials: opened in {opened:.1f} s, {found[size]}", file=sys.stderr, flush=True)
        database.close()
    return found


def command_seconds(command: list[str], folder: Path) -> float:
    began = time.perf_counter()
    quietly(command, folder)
    return time.perf_counter() - began


def command_peak_mb(command: list[str], folder: Path) -> float:
    """The most resident memory of a command."""
    code = "import resource, subprocess, sys; p = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL); "
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(p.returncode)"
    found = subprocess.run(
        [sys.executable, "-c", code, *command], cwd=folder, stdout=subprocess.PIPE, text=True, check=True
    )
    return int(found.stdout) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1_000, 5_000, 10_000])
    parser.add_argument("--count", type=positive, default=9, help="trials timed at each size")
    parser.add_argument("--samplers", nargs="+", choices=THEIRS, default=list(THEIRS))
    args = parser.parse_args()
    if args.sizes != sorted(set(args.sizes)):
        parser.error("--sizes: must grow")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rows = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for sampler in args.samplers:
            storage = ["--storage", f"sqlite:///{sampler}.db", "--storage-path", str(folder)]
            make = ["study", "--name", NAME, "--trials", "1", "--epochs", "1", "--sampler", sampler, "--quiet"]
            quietly(optlstm(*make, *storage), folder)
            found = grown(folder, sampler, args.sizes, args.count)
            least = np.median(found[args.sizes[0]][0])
            for size, (own, alone) in found.items():
                rows.append([f"{size:,}", sampler, spread(own), f"{np.median(own) / least:.2f}", spread(alone)])
        last = args.samplers[-1]
        storage = ["--storage", f"sqlite:///{last}.db"]
        size = args.sizes[-1] + args.count + 1  # the first is not timed
        again = optlstm(
            "study", "--name", NAME, "--trials", str(size), "--quiet", *storage, "--storage-path", str(folder)
        )
        commands = {"show": optlstm("show", NAME, *storage), "study, nothing left to do": again}
        taken = {name: [command_seconds(command, folder) for _ in range(3)] for name, command in commands.items()}
        peaks = {name: command_peak_mb(command, folder) for name, command in commands.items()}
    heading(f"{args.count} trials at each size", "optlstm", "optuna", "sqlalchemy")
    table(["trials", "sampler", "ms a trial", f"of that at {args.sizes[0]:,}", "Optuna alone: ms"], rows)
    heads = [f"command, {size:,} trials", "s", "peak MB"]
    table(heads, [[name, spread(all_), plain(peaks[name])] for name, all_ in taken.items()])
    print(f"peak memory of the process that did all this: {own_peak_mb():.0f} MB")


if __name__ == "__main__":
    main()
