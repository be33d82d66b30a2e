"""Samplers by name, each made anew for every trial from (study seed, trial number).

A sampler that lives as long as the process carries its random state in memory: kill the process and the search goes on
differently. Here trial n's sampler depends on the seed, n and the study alone. Optuna is imported where it is used.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from optlstm.study.constraints import infeasible_streak
from optlstm.study.seeds import derive_seed
from optlstm.study.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study

Count = Annotated[int, Ge(1)]
Probability = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True)
class Draw:
    """What a sampler is made from: the space, the study's seed, and the seed of this trial."""

    space: Space
    study_seed: int
    trial_seed: int


def tpe(
    draw: Draw,
    *,
    n_startup_trials: Annotated[int, Ge(0)] = 10,
    n_ei_candidates: Count = 24,
    multivariate: bool = True,
    group: bool = False,
    constant_liar: bool = True,
) -> BaseSampler:
    from optlstm.study.tpe import tpe_class

    return tpe_class()(
        n_startup_trials=n_startup_trials,
        n_ei_candidates=n_ei_candidates,
        multivariate=multivariate,
        group=group,
        constant_liar=constant_liar,
        seed=draw.trial_seed,
    )


def random(draw: Draw) -> BaseSampler:
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=draw.trial_seed)


def grid(draw: Draw) -> BaseSampler:
    from optuna.samplers import GridSampler

    # The grid is shuffled by its seed: it must be the study's, or every trial would walk another grid.
    return GridSampler(draw.space.grid(), seed=draw.study_seed)


def gp(
    draw: Draw, *, n_startup_trials: Annotated[int, Ge(1)] = 10, deterministic_objective: bool = False
) -> BaseSampler:
    from optuna.samplers import GPSampler

    return GPSampler(
        seed=draw.trial_seed,
        n_startup_trials=n_startup_trials,
        deterministic_objective=deterministic_objective,
        warn_independent_sampling=False,
    )


def cmaes(
    draw: Draw,
    *,
    n_startup_trials: Count = 1,
    sigma0: Annotated[float, Gt(0)] | None = None,
    popsize: Annotated[int, Ge(4)] | None = None,  # of fewer, CMA-ES divides by zero: it learns from half of them
    consider_pruned_trials: bool = False,
    use_separable_cma: bool = False,
    with_margin: bool = False,
    lr_adapt: bool = False,
) -> BaseSampler:
    from optuna.samplers import CmaEsSampler

    return CmaEsSampler(
        n_startup_trials=n_startup_trials,
        sigma0=sigma0,
        popsize=popsize,
        consider_pruned_trials=consider_pruned_trials,
        use_separable_cma=use_separable_cma,
        with_margin=with_margin,
        lr_adapt=lr_adapt,
        seed=draw.trial_seed,
        warn_independent_sampling=False,
    )


def qmc(draw: Draw, *, qmc_type: Literal["sobol", "halton"] = "sobol", scramble: bool = True) -> BaseSampler:
    from optuna.samplers import QMCSampler, RandomSampler

    # One sequence for the whole study, scrambled by its seed; params outside the sequence are drawn per trial.
    return QMCSampler(
        qmc_type=qmc_type,
        scramble=scramble,
        seed=draw.study_seed,
        independent_sampler=RandomSampler(seed=draw.trial_seed),
        warn_independent_sampling=False,
    )


def nsga2(
    draw: Draw,
    *,
    population_size: Annotated[int, Ge(2)] = 50,
    mutation_prob: Probability | None = None,
    crossover_prob: Probability = 0.9,
    swapping_prob: Probability = 0.5,
) -> BaseSampler:
    from optuna.samplers import NSGAIISampler

    return NSGAIISampler(
        population_size=population_size,
        mutation_prob=mutation_prob,
        crossover_prob=crossover_prob,
        swapping_prob=swapping_prob,
        seed=draw.trial_seed,
    )


def nsga3(
    draw: Draw,
    *,
    population_size: Annotated[int, Ge(2)] = 50,
    mutation_prob: Probability | None = None,
    crossover_prob: Probability = 0.9,
    swapping_prob: Probability = 0.5,
    dividing_parameter: Count = 3,
) -> BaseSampler:
    from optuna.samplers import NSGAIIISampler

    return NSGAIIISampler(
        population_size=population_size,
        mutation_prob=mutation_prob,
        crossover_prob=crossover_prob,
        swapping_prob=swapping_prob,
        dividing_parameter=dividing_parameter,
        seed=draw.trial_seed,
    )


def brute_force(draw: Draw, *, avoid_premature_stop: bool = False) -> BaseSampler:
    from optuna.samplers import BruteForceSampler

    return BruteForceSampler(seed=draw.trial_seed, avoid_premature_stop=avoid_premature_stop)


def narrowing(draw: Draw, *, draws: Count = 8, keep: Annotated[float, Gt(0), Le(1)] = 0.3) -> BaseSampler:
    """Rounds of random draws, each within the ranges that the best draws before it lie in."""
    from optlstm.study.narrowing import NarrowingSampler

    return NarrowingSampler(draws, keep, draw.study_seed, draw.trial_seed)


SAMPLERS: dict[str, Callable[..., Any]] = {
    "tpe": tpe,
    "random": random,
    "grid": grid,
    "gp": gp,
    "cmaes": cmaes,
    "qmc": qmc,
    "nsga2": nsga2,
    "nsga3": nsga3,
    "brute-force": brute_force,
    "narrowing": narrowing,
}
# These enumerate the space: every param needs finitely many values, and the study ends when all were tried.
EXHAUSTIVE = frozenset({"grid", "brute-force"})
PATIENCE_WITH_INFEASIBLE = 10  # configurations in a row that broke a constraint; the next ones are drawn at random
# These take several objectives; the others learn from one value, and refuse more.
MULTI_OBJECTIVE = frozenset({"tpe", "random", "grid", "gp", "qmc", "nsga2", "nsga3", "brute-force"})


def make_sampler(name: str, options: dict[str, Any], space: Space, study_seed: int) -> BaseSampler:
    """The study's sampler: behaves as a fresh `name` sampler for every trial number."""
    from optuna.exceptions import ExperimentalWarning

    from optlstm.study.seeded_sampler import SeededSampler

    def fresh(number: int, study: Study | None) -> BaseSampler:
        draw = Draw(space, study_seed, derive_seed("sampler", study_seed, number))
        if study is not None and name not in EXHAUSTIVE:
            # A sampler that sees complete trials only proposes what broke a constraint again and again.
            before = study.get_trials(deepcopy=False)[:number]
            if infeasible_streak(before) >= PATIENCE_WITH_INFEASIBLE:
                return random(draw)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            sampler: BaseSampler = SAMPLERS[name](draw, **options)
        return sampler

    return SeededSampler(fresh)
