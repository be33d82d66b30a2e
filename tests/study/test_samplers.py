"""A search interrupted after every trial is the same as an uninterrupted one by plain Optuna in memory."""

from __future__ import annotations

from typing import Any

import pytest

from optlstm.study.database.connection import Database
from optlstm.study.ledger import Ledger
from optlstm.study.record import StudyRecord
from optlstm.study.samplers import SAMPLERS, SeededSampler
from tests.study.helpers import (
    FINITE,
    assigned,
    drive,
    plain_optuna,
    record,
    space,
    stored_table,
    train,
    validation_loss,
)

TOTAL = 18
OPTIONS: dict[str, dict[str, Any]] = {
    "tpe": {"n_startup_trials": 4},
    "gp": {"n_startup_trials": 4},
    "cmaes": {"popsize": 4},
    "nsga2": {"population_size": 3},
    "nsga3": {"population_size": 3},
}
CASES = [(sampler, "plain") for sampler in SAMPLERS] + [
    ("cmaes", "with_margin"),
]


def study_of(sampler: str, variant: str) -> StudyRecord:
    options = {**OPTIONS.get(sampler, {}), **({} if variant == "plain" else {variant: True})}
    finite = sampler in ("grid", "brute-force")
    return record(
        sampler,
        "asha",
        sampler_options=options,
        pruner_options={"reduction_factor": 2},
        **({"space": space(FINITE)} if finite else {}),
    )


@pytest.mark.parametrize(("sampler", "variant"), CASES, ids=["-".join(case) for case in CASES])
def test_a_search_interrupted_after_every_trial_is_the_same(
    sqlite: Database, name: str, sampler: str, variant: str
) -> None:
    study = study_of(sampler, variant)

    for _ in range(TOTAL):
        ledger = Ledger(sqlite, name, study)
        train(ledger, assigned(ledger, TOTAL))

    rows = [row[:6] for row in stored_table(sqlite, name)]
    assert len(rows) == TOTAL
    assert rows == plain_optuna(study, TOTAL)


@pytest.mark.parametrize("sampler", ["cmaes"])
def test_a_search_interrupted_after_every_epoch_is_the_same(sqlite: Database, name: str, sampler: str) -> None:
    study = study_of(sampler, "plain")

    while (assignment := (ledger := Ledger(sqlite, name, study)).assign(TOTAL)) is not None:
        epoch = assignment.last_epoch + 1
        if epoch > study.epochs:
            train(ledger, assignment)
        elif not ledger.report(assignment.number, epoch, validation_loss(assignment.params, epoch)):
            ledger.release(assignment.number)

    assert [row[:6] for row in stored_table(sqlite, name)] == plain_optuna(study, TOTAL)


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "nsga2", "nsga3"])
def test_the_search_learns_from_what_it_has_seen(sampler: str) -> None:
    """Or else the samplers here have not left their start-up phase, and this file proves little."""
    study = study_of(sampler, "plain")

    seen, turned_around = (plain_optuna(study, TOTAL, sign) for sign in (1, -1))

    assert [row[3] for row in seen] != [row[3] for row in turned_around]


def test_a_sampler_depends_on_the_studys_seed_and_the_trials_number(sqlite: Database, name: str) -> None:
    ledger = drive(Ledger(sqlite, name, record("random")), 6)

    rates = [trial.params["learning_rate"] for trial in ledger.trials]
    assert len(set(rates)) == 6
    assert SeededSampler("random", {}, space(), 1) is not SeededSampler("random", {}, space(), 1)
