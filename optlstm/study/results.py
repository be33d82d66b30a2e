"""What a study's trials amount to: the one source of `show`, `studies`, the report and the ledger."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from optlstm.errors import InputError, did_you_mean
from optlstm.study.database.connection import Database
from optlstm.study.leases import Lease
from optlstm.study.pareto import by_knee, pareto_front
from optlstm.study.record import NODES_KEY, REASON_KEY, RECORD_KEY, STOPPED_KEY, UID_KEY


def best_epoch(trial: FrozenTrial, direction: str) -> int | None:
    """Of the values that a trial has reported, the best one's epoch, the first of equal ones."""
    sign = 1 if direction == "minimize" else -1
    values = {epoch: value for epoch, value in trial.intermediate_values.items() if math.isfinite(value)}
    return min(values, key=lambda epoch: (sign * values[epoch], epoch), default=None)


class StudyResults:
    """The results of an Optuna study, read from it at every access: it may grow meanwhile.

    Args:
        study: Of any storage.
        name: Where the study object has another name than the study, as a ledger's has.
    """

    def __init__(self, study: optuna.Study, name: str | None = None) -> None:
        self.study = study
        self.name = name or study.study_name

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials by number; do not change them."""
        return self.study.get_trials(deepcopy=False)

    @property
    def directions(self) -> tuple[str, ...]:
        """`minimize` or `maximize`, one for each objective."""
        directions = tuple(direction.name.lower() for direction in self.study.directions)
        if not directions:
            raise InputError(f"storage: study '{self.name}' has no direction; the database is damaged or altered")
        return directions

    @property
    def several(self) -> bool:
        """Whether there are several objectives."""
        return len(self.directions) > 1

    @property
    def attrs(self) -> Mapping[str, Any]:
        """The study's user attributes."""
        return self.study.user_attrs

    @property
    def uid(self) -> str:
        """The study's own id: its name may stand in several databases."""
        return str(self.attrs[UID_KEY])

    @property
    def stopped(self) -> str | None:
        """Why the study took no more trials when it was last asked, or None."""
        reason: str | None = self.attrs.get(STOPPED_KEY)
        return reason

    @property
    def counts(self) -> Counter[str]:
        """How many trials are in each state."""
        return Counter(trial.state.name for trial in self.trials)

    @property
    def by_value(self) -> list[FrozenTrial]:
        """Complete trials by their first value, the best first; of equal ones the earlier.

        Those with a value that is not finite, which other programs may have written, are left out.
        """
        sign = 1 if self.directions[0] == "minimize" else -1
        finite = [t for t in self.trials if t.state == TrialState.COMPLETE and all(map(math.isfinite, t.values))]
        return sorted(finite, key=lambda trial: (sign * trial.values[0], trial.number))

    @property
    def front(self) -> list[FrozenTrial]:
        """The Pareto front of several objectives, in the order of `by_value`."""
        return pareto_front(self.by_value, self.directions)

    @property
    def ranking(self) -> list[FrozenTrial]:
        """The best trial first: complete trials by value; of several objectives the front, its knee first."""
        return by_knee(self.front, self.directions) if self.several else self.by_value

    @property
    def best(self) -> FrozenTrial | None:
        return next(iter(self.ranking), None)

    @property
    def paused(self) -> list[FrozenTrial]:
        """Unfinished trials that no process trains and that have reported, the best epoch first; of one objective."""
        if self.several:
            return []
        best = min if self.directions[0] == "minimize" else max
        sign = 1 if best is min else -1
        waiting = [t for t in self.trials if is_paused(t) and t.intermediate_values]
        return sorted(waiting, key=lambda t: (sign * best(t.intermediate_values.values()), t.number))

    @property
    def nodes(self) -> dict[str, list[int]]:
        """The nodes of a cluster, and the numbers of the trials that each trained an epoch of."""
        nodes: dict[str, list[int]] = {}
        for trial in self.trials:
            for node in trial.system_attrs.get(NODES_KEY, ()):
                nodes.setdefault(node, []).append(trial.number)
        return nodes

    def summary(self) -> dict[str, Any]:
        """{name, direction, best: {number, value, params} or null, counts: {state: n}, at_work, trials: [...]}.

        `at_work`: whether a process trains one of its trials now. `stopped` says why, where something ended the study
        early; `nodes` on which nodes of a cluster which trials ran. With several objectives `direction` names each of
        theirs, `best` is the knee of the Pareto front, and `front` holds the numbers of its trials.
        """
        trials, ranking = self.trials, self.ranking
        best = ranking[0] if ranking else None
        return {
            "name": self.name,
            "direction": ", ".join(self.directions),
            "best": best and {"number": best.number, "value": value_of(best), "params": dict(best.params)},
            "counts": dict(Counter(trial.state.name for trial in trials)),
            "at_work": any(map(is_at_work, trials)),
            **({"stopped": self.stopped} if self.stopped else {}),
            **({"nodes": nodes} if (nodes := self.nodes) else {}),
            **({"front": sorted(trial.number for trial in ranking)} if self.several else {}),
            "trials": [trial_row(trial) for trial in trials],
        }


