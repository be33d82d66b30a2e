from __future__ import annotations

from typing import Any

import pytest

from optlstm.errors import StudyConflict
from optlstm.study.database.connection import Database
from optlstm.study.ledger import Ledger
from optlstm.study.record import has_grown
from tests.study.helpers import EPOCHS, FINITE, record, space

CHANGES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "seed": ({"seed": 8}, ["seed: the study has 7, this asks for 8"]),
    "sampler": ({"sampler": "tpe"}, ["sampler.name: the study has 'random', this asks for 'tpe'"]),
    "pruner option": ({"pruner_options": {"upper": 3.0}}, ["pruner.upper: the study has 2.0, this asks for 3.0"]),
    "direction": ({"direction": "maximize"}, ["direction: the study has 'minimize', this asks for 'maximize'"]),
    "task": ({"task": {"training": {"epochs": 5}}}, ["training.epochs: the study has 4, this asks for 5"]),
    "space": (
        {"space": space({**FINITE, "num_layers": 3, "dropout": 0.1})},
        [
            'space.dropout: the study has {type = "float", low = 0.0, high = 0.4, step = 0.2, default = 0.0}, '
            "this asks for 0.1",
            "space.num_layers: the study has 2, this asks for 3",
        ],
    ),
}


@pytest.mark.parametrize(("changes", "lines"), CHANGES.values(), ids=CHANGES.keys())
def test_another_search_under_the_same_name_is_refused(
    sqlite: Database, name: str, changes: dict[str, Any], lines: list[str]
) -> None:
    asked: dict[str, Any] = {
        "sampler": "random",
        "pruner": "threshold",
        "pruner_options": {"upper": 2.0},
        "space": space(FINITE),
        "task": {"training": {"epochs": EPOCHS}},
    }
    Ledger(sqlite, name, record(**asked))
    Ledger(sqlite, name, record(**asked))

    with pytest.raises(StudyConflict) as caught:
        Ledger(sqlite, name, record(**{**asked, **changes}))

    assert [line.strip() for line in caught.value.problems[1:]] == lines


def test_params_declared_in_another_order_are_another_search(sqlite: Database, name: str) -> None:
    Ledger(sqlite, name, record(space=space(FINITE)))

    with pytest.raises(StudyConflict):
        Ledger(sqlite, name, record(space=space(dict(reversed(FINITE.items())))))


SERIES = {"target": ["y"], "rows": 120, "first": "2020-01-01", "last": "2020-04-29", "fingerprint": "a", "horizon": 4}
TEXTS = {"fingerprint": "a", "texts": 90, "classes": ["0", "1"], "folds": 5, "splits": [50, 20, 20]}


@pytest.mark.parametrize(
    ("old", "changes", "expected"),
    [
        (SERIES, {"rows": 130, "last": "2020-05-09", "fingerprint": "b", "folds": 3}, True),
        (SERIES, {"rows": 99, "first": "2020-02-01", "last": "2020-05-09", "fingerprint": "b"}, True),
        (SERIES, {"rows": 130, "last": "2020-05-09", "season": 30}, True),
        (SERIES, {"fingerprint": "b"}, False),  # other values
        (SERIES, {"rows": 130, "first": "2019-12-20", "fingerprint": "b"}, False),
        (SERIES, {"rows": 130, "last": "2020-05-09", "target": ["x"]}, False),
        (SERIES, {"rows": 130, "last": "2020-05-09", "past": ["x"]}, False),
        (SERIES | {"last": "99"}, {"last": "100"}, True),
        (TEXTS, {"texts": 91, "fingerprint": "b"}, True),
        (TEXTS, {"fingerprint": "b"}, False),
        (TEXTS, {"texts": 91, "classes": ["0", "1", "2"]}, False),
        ({}, {}, False),
    ],
)
def test_data_have_grown(old: dict[str, Any], changes: dict[str, Any], expected: bool) -> None:
    assert has_grown(old, old | changes) is expected
