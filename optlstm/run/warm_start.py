"""A study that starts from another of the same database: its trials, its best params, its ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optlstm.config.schema import is_lr_search
from optlstm.config.sources import layer
from optlstm.config.validate import default_choices
from optlstm.errors import InputError

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from optlstm.run.plan import Plan
    from optlstm.study.database.connection import Database

STARTS = {"promote": "promoted", "narrow_from": "narrowed", "import_from": "imported"}  # key: suffix of the new name
# What is not taken over: what the other study began with, how much it ran, and how its population went on.
_ITS_OWN = ("enqueue", "trials", "top", "scheduler", "pbt", *STARTS)
_OF_LR_SEARCH = ("task", "data", "model")


def started_from(database: Database | None, raw: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a new study, with what it takes over from the studies it starts from.

    Raises:
        InputError: A study is not there, is not of this program, or has too few trials; one line each.
    """
    given = {key: str(raw[key]) for key in STARTS if raw.get(key)}
    problems: list[str] = []
    whole = dict(raw)
    for key, name in given.items():
        try:
            whole = _started(key, name, _source(key, name, database), whole)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return whole


def imported_trials(database: Database, plan: Plan, name: str) -> Sequence[FrozenTrial]:
    """The trials that a new study takes over; none where the study of this name is there.

    Raises:
        InputError: They do not fit.
    """
    from optlstm.study.results import load_study, study_record
    from optlstm.study.warm_start import imported

    source = plan.record.imported
    if source is None:
        return ()
    try:
        load_study(database, name)
    except InputError:
        study = _source("import_from", source, database)
        return imported(study.get_trials(deepcopy=False), study_record(study), plan.record)
    return ()


def _source(key: str, name: str, database: Database | None) -> optuna.Study:
    from optlstm.study.results import load_study, study_record

    if database is None:
        raise InputError(f"{key}: study {name!r} is not in this database (it holds no study yet)")
    try:
        study = load_study(database, name)
    except InputError as error:
        raise InputError([f"{key}: {problem}" for problem in error.problems]) from None
    if not study_record(study):
        raise InputError(f"{key}: study {name!r} was not made by optlstm")
    return study


def _check_kind(key: str, name: str, study: optuna.Study, raw: Mapping[str, Any]) -> None:
    """Raises InputError where one of the two has an objective of its own, and the other trains our networks."""
    from optlstm.study.results import study_record

    record, own = study_record(study), raw.get("objective")
    if record.get("task") == "own":
        clash = own is None and bool(raw.get("data") or raw.get("task"))
        what = f"the objective {record['objective']['file']}"
    else:
        clash, what = own is not None, f"task {record.get('task')}"
    if clash:
        params = [param for param, entry in record["space"].items() if isinstance(entry, Mapping)]
        ours = f"the objective {Path(str(own)).name}" if own else "data to train on"
        raise InputError(
            f"{key}: study '{name}' is another search: it has {what} and params {', '.join(params)}; this has {ours}"
        )


def _started(key: str, name: str, study: optuna.Study, raw: Mapping[str, Any]) -> dict[str, Any]:
    from optlstm.study.record import CONFIG_KEY
    from optlstm.study.results import StudyResults, study_record
    from optlstm.study.warm_start import narrowed

    stored = study.user_attrs[CONFIG_KEY]
    _check_kind(key, name, study, raw)
    base = {k: v for k, v in stored.items() if v is not None and k not in _ITS_OWN}
    best = StudyResults(study).ranking
    if key == "narrow_from":
        space = narrowed(study_record(study)["space"], best, name)
        if is_lr_search(stored["sampler"]["name"], stored["space"]):  # how it drew is no part of what it found
            base = {k: v for k, v in base.items() if k in _OF_LR_SEARCH}
            space = {param: entry for param, entry in space.items() if isinstance(entry, Mapping)}
        base["space"] = space
    if key == "promote":
        if stored.get("objective"):
            raise InputError(f"promote: study '{name}' has an objective of its own, and no data to take more of")
        base["pruner"] = {"name": default_choices(raw)["pruner"]}
    whole = layer(base, raw)
    if key == "promote":
        if not best:
            raise InputError(f"promote: study '{name}' has no complete trial")
        top = best[: raw.get("top", 10) if isinstance(raw.get("top", 10), int) else 10]
        data = whole.get("data", {})
        whole["data"] = {**data, "fraction": raw.get("data", {}).get("fraction", 1.0)}
        whole["enqueue"] = [dict(trial.params) for trial in top]
        whole["trials"] = raw.get("trials", len(top))
    return whole