def load_study(database: Database, name: str) -> optuna.Study:
    """Raises InputError when the database has no such study, naming the nearest."""
    try:
        return optuna.load_study(study_name=name, storage=database.rdb)
    except KeyError:
        raise InputError(missing_study(database, name)) from None


def missing_study(database: Database | None, name: str) -> str:
    """That a database has no such study, with the nearest and the others; None: there is no database."""
    names = [] if database is None else optuna.get_all_study_names(database.rdb)
    known = f" (studies: {', '.join(sorted(names)[:20])})" if names else " (it holds no study yet)"
    return f"study {name!r} is not in this database{did_you_mean(name, names)}{known}"


def find_study(database: Database | None, name: str) -> optuna.Study | None:
    """None where there is no such study."""
    if database is None or name not in optuna.get_all_study_names(database.rdb):
        return None
    return load_study(database, name)


def study_record(study: optuna.Study) -> dict[str, Any]:
    """What the study was made with; empty where another program made it."""
    record: dict[str, Any] = study.user_attrs.get(RECORD_KEY, {})
    return record


def trial_row(trial: FrozenTrial) -> dict[str, Any]:
    """A trial for programs, as `show --format json` prints it."""
    return {
        "number": trial.number,
        "state": trial.state.name,
        "value": value_of(trial),
        "epochs": trial.last_step or 0,
        "seconds": _seconds(trial),
        **({"paused": True} if is_paused(trial) else {}),
        "reason": _text(trial.user_attrs.get(REASON_KEY)),
        **({"traceback": _text(trial.user_attrs["traceback"])} if "traceback" in trial.user_attrs else {}),
        "params": dict(trial.params),
        "attrs": {k: v for k, v in trial.user_attrs.items() if k not in (REASON_KEY, "traceback")},
        "intermediate": {str(step): value for step, value in sorted(trial.intermediate_values.items())},
    }


def _seconds(trial: FrozenTrial) -> float | None:
    """From its start to its end, or to where it was paused; None: it has not begun, or is at work."""
    if trial.datetime_start is None:
        return None
    if trial.datetime_complete is not None:
        return (trial.datetime_complete - trial.datetime_start).total_seconds()
    lease = Lease.of(trial.system_attrs) if is_paused(trial) else None
    if lease is None or lease.last_held is None:
        return None
    return max(0.0, lease.last_held - trial.datetime_start.timestamp())


def train_seconds(trial: FrozenTrial) -> float:
    """What its epochs took, without the time around them; 0 where it does not say."""
    seconds = trial.user_attrs.get("train_seconds", 0.0)
    return float(seconds) if isinstance(seconds, int | float) else 0.0


def refit_seconds(trial: FrozenTrial, epochs: int) -> float:
    """What training it again should take: to its best epoch, or to the last of `epochs` where it came so far."""
    last, best = trial.last_step or 1, trial.user_attrs.get("best_epoch")
    share = 1.0 if last >= epochs or not isinstance(best, int) else best / last
    return share * train_seconds(trial)


def _text(value: Any) -> str | None:
    """Of another program's attribute, which may hold anything."""
    return None if value is None else str(value)


def is_at_work(trial: FrozenTrial) -> bool:
    """Whether some process trains it now: its state stays RUNNING when that process dies."""
    lease = Lease.of(trial.system_attrs) if trial.state == TrialState.RUNNING else None
    return lease is not None and not lease.is_void(time.time())


def is_paused(trial: FrozenTrial) -> bool:
    """Whether it waits for the next run of its study: it has not ended, and no process trains it."""
    return trial.state == TrialState.RUNNING and not is_at_work(trial)


def value_of(trial: FrozenTrial) -> float | list[float] | None:
    """One number, or a list where the study has several objectives."""
    values: list[float] | None = trial.values
    return values[0] if values and len(values) == 1 else values
