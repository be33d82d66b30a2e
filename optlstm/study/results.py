"""What a study's trials amount to, as plain data: the one source of `show`, `studies` and the summary after a run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from optlstm.errors import InputError, did_you_mean
from optlstm.study.database.connection import Database
from optlstm.study.database.lease import Lease
from optlstm.study.ledger import REASON_KEY
from optlstm.study.pareto import front
from optlstm.study.record import RECORD_KEY
from optlstm.study.view import STOPPED_KEY


def load_study(database: Database, name: str) -> optuna.Study:
    """Raises InputError when the database has no such study, naming the nearest."""
    try:
        return optuna.load_study(study_name=name, storage=database.rdb)
    except KeyError:
        names = optuna.get_all_study_names(database.rdb)
        known = f" (studies: {', '.join(sorted(names)[:20])})" if names else " (it holds no study yet)"
        raise InputError(f"study {name!r} is not in this database{did_you_mean(name, names)}{known}") from None


def study_record(study: optuna.Study) -> dict[str, Any]:
    """What optlstm stored of the study, or an empty table for a study of someone else's."""
    record: dict[str, Any] = study.user_attrs.get(RECORD_KEY, {})
    return record


def trial_row(trial: FrozenTrial) -> dict[str, Any]:
    seconds = None
    if trial.datetime_start and trial.datetime_complete:
        seconds = (trial.datetime_complete - trial.datetime_start).total_seconds()
    return {
        "number": trial.number,
        "state": trial.state.name,
        "value": value_of(trial),
        "epochs": trial.last_step or 0,
        "seconds": seconds,
        "reason": trial.user_attrs.get(REASON_KEY),
        **({"traceback": trial.user_attrs["traceback"]} if "traceback" in trial.user_attrs else {}),
        "params": dict(trial.params),
        "attrs": {k: v for k, v in trial.user_attrs.items() if k not in (REASON_KEY, "traceback")},
        "intermediate": {str(step): value for step, value in sorted(trial.intermediate_values.items())},
    }


def is_at_work(trial: FrozenTrial) -> bool:
    """Whether some process trains it now: its state stays RUNNING when that process dies."""
    lease = Lease.of(trial.system_attrs) if trial.state == TrialState.RUNNING else None
    return lease is not None and not lease.is_void(time.time())


def value_of(trial: FrozenTrial) -> float | list[float] | None:
    """One number, or a list where the study has several objectives."""
    values: list[float] | None = trial.values
    return values[0] if values and len(values) == 1 else values


def summarise(
    name: str,
    directions: Sequence[str],
    trials: Sequence[FrozenTrial],
    ranking: Sequence[FrozenTrial],
    stopped: str | None = None,
) -> dict[str, Any]:
    """{name, direction, best: {number, value, params} or null, counts: {state: n}, at_work, trials: [...]}.

    `at_work`: whether a process trains one of its trials now. `stopped` says why, where something ended the study
    early. With several objectives `direction` names each of theirs, `best` is the knee of the Pareto front, and `front`
    holds the numbers of its trials.

    Args:
        ranking: The best trial first, if there is one; of several objectives the front, its knee first.
    """
    best = next(iter(ranking), None)
    return {
        "name": name,
        "direction": ", ".join(directions),
        "best": best and {"number": best.number, "value": value_of(best), "params": dict(best.params)},
        "counts": dict(Counter(trial.state.name for trial in trials)),
        "at_work": any(is_at_work(trial) for trial in trials),
        **({"stopped": stopped} if stopped else {}),
        **({"front": sorted(trial.number for trial in ranking)} if len(directions) > 1 else {}),
        "trials": [trial_row(trial) for trial in trials],
    }


def ranked(study: optuna.Study) -> list[FrozenTrial]:
    """Complete trials, the best first; of several objectives the front, its knee first."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(study.directions) > 1:
        return front(study) if complete else []
    sign = -1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1
    return sorted(complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number))


def summarise_study(study: optuna.Study) -> dict[str, Any]:
    trials = study.get_trials(deepcopy=False)
    directions = [direction.name.lower() for direction in study.directions]
    return summarise(study.study_name, directions, trials, ranked(study), study.user_attrs.get(STOPPED_KEY))
