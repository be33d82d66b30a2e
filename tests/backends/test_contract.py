"""The contract of a backend. Every test runs against every one of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from optuna.trial import FrozenTrial

from optlstm.backends.driver import Run
from optlstm.backends.trial import Job
from optlstm.config.schema import StudyConfig
from optlstm.errors import InputError, OptlstmError, StorageError
from optlstm.run.plan import make_plan
from optlstm.study.database.connection import open_database
from optlstm.study.declaration import parse_space
from optlstm.study.events import EpochReported, Event, TrialFinished, TrialStarted
from optlstm.study.failures import DIVERGED, FAILURE_KEY
from optlstm.study.ledger import Ledger
from optlstm.study.pbt import Population
from optlstm.study.population_ledger import PopulationLedger
from optlstm.study.pruners import PRUNERS
from optlstm.study.record import StudyRecord
from optlstm.study.registry import EXHAUSTIVE
from optlstm.study.samplers import SAMPLERS
from tests.backends.contract import (
    INLINE,
    PROCESSES,
    Backend,
    Studies,
    compared,
    job,
    reference,
    table,
)
from tests.backends.objectives import CONDITIONAL, EPOCHS, FINITE, KNOWN, MakeTwo, broken

TROUBLE = {
    **{2: (3, "raise"), 4: (1, "nan"), 5: (2, "inf"), 6: (4, "-inf"), 7: (2, "memory"), 8: (EPOCHS, "nan")},
    **{9: (1, "exit"), 10: (3, "nan"), 11: (2, "generator"), 12: (2, "diverge")},
}


@compared("sampler", SAMPLERS, on_ray=["tpe", "brute-force"])
def test_one_at_a_time_the_table_is_the_same_everywhere(backend: Backend, studies: Studies, sampler: str) -> None:
    space = FINITE if sampler in EXHAUSTIVE else None
    ledger = studies.ledger(sampler=sampler, space=space)
    backend.work(Run(ledger, 12), job(trouble=TROUBLE), 1)
    assert table(ledger) == reference(studies, 12, sampler=sampler, space=space, curve={"trouble": TROUBLE})
    assert {"COMPLETE", "FAIL"} <= set(ledger.counts)
    assert ledger.ended == 12


@compared("pruner", PRUNERS, on_ray=["median", "hyperband"])
def test_every_pruner_decides_the_same_everywhere(backend: Backend, studies: Studies, pruner: str) -> None:
    options = {"pruner": pruner, "pruner_options": {"upper": 12.0} if pruner == "threshold" else {}}
    ledger = studies.ledger(sampler="random", **options)
    backend.work(Run(ledger, 14), job(), 1)
    assert table(ledger) == reference(studies, 14, sampler="random", **options)
    assert (ledger.counts["PRUNED"] > 0) == (pruner not in ("none", "patient"))
    assert ledger.ended == 14


@pytest.mark.parametrize("event", ["report", "complete"])
def test_an_error_of_the_database_ends_the_run_and_fails_no_trial(
    backend: Backend, studies: Studies, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, answers = studies.ledger(sampler="random", pruner="none"), [False]

    def fail_once(*args: Any) -> Any:
        if not answers[0]:
            answers[0] = True
            raise StorageError("the database is away")
        return method(*args)

    method = getattr(ledger, event)
    monkeypatch.setattr(ledger, event, fail_once)
    with pytest.raises(StorageError, match="the database is away"):
        backend.work(Run(ledger, 3), job(), 1)
    assert [trial.state.name for trial in ledger.trials] == ["RUNNING"]


@pytest.mark.parametrize("scheduler", get_args(StudyConfig.model_fields["scheduler"].annotation))
def test_every_scheduler_finishes_a_study(backend: Backend, studies: Studies, scheduler: str) -> None:
    if scheduler == "asha" and backend.name != "ray":  # Ray's own, as the config says (tests/cli/test_bad_input.py)
        with pytest.raises(InputError, match="needs --backend ray"):
            make_plan({"name": "asha", "scheduler": "asha"})
        return
    run = {"asha": run_asha, "pbt": run_pbt}.get(scheduler, run_study)
    ledger = run(backend, studies)
    assert len(ledger.trials) >= 12
    assert all(trial.state.is_finished() for trial in ledger.trials)
    assert {"COMPLETE", "PRUNED"} <= set(ledger.counts)


def run_study(backend: Backend, studies: Studies) -> Ledger:
    ledger = studies.ledger()
    backend.work(Run(ledger, 12), job(), 2)
    return ledger


def run_asha(backend: Backend, studies: Studies) -> Ledger:
    from optlstm.backends.ray.runner import run_ray

    options = {"grace_period": 1, "reduction_factor": 2, "brackets": 1}
    ledger = studies.ledger(pruner="asha", pruner_options=options, scheduler="asha")
    run_ray(Run(ledger, 12), job(), workers=2)
    return ledger


def run_pbt(backend: Backend, studies: Studies) -> Ledger:
    rules = Population(8, EPOCHS, 2, 0.25, (0.8, 1.25), 0.25, ("x", "n", "y"))
    record = StudyRecord(parse_space(CONDITIONAL, KNOWN), 7, EPOCHS, "tpe", "none", scheduler="pbt")
    ledger = PopulationLedger(open_database(studies.url), "pbt", record, options=rules)
    backend.work(Run(ledger, 8), job(), 2)
    return ledger


def test_several_objectives_are_told_alike(backend: Backend, studies: Studies) -> None:
    options = {"pruner": "none", "objectives": {"loss": "minimize", "n": "maximize"}}
    ledger = studies.ledger(**options)
    backend.work(Run(ledger, 8), Job(MakeTwo(), {}), 1)
    ledger_again = studies.ledger("again", **options)
    INLINE.work(Run(ledger_again, 8), Job(MakeTwo(), {}), 1)
    assert table(ledger) == table(ledger_again)
    assert all(len(trial.values) == 2 for trial in ledger.trials)
    assert {t.number for t in ledger.ranking} == {t.number for t in ledger.trials if not beaten(t, ledger.trials)}


def beaten(trial: FrozenTrial, others: list[FrozenTrial]) -> bool:
    (loss, n) = trial.values
    return any(o.values != [loss, n] and o.values[0] <= loss and o.values[1] >= n for o in others)


def test_every_trial_is_recorded_whole_in_its_events_and_in_the_database(backend: Backend, studies: Studies) -> None:
    ledger = studies.ledger(pruner="asha")
    events: list[Event] = []
    ledger.listen(events.append)
    backend.work(Run(ledger, 12), job(trouble={1: (1, "raise")}), 1)
    assert table(studies.ledger(pruner="asha")) == table(ledger)
    assert ledger.trials[0].params == {"x": 0.0, "n": 2, "kind": "a"}  # the defaults
    assert ledger.counts.keys() == {"COMPLETE", "PRUNED", "FAIL"}
    for trial in ledger.trials:
        check_trial(trial)
        mine = [event for event in events if event.number == trial.number]
        assert isinstance(mine[0], TrialStarted)
        assert [e.value for e in mine if isinstance(e, EpochReported)] == list(trial.intermediate_values.values())
        assert [event for event in mine if isinstance(event, TrialFinished)] == mine[-1:]
        assert isinstance(mine[-1], TrialFinished)
        assert mine[-1].state == trial.state.name


def check_trial(trial: FrozenTrial) -> None:
    assert list(trial.intermediate_values) == list(range(1, (trial.last_step or 0) + 1))
    if trial.state.name == "COMPLETE":
        assert trial.last_step == EPOCHS
        assert trial.value == min(trial.intermediate_values.values())
        assert trial.user_attrs["note"] == f"ran {EPOCHS} epochs"
    if trial.state.name == "PRUNED":
        assert trial.user_attrs["reason"] == f"asha at epoch {trial.last_step}"
        assert trial.value == trial.intermediate_values[trial.last_step or 0]


def test_a_trial_that_its_objective_prunes_is_pruned(backend: Backend, studies: Studies) -> None:
    ledger = studies.ledger(pruner="none")
    backend.work(Run(ledger, 4), job(trouble={1: (1, "prune"), 2: (3, "prune")}), 1)
    assert [trial.state.name for trial in ledger.trials] == ["COMPLETE", "PRUNED", "PRUNED", "COMPLETE"]
    assert [ledger.trials[number].last_step for number in (1, 2)] == [None, 2]
    assert ledger.trials[2].value == ledger.trials[2].intermediate_values[2]
    assert ledger.trials[2].user_attrs["reason"] == "pruned by its objective"


def test_a_trial_that_misbehaves_fails_alone_and_says_why(backend: Backend, studies: Studies) -> None:
    ledger = studies.ledger(pruner="none")
    backend.work(Run(ledger, 13), job(trouble=TROUBLE), 2)
    reasons = {t.number: t.user_attrs["reason"] for t in ledger.trials if t.state.name == "FAIL"}
    assert reasons == {
        2: "ValueError: a bad configuration",
        4: "the validation value is nan at epoch 1",
        5: "the validation value is inf at epoch 2",
        6: "the validation value is -inf at epoch 4",
        7: "MemoryError: no memory left",
        8: f"the validation value is nan at epoch {EPOCHS}",
        9: "SystemExit: 3",
        10: "the validation value is nan at epoch 3",
        11: "GeneratorExit: closed",
        12: "the training loss is nan",
    }
    diverged = [t.number for t in ledger.trials if t.user_attrs.get(FAILURE_KEY) == DIVERGED]
    assert diverged == [4, 5, 6, 8, 10, 12]
    assert "a bad configuration" in ledger.trials[2].user_attrs["traceback"]
    assert ledger.counts == {"COMPLETE": 3, "FAIL": 10}
    assert ledger.best is not None
    assert math.isfinite(ledger.best.value or math.nan)


def test_the_total_counts_what_there_is(backend: Backend, studies: Studies) -> None:
    backend.work(Run(studies.ledger(), 5), job(), 1)
    first = table(studies.ledger())
    backend.work(Run(studies.ledger(), 5), job(), 1)
    assert table(studies.ledger()) == first
    backend.work(Run(studies.ledger(), 8), job(), 1)
    assert [row[0] for row in table(studies.ledger())] == list(range(8))


@compared("sampler", ["grid", "brute-force"], on_ray=["grid"])
def test_an_exhausted_space_ends_the_study(backend: Backend, studies: Studies, sampler: str) -> None:
    for _ in range(2):
        ledger = studies.ledger(sampler=sampler, space=FINITE, pruner="none")
        backend.work(Run(ledger, 100), job(), 1)
    found = [(t.params["n"], t.params["kind"]) for t in ledger.trials]
    assert sorted(found) == [(n, kind) for n in range(1, 5) for kind in "abc"]
    assert ledger.counts == {"COMPLETE": 12}


def test_without_a_sampler_that_learns_the_order_of_the_ends_does_not_matter(
    backend: Backend, studies: Studies
) -> None:
    ledger = studies.ledger(sampler="random", pruner="none")
    backend.work(Run(ledger, 12), job(seconds=0.003), 2)
    assert table(ledger) == reference(studies, 12, sampler="random", pruner="none")


def test_stopped_after_an_epoch_it_goes_on_as_if_nothing_had_been(backend: Backend, studies: Studies) -> None:
    expected = reference(studies, 8)
    most = 16 if backend.name == "ray" else 7  # there each leg takes seconds to start
    for _ in range(30):
        ledger = studies.ledger()
        run = Run(ledger, 8)
        reports: list[Event] = []

        def stop(event: Event, run: Run = run, reports: list[Event] = reports) -> None:
            reports.append(event) if isinstance(event, EpochReported) else None
            if len(reports) >= most:
                run.stop("test")

        ledger.listen(stop)
        backend.work(run, job(), 1)
        if run.stop_reason is None:
            break
    assert table(studies.ledger()) == expected


def test_a_trial_that_another_driver_has_completed_is_left(backend: Backend, studies: Studies) -> None:
    ledger, other = studies.ledger(pruner="none"), studies.ledger(pruner="none")
    epochs: list[tuple[int, int]] = []

    def complete_elsewhere(event: Event) -> None:
        if isinstance(event, EpochReported):
            epochs.append((event.number, event.epoch))
            if epochs[-1] == (0, 2):
                with ledger._storage.lock:  # it was stopped for longer than its lease
                    ledger._storage.transact(lambda: ledger._leases.write(ledger.trials[0]._trial_id, 0.0))
                taken = other.assign(1)
                assert taken is not None
                other.complete(taken.number, 0.125, {})
                ledger.as_stored(lambda: None)

    ledger.listen(complete_elsewhere)
    backend.work(Run(ledger, 2), job(), 1)
    assert [epoch for number, epoch in epochs if number == 0] == [1, 2]
    assert (ledger.trials[0].value, [*ledger.trials[0].intermediate_values]) == (0.125, [1, 2])
    assert ledger.counts == {"COMPLETE": 2}


def test_the_timeout_leaves_running_trials_to_be_continued(
    backend: Backend, studies: Studies, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(monotonic=lambda: 10.0)
    monkeypatch.setattr("optlstm.backends.driver.time", clock)
    ledger = studies.ledger(pruner="none")
    run = Run(ledger, 50, timeout=60)

    def time_is_up(event: Event) -> None:
        if isinstance(event, EpochReported) and (event.number, event.epoch) == (1, 2):
            clock.monotonic = lambda: 71.0

    ledger.listen(time_is_up)
    backend.work(run, job(), 1)
    assert run.stop_reason == "timeout"
    assert ledger.counts["RUNNING"] == 1
    backend.work(Run(studies.ledger(pruner="none"), 3), job(), 1)
    assert table(studies.ledger(pruner="none"))[:3] == reference(studies, 3, pruner="none")


def test_a_trial_that_has_all_its_epochs_when_time_is_up_is_complete(backend: Backend, studies: Studies) -> None:
    ledger = studies.ledger(pruner="none")
    run = Run(ledger, 50)

    def time_is_up(event: Event) -> None:
        if isinstance(event, EpochReported) and (event.number, event.epoch) == (0, 6):
            run.stop("timeout")

    ledger.listen(time_is_up)
    backend.work(run, job(), 1)
    assert ledger.counts == {"COMPLETE": 1}
    assert table(ledger) == reference(studies, 1, pruner="none")


def test_after_the_last_trial_the_objective_shows_what_it_has(backend: Backend, studies: Studies) -> None:
    shown: list[Any] = []

    def finish(objective: Callable[[], Any]) -> None:
        its = objective()
        shown.extend(its.plot_data(number) for number in (3, 0))
        with pytest.raises(Exception, match="its weights are damaged"):
            its.plot_data(1)
        shown.append(its.plot_data(2))

    backend.work(Run(studies.ledger(), 4, finish=finish), job(trouble={1: (2, "raise")}), 2)

    assert shown == [f"picture of trial {number}" for number in (3, 0, 2)]


def test_a_worker_that_dies_over_a_picture_leaves_the_others(studies: Studies, tmp_path: Path) -> None:
    shown: list[str] = []

    def finish(objective: Callable[[], Any]) -> None:
        its = objective()
        its.prepare([0, 1, 2])
        shown.append(its.plot_data(0))
        with pytest.raises(OptlstmError, match="the worker that was asked for pictures died"):
            its.plot_data(1)
        shown.append(its.plot_data(2))

    two_workers = job(trouble={1: (1, "die when asked")}, first_time=str(tmp_path), together=2)
    PROCESSES.work(Run(studies.ledger(), 3, finish=finish), two_workers, 2)

    assert shown == ["picture of trial 0", "picture of trial 2"]


def test_idle_workers_compute_what_they_are_asked_for(studies: Studies) -> None:
    answers: list[tuple[int, int]] = []

    def finish(objective: Callable[[], Any]) -> None:
        workers = objective()
        answers.extend(workers.call(divmod, [(7, 2), (9, 4), (11, 3)]))
        with pytest.raises(OptlstmError, match="ZeroDivisionError"):
            [*workers.call(divmod, [(7, 0)])]

    PROCESSES.work(Run(studies.ledger(), 2, finish=finish), job(), 2)

    assert answers == [(3, 1), (2, 1), (3, 2)]


def test_a_task_that_cannot_be_set_up_ends_the_run_and_not_a_trial(backend: Backend, studies: Studies) -> None:
    ledger = studies.ledger()
    with pytest.raises((OptlstmError, RuntimeError), match="this task cannot be set up"):
        backend.work(Run(ledger, 4), Job(broken, {}), 2)
    assert ledger.counts["FAIL"] == 0
    assert ledger.counts["RUNNING"] <= 2


def test_trials_that_fail_alike_stop_the_study_until_it_is_told_to_go_on(backend: Backend, studies: Studies) -> None:
    ledger = studies.ledger(pruner="none")
    backend.work(Run(ledger, 9), job(trouble=dict.fromkeys((1, 3, 4, 5), (1, "raise"))), 1)
    assert ledger.counts == {"COMPLETE": 2, "FAIL": 4}
    assert "ValueError: a bad configuration; look at its traceback" in (ledger.stopped or "")
    again = studies.ledger(pruner="none")
    again.clear_stop_reason(())
    backend.work(Run(again, 9), job(), 1)
    assert again.counts == {"COMPLETE": 5, "FAIL": 4}
    assert again.stopped is None
