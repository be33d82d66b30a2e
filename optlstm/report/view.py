"""What a report knows of a study: read once from the database, and everything else follows from it."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState

from optlstm.study.record import CONFIG_KEY
from optlstm.study.results import study_record
from optlstm.tasks.registry import TASKS, task_class
from optlstm.training.metric import Metric
from optlstm.util.format import short

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class StudyView:
    """A study's trials and what it was made with; `record` and `config` are empty for a study of someone else's.

    objectives: What each value is called. directions: `minimize` or `maximize`, one per objective.
    importances: Each hyperparameter's importance, the largest first; empty where it is not known.
    """

    name: str
    directions: tuple[str, ...]
    objectives: tuple[str, ...]
    trials: Sequence[FrozenTrial]
    record: Mapping[str, Any]
    config: Mapping[str, Any]
    attrs: Mapping[str, Any]
    importances: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, study: optuna.Study, name: str | None = None) -> StudyView:
        """name: Where the study object has another one, as a ledger's has."""
        record, directions = study_record(study), tuple(d.name.lower() for d in study.directions)
        return cls(
            name=name or study.study_name,
            directions=directions,
            objectives=tuple(study.metric_names or _objectives(record, len(directions))),
            trials=study.get_trials(deepcopy=False),
            record=record,
            config=study.user_attrs.get(CONFIG_KEY, {}),
            attrs=study.user_attrs,
        )

    @property
    def several(self) -> bool:
        return len(self.directions) > 1

    @property
    def objective(self) -> str:
        return self.objectives[0]

    @property
    def by_which(self) -> str:
        """What a rank goes by, to be said where there are several objectives."""
        return f" by {short(self.objective)}" if self.several else ""

    @property
    def sign(self) -> int:
        """Times a value of the first objective: smaller is better."""
        return 1 if self.directions[0] == "minimize" else -1

    @functools.cached_property
    def counts(self) -> Counter[str]:
        return Counter(trial.state.name for trial in self.trials)

    @functools.cached_property
    def ranking(self) -> list[FrozenTrial]:
        """Complete trials by their first value, the best first; of equal ones the earlier."""
        complete = [t for t in self.trials if t.state == TrialState.COMPLETE and all(map(math.isfinite, t.values))]
        return sorted(complete, key=lambda t: (self.sign * t.values[0], t.number))

    @functools.cached_property
    def front(self) -> list[FrozenTrial]:
        """Complete trials that no other beats in every objective, by their first value."""
        signs = [1 if d == "minimize" else -1 for d in self.directions]
        front: list[tuple[list[float], FrozenTrial]] = []
        for trial in self.ranking:
            values = [s * v for s, v in zip(signs, trial.values, strict=True)]
            if not any(_beats(other, values) for other, _ in front):
                front = [(other, t) for other, t in front if not _beats(values, other)] + [(values, trial)]
        return [trial for _, trial in front]

    @property
    def best(self) -> FrozenTrial | None:
        """The best by the first objective."""
        return next(iter(self.ranking), None)

    @functools.cached_property
    def default(self) -> FrozenTrial | None:
        """The trial of the space's defaults, where it is complete: the search begins with it."""
        start = {k: v["default"] for k, v in self.record.get("space", {}).items() if isinstance(v, dict)}
        for trial in self.trials[:1]:
            if start and trial in self.ranking and all(start.get(k) == v for k, v in trial.params.items()):
                return trial
        return None

    @functools.cached_property
    def searched(self) -> dict[str, BaseDistribution]:
        """Every param that some trial has, in the order of their first use, with its range."""
        found: dict[str, BaseDistribution] = {}
        for trial in self.trials:
            for name, distribution in trial.distributions.items():
                found.setdefault(name, distribution)
        return found

    @functools.cached_property
    def by_importance(self) -> list[str]:
        """The names of `searched`, those that mattered most first."""
        return sorted(self.searched, key=lambda name: -self.importances.get(name, -1.0))

    @functools.cached_property
    def is_population(self) -> bool:
        return any("member" in trial.user_attrs for trial in self.trials)

    @property
    def epochs(self) -> int | None:
        """Most epochs of a trial."""
        value: int | None = self.record.get("training", {}).get("epochs")
        return value


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    """As good in every objective and better in one; smaller is better."""
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def first_epoch(trial: FrozenTrial) -> int:
    """The epoch before a trial's own first one: 0, or where a copy's weights come from."""
    value: int = trial.user_attrs.get("from_epoch", 0)
    return value


def trained(trial: FrozenTrial) -> int:
    """The epochs a trial trained itself."""
    return max(0, (trial.last_step or 0) - first_epoch(trial))


def last_value(trial: FrozenTrial) -> float | None:
    """Its first value, or where it has none that of its last report."""
    if trial.values:
        return float(trial.values[0])
    return trial.intermediate_values.get(trial.last_step) if trial.last_step is not None else None


def choose(trials: Sequence[FrozenTrial], most: int, view: StudyView) -> list[FrozenTrial]:
    """At most `most` trials by number: the better part of them the best, and of the others every so-manieth."""
    if len(trials) <= most:
        return list(trials)
    among = {t.number for t in trials}
    best = [t for t in view.ranking if t.number in among][: most // 3]
    kept = {t.number for t in best}
    others = [t for t in trials if t.number not in kept]
    left = most - len(best)
    spread = [others[k * len(others) // left] for k in range(left)]
    return sorted([*best, *spread], key=lambda t: t.number)


def chosen_in_words(shown: int, of: int) -> str:
    """For the caption: what `choose` left out."""
    if shown >= of:
        return ""
    return f"{shown:,} of {of:,} trials are drawn: the best third of them by rank, the others evenly spaced by number."


def _objectives(record: Mapping[str, Any], count: int) -> list[str]:
    if count > 1:
        return list(record.get("objectives") or (f"objective {k + 1}" for k in range(count)))
    metric = deciding_metric(record)
    return [metric.label if metric else "value"]


def task_metrics(record: Mapping[str, Any]) -> tuple[Metric, ...]:
    """Those of the study's task; none where it is not ours."""
    task = record.get("task")
    return task_class(task).metrics if task in TASKS else ()


def deciding_metric(record: Mapping[str, Any]) -> Metric | None:
    metrics, wanted = task_metrics(record), record.get("training", {}).get("metric")
    return next((m for m in metrics if m.name == wanted), next(iter(metrics), None))
