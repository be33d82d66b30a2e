"""Where Optuna's internals are others than our fast paths know, Optuna's own classes are used, and one line says so."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from optuna.pruners import PercentilePruner
from optuna.samplers import TPESampler

from optlstm.study.database.connection import Database
from optlstm.study.ledger import Ledger
from optlstm.study.percentile_pruner import ColumnPruner, pruner_class
from optlstm.study.pruners import make_pruner
from optlstm.study.tpe import ColumnTPESampler, tpe_class
from tests.study.helpers import drive, plain_optuna, record, table

TPE_MODULE, PERCENTILE_MODULE = "optuna.samplers._tpe.sampler", "optuna.pruners._percentile"


@pytest.fixture(autouse=True)
def fresh_caches() -> Iterator[None]:
    for cached in (tpe_class, pruner_class):
        cached.cache_clear()
    yield
    for cached in (tpe_class, pruner_class):
        cached.cache_clear()


def other_sample(self: Any, study: Any, trial: Any, search_space: Any, batch: int = 1) -> Any:
    raise AssertionError("not called: no trial is sampled here")


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "optlstm.study.internals"]


def test_todays_internals_are_known(caplog: pytest.LogCaptureFixture) -> None:
    assert tpe_class() is ColumnTPESampler
    assert type(make_pruner("median", {}, 4)) is type(make_pruner("percentile", {}, 4)) is ColumnPruner
    assert warnings_of(caplog) == []


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (f"{TPE_MODULE}", "_get_pruned_trial_score"),
        (f"{TPE_MODULE}", "default_gamma"),
        (f"{TPE_MODULE}.TPESampler", "_compare"),
    ],
)
def test_a_function_of_tpe_that_is_gone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, module: str, name: str
) -> None:
    monkeypatch.delattr(f"{module}.{name}")

    assert [tpe_class() for _ in range(3)] == [TPESampler] * 3
    assert warnings_of(caplog) == [
        f"optuna: TPESampler differs in this version ({name}): Optuna's own is used, which is slower in large studies"
    ]


def test_a_method_of_tpe_with_other_arguments(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(TPESampler, "_sample", other_sample)
    assert tpe_class() is TPESampler
    assert "(_sample)" in warnings_of(caplog)[0]


@pytest.mark.parametrize("name", ["_is_first_in_interval_step", "PercentilePruner.prune"])
def test_internals_of_the_pruner_that_are_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    if name == "PercentilePruner.prune":
        monkeypatch.setattr(PercentilePruner, "prune", lambda self, study, trial, epoch=None: False)
    else:
        monkeypatch.delattr(f"{PERCENTILE_MODULE}.{name}")

    assert type(make_pruner("median", {}, 4)) is type(make_pruner("percentile", {}, 4)) is PercentilePruner
    assert len(warnings_of(caplog)) == 1


def test_the_search_is_the_same_without_the_fast_paths(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, sqlite: Database, name: str
) -> None:
    caplog.set_level(logging.WARNING)
    study = record("tpe", "median", sampler_options={"n_startup_trials": 3})
    fast = table(drive(Ledger(sqlite, f"{name} fast", study), 14).trials)
    for cached in (tpe_class, pruner_class):
        cached.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr("optlstm.study.tpe.are_known", lambda *_: False)
        patched.setattr("optlstm.study.percentile_pruner.are_known", lambda *_: False)
        assert (tpe_class(), pruner_class()) == (TPESampler, PercentilePruner)
        assert table(drive(Ledger(sqlite, name, study), 14).trials) == fast
    assert [row[:6] for row in fast] == plain_optuna(study, 14)
