"""Samplers by name. Each trial has a sampler of its number: a search that was killed continues as if it had not been.

A sampler that lives as long as the process carries its random state in memory: kill the process and the search
continues differently. Here trial n's sampler is made from the study's seed and n, and sees the study alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le
from optuna import samplers
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.search_space import IntersectionSearchSpace, group_decomposed
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from optlstm.errors import OptlstmError, named
from optlstm.study.constraints import infeasible_streak
from optlstm.study.narrowing import NarrowingSampler
from optlstm.study.registry import EXHAUSTIVE
from optlstm.study.seeds import derive_seed
from optlstm.study.space import Space
from optlstm.study.tpe import Memory, tpe_class
from optlstm.util.format import in_a_line

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
    return tpe_class()(
        n_startup_trials=n_startup_trials,
        n_ei_candidates=n_ei_candidates,
        multivariate=multivariate,
        group=group,
        constant_liar=constant_liar,
        seed=draw.trial_seed,
    )


def random(draw: Draw) -> BaseSampler:
    return samplers.RandomSampler(seed=draw.trial_seed)


def grid(draw: Draw) -> BaseSampler:
    # The grid is shuffled by its seed: it must be the study's, or every trial would walk another grid.
    return samplers.GridSampler(draw.space.grid(), seed=draw.study_seed)


def gp(
    draw: Draw, *, n_startup_trials: Annotated[int, Ge(1)] = 10, deterministic_objective: bool = False
) -> BaseSampler:
    return samplers.GPSampler(
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
    from optlstm.study.cmaes import CmaEs

    return CmaEs(
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
    # One sequence for the whole study, scrambled by its seed; params outside the sequence are drawn per trial.
    return samplers.QMCSampler(
        qmc_type=qmc_type,
        scramble=scramble,
        seed=draw.study_seed,
        independent_sampler=samplers.RandomSampler(seed=draw.trial_seed),
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
    return samplers.NSGAIISampler(
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
    return samplers.NSGAIIISampler(
        population_size=population_size,
        mutation_prob=mutation_prob,
        crossover_prob=crossover_prob,
        swapping_prob=swapping_prob,
        dividing_parameter=dividing_parameter,
        seed=draw.trial_seed,
    )


def brute_force(draw: Draw, *, avoid_premature_stop: bool = False) -> BaseSampler:
    return samplers.BruteForceSampler(seed=draw.trial_seed, avoid_premature_stop=avoid_premature_stop)


def narrowing(draw: Draw, *, draws: Count = 8, keep: Annotated[float, Gt(0), Le(1)] = 0.3) -> BaseSampler:
    """Rounds of random draws, each within the ranges that the best draws before it lie in."""
    return NarrowingSampler(draws, keep, draw.study_seed, draw.trial_seed)


SAMPLERS: dict[str, Callable[..., Any]] = {
    factory.__name__.replace("_", "-"): factory
    for factory in (tpe, random, grid, gp, cmaes, qmc, nsga2, nsga3, brute_force, narrowing)
}
PATIENCE_WITH_INFEASIBLE = 10  # configurations in a row that broke a constraint; the next ones are drawn at random
# What a sampler learns of ended trials. A version of Optuna without the last one hands over less.
_LEARNT = (IntersectionSearchSpace, Memory, getattr(group_decomposed, "_GroupDecomposedSearchSpace", Memory))


class SeededSampler(BaseSampler):
    """The sampler of a study: delegates each trial to a sampler made for it.

    Args:
        name: A key of `SAMPLERS`.
        options: All of its options.
    """

    def __init__(self, name: str, options: Mapping[str, Any], space: Space, study_seed: int) -> None:
        self._name, self._options, self._space, self._study_seed = name, options, space, study_seed
        self._current: tuple[int, BaseSampler] | None = None
        self._known: dict[str, Any] = {}

    def _make(self, number: int, study: Study | None = None, param: str | None = None) -> BaseSampler:
        """The sampler of a trial's number, or of one of its params.

        Where a study is given, it is looked at for trials that were infeasible.
        """
        of_param = () if param is None else (param,)
        draw = Draw(self._space, self._study_seed, derive_seed("sampler", self._study_seed, number, *of_param))
        if study is not None and self._name not in EXHAUSTIVE:
            # A sampler that sees complete trials only proposes what broke a constraint again and again.
            before = study.get_trials(deepcopy=False)[:number]
            if infeasible_streak(before) >= PATIENCE_WITH_INFEASIBLE:
                return random(draw)
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            sampler: BaseSampler = SAMPLERS[self._name](draw, **self._options)
        return sampler

    def _for(self, study: Study, trial: FrozenTrial) -> BaseSampler:
        if self._current is None or self._current[0] != trial.number:
            self._current = (trial.number, self._make(trial.number, study))
            hand_over(self._known, self._current[1])
        return self._current[1]

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._current = None
        self._for(study, trial).before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._for(study, trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._for(study, trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        sampler = self._for(study, trial)
        if self._space.is_open:
            # The trial may be killed between two params, and the process that asks for the next one has drawn none.
            sampler = self._make(trial.number, study, param_name)
            hand_over(self._known, sampler)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        # A new one again: what happened between this trial's start and its end must not matter.
        self._make(trial.number).after_trial(study, trial, state, values)


def sampled(study: Study, space: Space, sampler: str, queued: Mapping[str, Any] | None) -> tuple[Trial, dict[str, Any]]:
    """A new trial with its params: those that are queued, and for the others what the sampler proposes.

    Raises:
        OptlstmError: The sampler cannot compute with what the database holds.
    """
    if queued is not None:
        study.enqueue_trial(dict(queued))
    try:
        trial = study.ask()
        return trial, dict(space.suggest(trial))
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, AssertionError) as error:
        reason = in_a_line(named(error), 200)
        raise OptlstmError(f"sampler {sampler} cannot compute with what the study holds: {reason}") from error


def hand_over(known: dict[str, Any], sampler: BaseSampler) -> None:
    """Give a new sampler what the last one knows of ended trials: their params as numbers, and which all share.

    It would learn the same, and look at every param of every trial to do so: most of tpe's time at 10,000 trials.

    Args:
        known: By attribute; what is not there yet is taken from the sampler.
    """
    for name, value in list(vars(sampler).items()):
        if isinstance(value, _LEARNT):
            setattr(sampler, name, known.setdefault(name, value))
