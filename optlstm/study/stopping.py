"""When a study stops early: rules that look at its trials alone, so that every backend stops at the same trial."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optuna import Study
from optuna.exceptions import ExperimentalWarning
from optuna.terminator import BaseErrorEvaluator
from optuna.trial import FrozenTrial

from optlstm.study.failures import FAILURES_IN_A_ROW
from optlstm.study.seeds import derive_seed

if TYPE_CHECKING:
    from optlstm.study.results import StudyResults  # it brings the database


@dataclass(frozen=True)
class Stopping:
    """The options of `[stop]`.

    Args:
        value: A complete trial as good as this ends the study.
        no_improvement: So many ended trials after the best one end the study.
        terminator: Optuna's terminator ends the study.
        failures: So many trials in a row that failed alike end the study; 0: never.
    """

    value: float | None = None
    no_improvement: int | None = None
    terminator: bool = False
    failures: int = FAILURES_IN_A_ROW


class Stopper:
    """Asks the rules before every new trial. Trials that run already are finished. `seed` is the study's."""

    def __init__(self, rules: Stopping, seed: int) -> None:
        self.rules, self.seed = rules, seed
        self._threshold: BaseErrorEvaluator | None = None

    def reason(self, results: StudyResults) -> str | None:
        """Why the study takes no new trial, or None."""
        rules = self.rules
        if rules == Stopping(failures=rules.failures) or (best := results.best) is None:  # no other rule is given
            return None
        if reason := self.value_reason(best, results.directions[0]):
            return reason
        since = sum(t.state.is_finished() and t.number > best.number for t in results.trials)
        if rules.no_improvement is not None and since >= rules.no_improvement:
            return f"no improvement over {rules.no_improvement} trials, the best is trial {best.number}"
        if rules.terminator and self._terminates(results.study):
            return "Optuna's terminator: what is left to gain is below the noise"
        return None

    def value_reason(self, best: FrozenTrial, direction: str) -> str | None:
        """Why the best trial ends the study by its value, or None."""
        limit, value = self.rules.value, best.value
        if limit is None or value is None:
            return None
        reached = value <= limit if direction == "minimize" else value >= limit
        return f"stop value {limit:g} reached by trial {best.number} ({value:.6g})" if reached else None

    def _terminates(self, study: Study) -> bool:
        """The gap of expected minimum simple regrets (Ishibashi et al. 2023), from 30 complete trials on.

        Its random numbers follow from (study seed, number of trials): a resumed study stops at the same trial.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # deprecated in Optuna 4.9, there until 6.0
            warnings.simplefilter("ignore", ExperimentalWarning)
            from optuna.terminator import EMMREvaluator, MedianErrorEvaluator, Terminator

            if self._threshold is None:  # from the first trials alone, so it never changes
                first = EMMREvaluator(seed=derive_seed("terminator", self.seed, 0))
                self._threshold = MedianErrorEvaluator(first)
            now = EMMREvaluator(seed=derive_seed("terminator", self.seed, len(study.trials)))
            return bool(Terminator(now, self._threshold).should_terminate(study))
