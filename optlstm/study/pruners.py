"""Pruners by name. Each decides from the intermediate values in the study alone, never from what it remembers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from optuna import pruners
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner

from optlstm.study.percentile_pruner import pruner_class

Count = Annotated[int, Ge(1)]
Whole = Annotated[int, Ge(0)]


def asha(
    epochs: int,
    *,
    grace_period: Count = 1,
    reduction_factor: Annotated[int, Ge(2)] = 3,
    bootstrap_count: Whole = 0,
    brackets: Count = 1,
) -> BasePruner:
    """Asynchronous successive halving (Li et al. 2018), rungs at grace_period * reduction_factor ** k epochs.

    `brackets` is for Ray's scheduler of this name; Optuna's several brackets are `hyperband`.
    """
    return pruners.SuccessiveHalvingPruner(
        min_resource=grace_period, reduction_factor=reduction_factor, bootstrap_count=bootstrap_count
    )


def hyperband(
    epochs: int, *, grace_period: Count = 1, reduction_factor: Annotated[int, Ge(2)] = 3, bootstrap_count: Whole = 0
) -> BasePruner:
    """Hyperband (Li et al. 2018): several ASHA brackets, the most epochs a trial can have as their resource."""
    # "auto" would learn the most epochs from the trials that end first: another search after every restart.
    return pruners.HyperbandPruner(
        min_resource=grace_period,
        max_resource=epochs,
        reduction_factor=reduction_factor,
        bootstrap_count=bootstrap_count,
    )


def median(
    epochs: int,
    *,
    n_startup_trials: Whole = 5,
    n_warmup_steps: Whole = 0,
    interval_steps: Count = 1,
    n_min_trials: Count = 1,
) -> BasePruner:
    return pruner_class()(50.0, n_startup_trials, n_warmup_steps, interval_steps, n_min_trials=n_min_trials)


def percentile(
    epochs: int,
    *,
    percentile: Annotated[float, Ge(0), Le(100)] = 25.0,
    n_startup_trials: Whole = 5,
    n_warmup_steps: Whole = 0,
    interval_steps: Count = 1,
    n_min_trials: Count = 1,
) -> BasePruner:
    return pruner_class()(percentile, n_startup_trials, n_warmup_steps, interval_steps, n_min_trials=n_min_trials)


def patient(
    epochs: int,
    *,
    patience: Whole = 3,
    min_delta: Annotated[float, Ge(0)] = 0.0,
    wrapped: Literal["none", "asha", "hyperband", "median", "percentile", "wilcoxon"] = "none",
) -> BasePruner:
    """Prunes a trial that has not improved for `patience` epochs (and that `wrapped`, if any, would prune)."""
    inner = None if wrapped == "none" else PRUNERS[wrapped](epochs)
    return pruners.PatientPruner(inner, patience, min_delta)


def wilcoxon(
    epochs: int, *, p_threshold: Annotated[float, Ge(0), Le(1)] = 0.1, n_startup_steps: Whole = 2
) -> BasePruner:
    return pruners.WilcoxonPruner(p_threshold=p_threshold, n_startup_steps=n_startup_steps)


def threshold(
    epochs: int,
    *,
    lower: float | None = None,
    upper: float | None = None,
    n_warmup_steps: Whole = 0,
    interval_steps: Count = 1,
) -> BasePruner:
    return pruners.ThresholdPruner(lower, upper, n_warmup_steps, interval_steps)


def none(epochs: int) -> BasePruner:
    return pruners.NopPruner()


PRUNERS: dict[str, Callable[..., Any]] = {
    factory.__name__: factory for factory in (asha, hyperband, median, percentile, patient, wilcoxon, threshold, none)
}


def check_pruner(name: str, options: dict[str, Any], epochs: int) -> list[str]:
    """What types alone do not show, one line per problem."""
    problems = []
    if options.get("grace_period", 1) > epochs:
        problems.append(
            f"pruner.grace_period: {options['grace_period']} epochs is more than training.epochs = {epochs}, "
            "so nothing would ever be pruned"
        )
    if name == "threshold":
        lower, upper = options.get("lower"), options.get("upper")
        if lower is None and upper is None:
            problems.append("pruner: threshold needs pruner.upper or pruner.lower (--set pruner.upper=1.0)")
        elif lower is not None and upper is not None and lower > upper:
            problems.append(f"pruner.lower: {lower} is above pruner.upper = {upper}")
    return problems


def make_pruner(name: str, options: dict[str, Any], epochs: int) -> BasePruner:
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        pruner: BasePruner = PRUNERS[name](epochs, **options)
    return pruner


def bracket_of(number: int, options: dict[str, Any], epochs: int, seed: int) -> int:
    """The Hyperband bracket of a trial: Optuna draws it from a hash of the trial's number and the study's alias."""
    pruner: Any = make_pruner("hyperband", options, epochs)
    study = SimpleNamespace(study_name=alias(seed))
    pruner._try_initialization(study)
    return int(pruner._get_bracket_id(study, SimpleNamespace(number=number)))


def alias(seed: int) -> str:
    """The name samplers and pruners see: two studies of the same seed are the same search under any name."""
    return f"seed-{seed}"
