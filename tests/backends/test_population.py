"""PBT on every backend: the same generations, the same lineage, on whatever backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from optlstm.backends.driver import Run
from optlstm.errors import CheckpointWriteError
from optlstm.study.database.connection import open_database
from optlstm.study.declaration import parse_space
from optlstm.study.events import EpochReported, Event
from optlstm.study.pbt import Population
from optlstm.study.population_ledger import PopulationLedger
from optlstm.study.record import StudyRecord
from tests.backends import objectives
from tests.backends.contract import INLINE, PROCESSES, RAY, Backend, Studies, backend_param, isolated_backends, job

EPOCHS = 12
OPTIONS = Population(
    population=6,
    epochs=EPOCHS,
    interval=3,
    quantile=0.25,
    factors=(0.8, 1.25),
    resample_probability=0.25,
    params=("x", "n", "y"),
)
Row = tuple[Any, ...]
Open = Callable[..., PopulationLedger]


@pytest.fixture
def population(studies: Studies) -> Open:
    def opened(name: str = "population", options: Population = OPTIONS) -> PopulationLedger:
        space = parse_space(objectives.CONDITIONAL, objectives.KNOWN)
        record = StudyRecord(space, 7, EPOCHS, "tpe", "none", scheduler="pbt")
        return PopulationLedger(open_database(studies.url), name, record, options=options)

    return opened


def lineage(ledger: PopulationLedger) -> list[Row]:
    return [
        (t.number, t.state.name, t.values, t.params, t.intermediate_values, tuple(sorted(t.user_attrs.items())))
        for t in ledger.trials
    ]


def reference(population: Open, **curve: Any) -> list[Row]:
    ledger = population("reference")
    INLINE.work(Run(ledger, 0), job(epochs=EPOCHS, **curve), 1)
    return lineage(ledger)


@pytest.mark.parametrize(
    ("backend", "at_once"),
    [backend_param(PROCESSES, 1), backend_param(PROCESSES, 2), backend_param(RAY, 2)],
    indirect=["backend"],
)
def test_the_table_and_the_lineage_are_the_same_everywhere(backend: Backend, population: Open, at_once: int) -> None:
    ledger = population()
    backend.work(Run(ledger, 0), job(epochs=EPOCHS), at_once)
    assert lineage(ledger) == reference(population)


def test_the_lineage_is_a_tree_of_stretches(population: Open) -> None:
    ledger = population()
    INLINE.work(Run(ledger, 0), job(epochs=EPOCHS), 1)
    trials = ledger.trials
    roots = [t for t in trials if "parent" not in t.user_attrs]
    children = [t for t in trials if "parent" in t.user_attrs]
    assert len(roots) == 6
    assert len(children) == 3 * 2  # three boundaries, a quarter of six rounded up
    assert ledger.counts == {"COMPLETE": 6, "PRUNED": 6}
    for child in children:
        attrs = child.user_attrs
        replaced, parent = trials[attrs["replaces"]], trials[attrs["parent"]]
        assert replaced.state.name == "PRUNED"
        assert replaced.user_attrs["member"] == attrs["member"]
        assert replaced.last_step == attrs["from_epoch"] == 3 * attrs["generation"]
        assert parent.intermediate_values[attrs["from_epoch"]] <= replaced.intermediate_values[attrs["from_epoch"]]
        assert min(child.intermediate_values) == attrs["from_epoch"] + 1
    for trial in trials:
        first = trial.user_attrs.get("from_epoch", 0) + 1
        assert list(trial.intermediate_values) == list(range(first, (trial.last_step or 0) + 1))
        assert trial.intermediate_values, "a trial that never trained"
        if trial.state.name == "COMPLETE":
            assert trial.last_step == EPOCHS


def test_a_member_that_fails_is_replaced(backend: Backend, population: Open) -> None:
    trouble = {1: (2, "nan"), 4: (5, "raise")}
    ledger = population()
    backend.work(Run(ledger, 0), job(epochs=EPOCHS, trouble=trouble), 1)
    assert lineage(ledger) == reference(population, trouble=trouble)
    assert [t.number for t in ledger.trials if t.state.name == "FAIL"] == [1, 4]
    assert {1, 4} <= {t.user_attrs.get("replaces") for t in ledger.trials}
    assert ledger.counts["COMPLETE"] == 6


@isolated_backends()
def test_a_copy_whose_worker_dies_before_its_first_report_has_none_of_its_parents_epochs(
    backend: Backend, population: Open, tmp_path: Path
) -> None:
    ledger = population()
    backend.work(Run(ledger, 0), job(epochs=EPOCHS, trouble={6: (4, "kill")}, first_time=str(tmp_path)), 1)
    assert (tmp_path / "6-kill").exists()
    assert lineage(ledger) == reference(population)


def test_interrupted_anywhere_it_goes_on_as_if_nothing_had_been(backend: Backend, population: Open) -> None:
    # On Ray each leg takes seconds to start: just before a boundary, and at it.
    legs = (17, 18, None) if backend.name == "ray" else (1, 7, 17, 18, 19, 25, None)
    for stop_after in legs:
        ledger = population()
        run, seen = Run(ledger, 0), list[Event]()

        def stop(event: Event, run: Run = run, seen: list[Event] = seen, limit: int | None = stop_after) -> None:
            if isinstance(event, EpochReported):
                seen.append(event)
                if len(seen) == limit:
                    run.stop("test")

        ledger.listen(stop)
        backend.work(run, job(epochs=EPOCHS), 1)
    assert lineage(population()) == reference(population)


def test_weights_that_cannot_be_copied_to_a_full_disk_stop_the_run_and_fail_no_member(population: Open) -> None:
    def copy(child: int, *_: int) -> None:
        if not copied:
            copied.append(child)
            raise CheckpointWriteError("no space left")

    copied: list[int] = []
    ledger = population()
    ledger.copy = copy
    with pytest.raises(CheckpointWriteError):
        INLINE.work(Run(ledger, 0), job(epochs=EPOCHS), 1)
    INLINE.work(Run(ledger, 0), job(epochs=EPOCHS), 1)

    assert copied
    assert lineage(ledger) == reference(population)


def test_asynchronous_members_do_not_wait(backend: Backend, population: Open) -> None:
    from dataclasses import replace

    ledger = population(options=replace(OPTIONS, synchronous=False))
    backend.work(Run(ledger, 0), job(epochs=EPOCHS), 2)
    assert ledger.counts["COMPLETE"] == 6
    assert ledger.counts["RUNNING"] == 0
    assert ledger.counts["PRUNED"] == sum("parent" in t.user_attrs for t in ledger.trials) > 0
    for trial in ledger.trials:
        first = trial.user_attrs.get("from_epoch", 0) + 1
        assert list(trial.intermediate_values) == list(range(first, (trial.last_step or 0) + 1))


def test_a_burnt_in_population_waits(population: Open) -> None:
    from dataclasses import replace

    ledger = population(options=replace(OPTIONS, burn_in=7))
    PROCESSES.work(Run(ledger, 0), job(epochs=EPOCHS), 2)
    assert {t.user_attrs["from_epoch"] for t in ledger.trials if "parent" in t.user_attrs} == {9}
