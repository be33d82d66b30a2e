"""What a report knows of a study: read once from the database, and everything else follows from it."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from optlstm.study.record import CONFIG_KEY, NOTES_KEY, RECORD_KEY
from optlstm.study.results import StudyResults
from optlstm.tasks.registry import TASKS, goals, task_class
from optlstm.training.metric import Metric
from optlstm.util.format import short

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
LEAST_FOR_IMPORTANCE = 6  # complete trials


class StudyView(StudyResults):
    """The results of a study as they were when first asked for: all figures show the same trials."""

    @functools.cached_property
    def trials(self) -> list[FrozenTrial]:
        return super().trials

    @functools.cached_property
    def directions(self) -> tuple[str, ...]:
        return super().directions

    @functools.cached_property
    def attrs(self) -> Mapping[str, Any]:
        return super().attrs

    @functools.cached_property
    def by_value(self) -> list[FrozenTrial]:
        return super().by_value

    @functools.cached_property
    def front(self) -> list[FrozenTrial]:
        return super().front

    @property
    def record(self) -> Mapping[str, Any]:
        """What the study was made with, as it is stored; empty where another program made it."""
        record: Mapping[str, Any] = self.attrs.get(RECORD_KEY, {})
        return record

    @property
    def config(self) -> Mapping[str, Any]:
        """The config that continues the study; empty where another program made it."""
        config: Mapping[str, Any] = self.attrs.get(CONFIG_KEY, {})
        return config

    @property
    def notes(self) -> Sequence[str]:
        """What was understood of the data, and what looks odd in them, in a line each."""
        notes: Sequence[str] = self.attrs.get(NOTES_KEY, ())
        return notes

    @functools.cached_property
    def objectives(self) -> tuple[str, ...]:
        """What each value is called."""
        names = self.study.metric_names or _objectives(self.record, len(self.directions))
        return tuple(names) if len(names) == len(self.directions) else ("value",) * len(self.directions)

    @property
    def objective(self) -> str:
        return self.objectives[0]

    @property
    def by_which(self) -> str:
        """The objective that trials are ranked by, for captions; empty where there is only one."""
        return f" by {short(self.objective)}" if self.several else ""

    @property
    def sign(self) -> int:
        """1 or -1: of values of the first objective multiplied by it, the smaller is the better."""
        return 1 if self.directions[0] == "minimize" else -1

    @functools.cached_property
    def default(self) -> FrozenTrial | None:
        """The trial of the space's defaults, where it is complete: the search begins with it."""
        start = {k: v["default"] for k, v in self.record.get("space", {}).items() if isinstance(v, dict)}
        for trial in self.trials[:1]:
            if start and trial in self.by_value and all(start.get(k) == v for k, v in trial.params.items()):
                return trial
        return None

    @functools.cached_property
    def searched(self) -> dict[str, BaseDistribution]:
        """Every param that some trial has, in the order of their first use, with its range."""
        distributions: dict[str, BaseDistribution] = {}
        for trial in self.trials:
            for name, distribution in trial.distributions.items():
                distributions.setdefault(name, distribution)
        return distributions

    @functools.cached_property
    def importances(self) -> dict[str, float]:
        """Each param's share in what made trials good (PED-ANOVA), the largest first; empty where it is not known."""
        in_all = set(self.searched).intersection(*(t.params for t in self.by_value)) if self.by_value else set()
        varied = [n for n in self.searched if n in in_all and len({str(t.params[n]) for t in self.by_value}) > 1]
        if len(self.by_value) < LEAST_FOR_IMPORTANCE or len(varied) < 2:
            return {}
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances  # imports scikit-learn: 1 s

        # PED-ANOVA minimizes a target, and warns of it; of a study with one objective it knows the direction.
        target = (lambda trial: self.sign * trial.values[0]) if self.several else None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                evaluator = PedAnovaImportanceEvaluator()
                shares = get_param_importances(self.study, evaluator=evaluator, params=varied, target=target)
        except (ValueError, RuntimeError):  # too few trials that differ
            return {}
        clean = {name: float(share) for name, share in shares.items() if math.isfinite(share)}
        return clean if any(clean.values()) else {}

    @property
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


def first_epoch(trial: FrozenTrial) -> int:
    """The epoch a trial's training begins after: 0, or that of the weights it was copied from."""
    value: int = trial.user_attrs.get("from_epoch", 0)
    return value


def trained(trial: FrozenTrial) -> int:
    """Epochs of a trial's training, without those of the trial it was copied from."""
    return max(0, (trial.last_step or 0) - first_epoch(trial))


def seconds(trial: FrozenTrial) -> float:
    """From its start to its end; 0 where it has not ended."""
    return trial.duration.total_seconds() if trial.duration is not None else 0.0


def last_value(trial: FrozenTrial) -> float | None:
    """A trial's first value; where it has none, its last report."""
    if trial.values:
        return float(trial.values[0])
    return trial.intermediate_values.get(trial.last_step) if trial.last_step is not None else None


def choose(trials: Sequence[FrozenTrial], most: int, view: StudyView) -> list[FrozenTrial]:
    """At most `most` trials by number: a third of them the best, the others evenly spaced."""
    if len(trials) <= most:
        return list(trials)
    among = {t.number for t in trials}
    best = [t for t in view.by_value if t.number in among][: most // 3]
    kept = {t.number for t in best}
    others = [t for t in trials if t.number not in kept]
    left = most - len(best)
    spread = [others[k * len(others) // left] for k in range(left)]
    return sorted([*best, *spread], key=lambda t: t.number)


def chosen_in_words(shown: int, total: int) -> str:
    """For the caption: what `choose` left out."""
    if shown >= total:
        return ""
    return (
        f"{shown:,} of {total:,} trials are drawn: the best third of them by rank, the others evenly spaced by number."
    )


def _objectives(record: Mapping[str, Any], count: int) -> list[str]:
    if count > 1:
        return list(record.get("objectives") or (f"objective {k + 1}" for k in range(count)))
    metric = deciding_metric(record)
    return [metric.label if metric else "value"]


def task_metrics(record: Mapping[str, Any]) -> tuple[Metric, ...]:
    """The metrics of the study's task; none where another program made the study."""
    task = record.get("task")
    if task not in TASKS:
        return ()
    kind = record.get("data", {}).get("kind", next(iter(task_class(task).goals)))
    return goals(task, kind).metrics


def deciding_metric(record: Mapping[str, Any]) -> Metric | None:
    metrics, wanted = task_metrics(record), record.get("training", {}).get("metric")
    if metrics and ":" in str(wanted):
        return Metric(str(wanted))
    return next((m for m in metrics if m.name == wanted), next(iter(metrics), None))
