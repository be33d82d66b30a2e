"""The TPE sampler: what it asks for is Optuna's, bit for bit, whatever it remembers of the trials before."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from optlstm.study.samplers import hand_over
from optlstm.study.tpe import ColumnTPESampler

ENDS = [TrialState.COMPLETE] * 4 + [TrialState.PRUNED] * 2 + [TrialState.FAIL, None]  # None: it is never told
PRUNED = [TrialState.PRUNED] * 7 + [None]
OPTIONS: list[dict[str, Any]] = [
    {"multivariate": True},
    {"multivariate": False},
    {"multivariate": True, "group": True},
    {"multivariate": True, "constant_liar": False},
]


def suggest(trial: optuna.Trial, wide: bool) -> dict[str, Any]:
    """Every kind of param; some exist in some trials only, and of one the range changes."""
    params: dict[str, Any] = {
        "rate": trial.suggest_float("rate", 1e-4, 1e-1, log=True),
        "units": trial.suggest_int("units", 8, 64, step=8),
        "kind": trial.suggest_categorical("kind", ["a", "b", None]),
    }
    if params["kind"] == "a":
        params["drop"] = trial.suggest_float("drop", 0, 0.5, step=0.1)
    if wide:
        params["late"] = trial.suggest_float("late", 0, 1 + trial.number)
    return params


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("directions", [["minimize"], ["maximize"], ["minimize", "maximize"]], ids="-".join)
def test_it_asks_for_what_optunas_asks_for(options: dict[str, Any], directions: list[str]) -> None:
    compare(options, directions, ENDS, lambda chance, number: chance.choice([-1.0, 0.5, 2.0]) if number > 30 else None)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_where_nearly_all_are_pruned_the_best_of_them_are_the_good_ones(direction: str) -> None:
    compare({"multivariate": True}, [direction], PRUNED, lambda *_: None)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_where_nothing_is_feasible_the_nearest_to_it_are_the_good_ones(direction: str) -> None:
    compare({"multivariate": True}, [direction], ENDS, lambda chance, _: 0.1 + chance.random())


def compare(
    options: dict[str, Any],
    directions: list[str],
    ends: list[TrialState | None],
    constraint: Callable[[random.Random, int], float | None],
) -> None:
    """The same search twice, by Optuna's sampler and by ours, a new one for every trial."""
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    known: dict[str, Any] = {}
    studies = [optuna.create_study(directions=directions) for _ in range(2)]
    chance = random.Random(0)
    for number in range(60):
        common = {"seed": number, "n_startup_trials": 5, **options}
        studies[0].sampler, studies[1].sampler = TPESampler(**common), ColumnTPESampler(**common)
        hand_over(known, studies[1].sampler)
        trials = [study.ask() for study in studies]
        params = [suggest(trial, wide=number > 20) for trial in trials]
        assert params[0] == params[1]
        end, values, broken = chance.choice(ends), [chance.random() for _ in directions], constraint(chance, number)
        steps = chance.randint(1, 2)
        for study, trial in zip(studies, trials, strict=True):
            if broken is not None:
                trial.set_constraint("size", broken)
            if len(directions) == 1:
                trial.report(values[0], steps)
            if end is not None:
                study.tell(trial, values if end == TrialState.COMPLETE else None, state=end)
