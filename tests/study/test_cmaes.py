"""The state of CMA-ES, which Optuna keeps as a pickle: read to the last bit, and never run."""

from __future__ import annotations

import itertools
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cmaes
import numpy as np
import pytest

from optlstm.errors import InputError
from optlstm.study.database.connection import Database
from optlstm.study.database.statements import TRIAL_SYSTEM, put_attr
from optlstm.study.ledger import Ledger
from tests.study.helpers import drive, plain_optuna, record, space, stored_table

SPACE = space({"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "dropout": {"low": 0.0, "high": 0.5}})


def study_of(variant: str = "") -> Any:
    options = {"popsize": 4, **({variant: True} if variant else {})}
    return record("cmaes", sampler_options=options, space=SPACE)


def state_of(database: Database, name: str, key: str) -> Any:
    trials = reversed(Ledger(database, name, study_of()).trials)
    stored = next(t.system_attrs for t in trials if f"{key}:0" in t.system_attrs)
    parts = itertools.takewhile(lambda part: part in stored, (f"{key}:{i}" for i in itertools.count()))
    return pickle.loads(bytes.fromhex("".join(stored[part] for part in parts)))


class Runs:
    def __reduce__(self) -> Any:
        return os.mkdir, ("run",)


def put(database: Database, name: str, state: object, key: str = "cma:optimizer") -> Ledger:
    """Replace every stored state of a study; the study as it is opened after that."""
    text = state if isinstance(state, str) else pickle.dumps(state).hex()
    trials = Ledger(database, name, study_of()).trials
    with database.transaction():
        for trial in trials:
            for part in [part for part in trial.system_attrs if part.startswith(key)]:
                stored = json.dumps(text if part == f"{key}:0" else "")
                put_attr(database.connection, TRIAL_SYSTEM, trial._trial_id, part, stored)
    return Ledger(database, name, study_of())


@pytest.mark.parametrize("variant", ["use_separable_cma", "lr_adapt"])
def test_every_variant_is_the_search_of_plain_optuna(sqlite: Database, name: str, variant: str) -> None:
    for total in range(1, 13):
        drive(Ledger(sqlite, name, study_of(variant)), total)
    assert [row[:6] for row in stored_table(sqlite, name)] == plain_optuna(study_of(variant), 12)


def changed(part: str, value: object) -> Callable[[Any], Any]:
    def change(state: Any) -> Any:
        setattr(state, part, value)
        return state

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda state: Runs(), "it names posix.mkdir"),
        (changed("_mean", Runs()), "it names posix.mkdir"),
        (changed("_mean", np.array([Runs(), 1], dtype=object)), "it names posix.mkdir"),
        (lambda state: "https://example.org/x", "non-hexadecimal number found in fromhex() arg at position 0"),
        (lambda state: "8004", "Ran out of input"),
        (lambda state: {"_g": 1}, "it is a dict"),
        (lambda state: cmaes.SepCMA(np.zeros(2), 1.0, population_size=4), " does not fit"),
        (changed("_sigma", float("nan")), "_sigma does not fit"),
        (changed("_sigma", "0.1"), "_sigma does not fit"),
        (changed("_mean", np.full(2, np.inf)), "_mean does not fit"),
        (changed("_n_max_resampling", 10**18), "_n_max_resampling does not fit"),
        (changed("_more", 1), "it has other parts"),
    ],
)
def test_what_no_search_has_written_is_refused_in_a_line_and_nothing_runs(
    sqlite: Database, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    drive(Ledger(sqlite, name, study_of()), 8)
    ledger = put(sqlite, name, change(state_of(sqlite, name, "cma:optimizer")))
    with pytest.raises(InputError) as refused:
        ledger.assign(9)
    (line,) = refused.value.problems
    assert line.startswith("storage: trial ")
    assert f"cma:optimizer is not what the sampler cmaes writes: {expected}" in line
    assert not Path("run").exists()
