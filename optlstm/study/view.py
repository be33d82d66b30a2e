"""What a study's trials amount to, as the process that runs them knows them."""

from __future__ import annotations

from collections import Counter

import optuna
from optuna.trial import FrozenTrial, TrialState

from optlstm.study.constraints import counts_as_trial
from optlstm.study.pareto import front
from optlstm.study.record import UID_KEY, StudyRecord

STOPPED_KEY = "optlstm:stopped"


class AskedStudy(optuna.Study):
    """Samplers that have tried everything call `stop()`, which Optuna allows only inside `optimize`."""

    exhausted = False

    def stop(self) -> None:
        self.exhausted = True


class StudyView:
    """The reading half of the ledger."""

    record: StudyRecord
    _study: AskedStudy

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials by number, as this process knows them; do not change them."""
        return self._study.get_trials(deepcopy=False)

    @property
    def counts(self) -> Counter[str]:
        return Counter(trial.state.name for trial in self.trials)

    @property
    def ended(self) -> int:
        """How many of the study's total are done."""
        return sum(trial.state.is_finished() and counts_as_trial(trial) for trial in self.trials)

    @property
    def ranking(self) -> list[FrozenTrial]:
        """Complete trials, the best first; of equal ones the earlier. Of several objectives the front, by its knee."""
        if self.record.objectives:
            return front(self._study)
        complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        sign = 1 if self.record.direction == "minimize" else -1
        return sorted(complete, key=lambda t: (sign * (t.value or 0.0), t.number))

    @property
    def best(self) -> FrozenTrial | None:
        return next(iter(self.ranking), None)

    @property
    def uid(self) -> str:
        """The study's own id: its name may stand in several databases."""
        return str(self._study.user_attrs[UID_KEY])

    @property
    def stopped(self) -> str | None:
        """Why the study took no more trials when it was last asked, or None."""
        reason: str | None = self._study.user_attrs.get(STOPPED_KEY)
        return reason
