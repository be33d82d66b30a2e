"""What a study's trials amount to, as plain data: the one source of `show`, `studies` and the summary after a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from optlstm.errors import InputError, did_you_mean
from optlstm.study.ledger import REASON_KEY
from optlstm.study.record import RECORD_KEY
from optlstm.study.storage import Database


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
        "value": _value(trial),
        "epochs": trial.last_step or 0,
        "seconds": seconds,
        "reason": trial.user_attrs.get(REASON_KEY),
        "params": dict(trial.params),
        "attrs": {k: v for k, v in trial.user_attrs.items() if k not in (REASON_KEY, "traceback")},
        "intermediate": {str(step): value for step, value in sorted(trial.intermediate_values.items())},
    }


def _value(trial: FrozenTrial) -> float | list[float] | None:
    """One number, or a list where the study has several objectives (ours have one; others' are shown too)."""
    values: list[float] | None = trial.values
    return values[0] if values and len(values) == 1 else values


def summarise(name: str, direction: str, trials: Sequence[FrozenTrial], best: FrozenTrial | None) -> dict[str, Any]:
    """{name, direction, best: {number, value, params} or null, counts: {state: n}, trials: [...]}."""
    return {
        "name": name,
        "direction": direction,
        "best": best and {"number": best.number, "value": best.value, "params": dict(best.params)},
        "counts": dict(Counter(trial.state.name for trial in trials)),
        "trials": [trial_row(trial) for trial in trials],
    }


def summarise_study(study: optuna.Study) -> dict[str, Any]:
    trials = study.get_trials(deepcopy=False)
    directions = [direction.name.lower() for direction in study.directions]
    has_best = len(directions) == 1 and any(trial.state == TrialState.COMPLETE for trial in trials)
    return summarise(study.study_name, ", ".join(directions), trials, study.best_trial if has_best else None)
