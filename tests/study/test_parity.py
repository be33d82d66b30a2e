"""The ledger against plain Optuna: same sampler, same pruner, in memory, with `should_prune` after every report."""

from __future__ import annotations

from typing import Any

import pytest

from optlstm.study.database.connection import Database
from optlstm.study.ledger import Ledger
from tests.study.helpers import drive, plain_optuna, record, stored_table

TOTAL = 13
SAMPLERS: dict[str, dict[str, Any]] = {
    "random": {},
    "tpe": {"n_startup_trials": 5},
    "cmaes": {"popsize": 4},
    "nsga2": {"population_size": 4},
    "qmc": {},
}
PRUNERS: dict[str, dict[str, Any]] = {
    "asha": {"reduction_factor": 2},
    "hyperband": {"reduction_factor": 2},
    "median": {"n_startup_trials": 2},
    "percentile": {"percentile": 60.0, "n_startup_trials": 2},
    "patient": {"patience": 0},
    "wilcoxon": {"p_threshold": 0.4, "n_startup_steps": 1},
    "threshold": {"upper": 2.6},
    "none": {},
}
PAIRS = [
    *[("tpe", pruner) for pruner in PRUNERS],
    ("random", "asha"),
    ("cmaes", "median"),
    ("nsga2", "hyperband"),
    ("qmc", "wilcoxon"),
]


@pytest.mark.parametrize(("sampler", "pruner"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_the_search_is_optunas_own(sqlite: Database, name: str, sampler: str, pruner: str) -> None:
    study = record(sampler, pruner, sampler_options=SAMPLERS[sampler], pruner_options=PRUNERS[pruner])

    drive(Ledger(sqlite, name, study), TOTAL)

    rows = stored_table(sqlite, name)
    assert [row[:6] for row in rows] == plain_optuna(study, TOTAL)
    pruned = [row for row in rows if row[1] == "PRUNED"]
    assert bool(pruned) == (pruner != "none"), "this pair tests no pruning"
    assert len(pruned) <= TOTAL - 2, "this pair completes nothing"
    for row in pruned:
        assert row[6] == {"reason": f"{pruner} at epoch {max(row[5])}"}


def test_the_search_is_the_same_on_another_database_and_under_another_name(postgresql: Database, name: str) -> None:
    study = record("tpe", "hyperband", pruner_options=PRUNERS["hyperband"])

    drive(Ledger(postgresql, f"{name} once more", study), TOTAL)

    assert [row[:6] for row in stored_table(postgresql, f"{name} once more")] == plain_optuna(study, TOTAL)


def test_another_seed_is_another_search(sqlite: Database, name: str) -> None:
    one = drive(Ledger(sqlite, f"{name} 1", record(seed=1)), 3)
    two = drive(Ledger(sqlite, f"{name} 2", record(seed=2)), 3)

    assert one.trials[0].params == two.trials[0].params  # the defaults
    assert one.trials[1].params != two.trials[1].params
