from __future__ import annotations

from typing import Any

import pytest
from optuna.trial import FrozenTrial, create_trial

from optlstm.study.database.connection import Database
from optlstm.study.ledger import Ledger
from optlstm.study.pareto import by_knee
from tests.study.helpers import assigned, record


def trial(*values: float) -> FrozenTrial:
    made: Any = create_trial(values=list(values))
    return made  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("points", "directions", "knee"),
    [
        ([(0.0, 10.0), (1.0, 2.0), (9.0, 0.0)], ("minimize", "minimize"), (1.0, 2.0)),
        ([(0.0, 0.0), (1.0, 8.0), (9.0, 10.0)], ("minimize", "maximize"), (1.0, 8.0)),
        ([(5.0, 1e6)], ("minimize", "minimize"), (5.0, 1e6)),
        ([(0.0, 1e9), (0.1, 2e8), (1.0, 1e8)], ("minimize", "minimize"), (0.1, 2e8)),  # each on its own scale
    ],
)
def test_the_knee_is_nearest_to_the_best_of_each(
    points: list[tuple[float, ...]], directions: tuple[str, str], knee: tuple[float, ...]
) -> None:
    ranked = by_knee([trial(*point) for point in points], directions)
    assert tuple(ranked[0].values) == knee


def test_a_trial_with_too_few_values_fails_alone(sqlite: Database, name: str) -> None:
    ledger = Ledger(sqlite, name, record("random", objectives={"a": "minimize", "b": "maximize"}))
    ledger.complete(assigned(ledger).number, 1.0, {})
    ledger.complete(assigned(ledger).number, [1.0, float("nan")], {})
    ledger.complete(assigned(ledger).number, [1.0, 2.0], {})
    assert [t.user_attrs.get("reason") for t in ledger.trials] == [
        "the objective returned 1 values for 2",
        "the objective returned 1.0, nan",
        None,
    ]
    assert [t.number for t in ledger.ranking] == [2]
