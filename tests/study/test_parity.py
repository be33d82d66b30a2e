"""The ledger against plain Optuna: same sampler, same pruner, in memory, with `should_prune` after every report."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from optlstm.study.ledger import Ledger
from optlstm.study.pruners import make_pruner
from optlstm.study.record import StudyRecord
from optlstm.study.samplers import make_sampler
from optlstm.study.storage import Database
from tests.study.helpers import EPOCHS, best_of, drive, record, stored_table, validation_loss

TOTAL = 20
SAMPLERS: dict[str, dict[str, Any]] = {
    "random": {},
    "tpe": {"n_startup_trials": 5},
    "cmaes": {"popsize": 4},
    "nsga2": {"population_size": 4},
    "nsga3": {"population_size": 4},
    "qmc": {},
    "gp": {"n_startup_trials": 8},
}
PRUNERS: dict[str, dict[str, Any]] = {
    "asha": {"reduction_factor": 2},
    "hyperband": {"reduction_factor": 2},
    "median": {"n_startup_trials": 2},
    "percentile": {"percentile": 60.0, "n_startup_trials": 2},
    "patient": {"patience": 0, "wrapped": "median"},
    "wilcoxon": {"p_threshold": 0.4, "n_startup_steps": 1},
    "threshold": {"upper": 2.6},
    "none": {},
}
PAIRS = [
    *[("tpe", pruner) for pruner in PRUNERS],
    ("random", "asha"),
    ("cmaes", "asha"),
    ("cmaes", "hyperband"),
    ("nsga2", "median"),
    ("nsga3", "asha"),
    ("qmc", "hyperband"),
    ("gp", "asha"),
]


def plain_optuna(study_record: StudyRecord, total: int) -> list[tuple[Any, ...]]:
    study = optuna.create_study(
        study_name=f"seed-{study_record.seed}",  # Hyperband's brackets follow from the name
        sampler=make_sampler(
            study_record.sampler, dict(study_record.sampler_options), study_record.space, study_record.seed
        ),
        pruner=make_pruner(study_record.pruner, dict(study_record.pruner_options), study_record.epochs),
    )
    study.enqueue_trial(study_record.space.defaults())
    for _ in range(total):
        trial = study.ask()
        params = study_record.space.suggest(trial)
        for epoch in range(1, EPOCHS + 1):
            trial.report(validation_loss(params, epoch), epoch)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, best_of(params))
    return [
        (t.number, t.state.name, t.values, [*t.params.items()], t.distributions, t.intermediate_values)
        for t in study.trials
    ]


@pytest.mark.parametrize(("sampler", "pruner"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_the_search_is_optunas_own(sqlite: Database, name: str, sampler: str, pruner: str) -> None:
    study = record(sampler, pruner, sampler_options=SAMPLERS[sampler], pruner_options=PRUNERS[pruner])

    drive(Ledger(sqlite, name, study), TOTAL)

    rows = stored_table(sqlite, name)
    assert [row[:6] for row in rows] == plain_optuna(study, TOTAL)
    pruned = [row for row in rows if row[1] == "PRUNED"]
    assert bool(pruned) == (pruner != "none"), "this pair tests no pruning"
    assert len(pruned) <= TOTAL - 3, "this pair completes nothing"
    for row in pruned:
        assert row[6] == {"reason": f"{pruner} at epoch {max(row[5])}"}


@pytest.mark.parametrize(("sampler", "pruner"), [("tpe", "asha"), ("random", "hyperband")])
def test_the_search_is_the_same_on_every_database_and_under_every_name(
    database: Database, name: str, sampler: str, pruner: str
) -> None:
    study = record(sampler, pruner, pruner_options=PRUNERS[pruner])

    drive(Ledger(database, f"{name} once more", study), TOTAL)

    assert [row[:6] for row in stored_table(database, f"{name} once more")] == plain_optuna(study, TOTAL)


def test_another_seed_is_another_search(sqlite: Database) -> None:
    one = drive(Ledger(sqlite, "one", record(seed=1)), 3)
    two = drive(Ledger(sqlite, "two", record(seed=2)), 3)

    assert one.trials[0].params == two.trials[0].params  # the defaults
    assert one.trials[1].params != two.trials[1].params
