from __future__ import annotations

from typing import Any

import optuna
import pytest

from optlstm.study.pruners import PRUNERS, check_pruner, make_pruner
from optlstm.study.registry import PRUNER_NAMES, SAMPLER_NAMES, check, options_of, resolved_options
from optlstm.study.samplers import SAMPLERS, Draw, SeededSampler
from tests.study.helpers import FINITE, space

SAMPLER_CLASSES = {
    "tpe": "ColumnTPESampler",
    "random": "RandomSampler",
    "grid": "GridSampler",
    "gp": "GPSampler",
    "cmaes": "CmaEs",
    "qmc": "QMCSampler",
    "nsga2": "NSGAIISampler",
    "nsga3": "NSGAIIISampler",
    "brute-force": "BruteForceSampler",
    "narrowing": "NarrowingSampler",
}
PRUNER_CLASSES = {
    "asha": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
    "median": "ColumnPruner",
    "percentile": "ColumnPruner",
    "patient": "PatientPruner",
    "wilcoxon": "WilcoxonPruner",
    "threshold": "ThresholdPruner",
    "none": "NopPruner",
}


def test_the_names_in_the_help_are_those_of_the_factories() -> None:
    assert (tuple(SAMPLERS), tuple(PRUNERS)) == (SAMPLER_NAMES, PRUNER_NAMES)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_sampler_is_built_with_its_defaults(name: str) -> None:
    options = resolved_options(SAMPLERS[name], {})

    sampler = SAMPLERS[name](Draw(space(FINITE), 1, 2), **options)

    assert type(sampler).__name__ == SAMPLER_CLASSES[name]
    assert check("sampler", SAMPLERS, name, options) == []
    assert isinstance(SeededSampler(name, options, space(FINITE), 1), optuna.samplers.BaseSampler)


@pytest.mark.parametrize("name", PRUNERS)
def test_a_pruner_is_built_with_its_defaults(name: str) -> None:
    options = {**resolved_options(PRUNERS[name], {}), **({"upper": 1.0} if name == "threshold" else {})}

    assert type(make_pruner(name, options, 9)).__name__ == PRUNER_CLASSES[name]
    assert check("pruner", PRUNERS, name, options) == []
    assert check_pruner(name, options, 9) == []


@pytest.mark.parametrize("wrapped", ["none", "asha", "hyperband", "median", "percentile", "wilcoxon"])
def test_patience_wraps_another_pruner(wrapped: str) -> None:
    assert check("pruner", PRUNERS, "patient", {"wrapped": wrapped}) == []
    assert type(make_pruner("patient", {"wrapped": wrapped, "patience": 2}, 9)).__name__ == "PatientPruner"


@pytest.mark.parametrize(
    ("section", "registry", "name", "near"),
    [("sampler", SAMPLERS, "cma-es", "cmaes"), ("sampler", SAMPLERS, "TPE", "tpe"), ("pruner", PRUNERS, "ash", "asha")],
)
def test_an_unknown_name_suggests_the_nearest(section: str, registry: dict[str, Any], name: str, near: str) -> None:
    (problem,) = check(section, registry, name, {})

    assert problem.startswith(f"{section}.name: no {section} '{name}'; did you mean '{near}'?")
    assert all(known in problem for known in registry)


def test_an_unknown_option_suggests_the_nearest_and_lists_the_others() -> None:
    (problem,) = check("sampler", SAMPLERS, "tpe", {"n_startup": 3})
    (without,) = check("sampler", SAMPLERS, "random", {"seed": 3})

    assert "sampler.n_startup: unknown option; did you mean 'n_startup_trials'?" in problem
    assert all(option in problem for option in options_of(SAMPLERS["tpe"]))
    assert without == "sampler.seed: unknown option (random has no options)"


@pytest.mark.parametrize(
    ("registry", "name", "options"),
    [
        (SAMPLERS, "tpe", {"n_startup_trials": "ten"}),
        (SAMPLERS, "tpe", {"n_startup_trials": "10"}),
        (SAMPLERS, "tpe", {"n_startup_trials": 1.0}),
        (SAMPLERS, "tpe", {"n_startup_trials": -1}),
        (SAMPLERS, "tpe", {"n_startup_trials": True}),
        (SAMPLERS, "tpe", {"multivariate": "yes"}),
        (SAMPLERS, "tpe", {"multivariate": 1}),
        (SAMPLERS, "tpe", {"multivariate": None}),
        (SAMPLERS, "cmaes", {"sigma0": 0}),
        (SAMPLERS, "cmaes", {"sigma0": True}),
        (SAMPLERS, "nsga2", {"crossover_prob": 1.5}),
        (SAMPLERS, "qmc", {"qmc_type": "sobel"}),
        (PRUNERS, "asha", {"reduction_factor": 1}),
        (PRUNERS, "percentile", {"percentile": 101}),
        (PRUNERS, "patient", {"wrapped": "patient"}),
    ],
)
def test_an_option_of_a_wrong_type_or_range_is_one_line_with_its_value(
    registry: dict[str, Any], name: str, options: dict[str, Any]
) -> None:
    (problem,) = check("part", registry, name, options)

    ((key, value),) = options.items()
    assert problem.startswith(f"part.{key}: ")
    assert problem.endswith(f", got {value!r}")
    assert "\n" not in problem


def test_a_whole_number_is_a_number_and_every_problem_is_reported() -> None:
    assert check("sampler", SAMPLERS, "cmaes", {"sigma0": 1, "popsize": None}) == []
    assert check("pruner", PRUNERS, "threshold", {"upper": 2}) == []
    assert len(check("sampler", SAMPLERS, "cmaes", {"sigma0": "x", "popsize": 1, "nothing": 2})) == 3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("asha", {"grace_period": 10}, "pruner.grace_period: 10 epochs is more than training.epochs = 9"),
        ("hyperband", {"grace_period": 10}, "pruner.grace_period: 10"),
        ("threshold", {}, "threshold needs pruner.upper or pruner.lower"),
        ("threshold", {"lower": None, "upper": None}, "threshold needs"),
        ("threshold", {"lower": 2.0, "upper": 1.0}, "pruner.lower: 2.0 is above pruner.upper = 1.0"),
    ],
)
def test_pruners_that_could_never_prune_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    (problem,) = check_pruner(name, options, 9)

    assert message in problem


def test_options_that_can_prune_are_accepted() -> None:
    assert check_pruner("asha", {"grace_period": 9}, 9) == []
    assert check_pruner("threshold", {"lower": 1.0, "upper": 1.0}, 9) == []


def test_resolved_options_hold_every_option() -> None:
    resolved = resolved_options(PRUNERS["asha"], {"grace_period": 2})

    assert resolved.keys() == options_of(PRUNERS["asha"]).keys()
    assert (resolved["grace_period"], resolved["reduction_factor"]) == (2, 3)
