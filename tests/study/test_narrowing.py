"""The sampler that narrows: every round lies within what the best draws before it leave."""

from __future__ import annotations

import math

from optlstm.study.database.connection import Database
from optlstm.study.ledger import Ledger
from tests.study.helpers import EPOCHS, assigned, record, space

SPACE = {"learning_rate": {"low": 1e-6, "high": 1.0, "log": True}}
DRAWS, BEST = 6, 3e-3


def loss(rate: float) -> float:
    return math.log10(rate / BEST) ** 2 if rate < 0.1 else math.nan


def search(database: Database, name: str, seed: int, rounds: int) -> list[list[float]]:
    options = {"draws": DRAWS, "keep": 0.3}
    study = record(
        "narrowing", sampler_options=options, space=space(SPACE), seed=seed, defaults_first=False, diverged="PRUNED"
    )
    ledger = Ledger(database, name, study)
    for _ in range(rounds * DRAWS):
        trial = assigned(ledger, rounds * DRAWS)
        ended = ledger.report(trial.number, EPOCHS, loss(trial.params["learning_rate"]))
        if not ended:
            ledger.complete(trial.number, loss(trial.params["learning_rate"]), {})
    rates = [t.params["learning_rate"] for t in ledger.trials]
    assert ledger.counts["FAIL"] == 0
    assert all((t.state.name == "PRUNED") == (t.params["learning_rate"] >= 0.1) for t in ledger.trials)
    return [rates[i : i + DRAWS] for i in range(0, len(rates), DRAWS)]


def test_rounds_narrow_around_what_worked_and_divergence_is_data(sqlite: Database, name: str) -> None:
    for seed in range(5):
        rounds = search(sqlite, f"{name} {seed}", seed, 3)
        widths = [math.log10(max(r) / min(r)) for r in rounds]
        assert widths[0] > 4
        assert widths[2] < widths[1] < widths[0]
        assert min(rounds[2]) <= BEST * 2
        assert max(rounds[2]) >= BEST / 2


def test_the_first_round_covers_the_range_evenly(sqlite: Database, name: str) -> None:
    first = search(sqlite, name, 1, 1)[0]
    assert sorted(int((math.log10(rate) + 6) / 6 * DRAWS) for rate in first) == list(range(DRAWS))
