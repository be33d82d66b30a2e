"""The config of a study: what is given, on top of what this study, or the one it starts from, was stored with.

`study/warm_start.py` computes what a study takes over from another's trials.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from optlstm.config.schema import REACH, is_lr_search
from optlstm.config.sources import layer
from optlstm.config.validate import default_choices
from optlstm.errors import InputError
from optlstm.run.plan import Plan
from optlstm.run.precision import without_auto
from optlstm.run.stored import check_data_place, stored_code, stored_config
from optlstm.study.database.connection import Database
from optlstm.study.results import StudyResults, find_study, load_study, missing_study, study_record
from optlstm.study.warm_start import imported, narrowed
from optlstm.util.user_code import Stored

STARTS = {"promote": "promoted", "narrow_from": "narrowed", "import_from": "imported"}  # key: suffix of the new name
FROM_MODEL = "from_model"
# What the other study began with, how much it ran, and the rules of its population.
_NOT_TAKEN_OVER = ("enqueue", "trials", "top", "scheduler", "pbt", *STARTS, FROM_MODEL)
_OF_THE_RUN = {"trials", "keep", "artifacts", "tracking"}  # beside `REACH`: what says nothing of the search
_KEPT_OF_LR_SEARCH = ("task", "data", "model")
_BUNDLED = "co2"  # the series of a study that names no data


def study_name(raw: Mapping[str, Any], study_file: Path | None) -> str:
    """The name given, or else that of what it starts from, of its file, of its data, of the bundled series."""
    path = _data_path(raw)
    if raw.get("name") is not None:
        return str(raw["name"])
    name = (
        next((f"{raw[key]}-{how}" for key, how in STARTS.items() if raw.get(key)), None)
        or (f"{Path(str(raw[FROM_MODEL])).absolute().name}-again" if raw.get(FROM_MODEL) else None)
        or (study_file.stem if study_file else None)
        or (Path(str(raw["objective"])).stem if raw.get("objective") else None)
        or (Path(str(path)).name.split(".")[0] if path else _BUNDLED)
    )
    return str(name)


def names_of(raw: Mapping[str, Any], name: str) -> Iterator[str]:
    """The name that is given; else the default one, and those to take where it is another search's."""
    yield name
    if not raw.get("name"):
        yield from (f"{name}-{number}" for number in itertools.count(2))


def with_name(raw: Mapping[str, Any], name: str) -> dict[str, Any]:
    """With a name, whatever was given as one: the config says what is wrong with it."""
    return {**raw, "name": name if raw.get("name") is None else raw["name"]}


def with_stored_config(
    database: Database | None, name: str, raw: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Stored]]:
    """`raw` on top of what the study of this name was made with, if there is one: its name is enough to continue it.

    A new study that starts from another takes over what `raw` does not say.

    Returns:
        The config, and its keys whose code only the database names.

    Raises:
        InputError: The study to start from is not there, or the study of this name started from another one.
    """
    study = find_study(database, name)
    if study is None:
        return _started_from(database, raw)
    stored = stored_config(study)
    problems = [
        f"{key}: study '{name}' exists and started from {stored.get(key)!r}, not {raw[key]!r}; give --name"
        for key in (*STARTS, FROM_MODEL)
        if raw.get(key) is not None and raw[key] != stored.get(key)
    ]
    top = stored.get("top")
    if stored.get("promote") and raw.get("top", top) != top:
        problems.append(f"top: study '{name}' exists and promoted {top}, not {raw['top']!r}; give --name")
    if problems := [*problems, *_same_scheduler(name, stored, raw)]:
        raise InputError(problems)
    if raw.get("timeout") is not None and "trials" not in raw:
        stored.pop("trials", None)  # a timeout alone: as many as fit
    if not _data_path(raw):
        check_data_place(_data_path(stored))
    return layer(stored, without_auto(raw)), stored_code(study, stored, raw)


def unknown_name(database: Database | None, name: str, raw: Mapping[str, Any]) -> list[str]:
    """A note on a new study that is given a name and no data: its name may be that of another one, mistyped.

    Raises:
        InputError: Nothing is given but the name and how to run it.
    """
    known = raw.get("objective") or any(raw.get(key) for key in STARTS) or _data_path(raw)
    if raw.get("name") is None or known or name.startswith(_BUNDLED):
        return []
    if database is not None and name in optuna.get_all_study_names(database.rdb):
        return []
    if raw.keys() <= REACH | _OF_THE_RUN:
        raise InputError(
            f"{missing_study(database, name)}; of a new one say what it learns from, such as --data FILE "
            f"(without a name: the bundled series {_BUNDLED})"
        )
    return [f"no study '{name}' here yet: a new one, of the bundled series {_BUNDLED}"]


def _data_path(raw: Mapping[str, Any]) -> Any:
    data = raw.get("data")
    return data.get("path") if isinstance(data, Mapping) else None


def _same_scheduler(name: str, stored: Mapping[str, Any], raw: Mapping[str, Any]) -> list[str]:
    """Before the rest is held against each other: the rules of another scheduler would only mislead."""
    old, new = stored.get("scheduler", "study"), raw.get("scheduler", stored.get("scheduler", "study"))
    return [] if new == old else [f"scheduler: study '{name}' exists and has {old!r}, not {new!r}; give --name"]


def _started_from(database: Database | None, raw: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Stored]]:
    """The config of a new study, with what it takes over from the studies it starts from, the code that they name too.

    Raises:
        InputError: A study is not there, is not of this program, or has too few trials; one line each.
    """
    given = {key: str(raw[key]) for key in STARTS if raw.get(key)}
    problems: list[str] = []
    config, code = dict(raw), dict[str, Stored]()
    for key, name in given.items():
        try:
            source = _source(key, name, database)
            config, before = _started(key, name, source, config), config
            code |= stored_code(source, config, before)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return config, code


def imported_trials(database: Database | None, plan: Plan, name: str) -> Sequence[FrozenTrial]:
    """The trials that a new study takes over; none where the study of this name is there.

    Raises:
        InputError: They do not fit.
    """
    source = plan.record.imported
    if source is None or find_study(database, name) is not None:
        return ()
    study = _source("import_from", source, database)
    return imported(study.get_trials(deepcopy=False), study_record(study), plan.record)


def _source(key: str, name: str, database: Database | None) -> optuna.Study:
    if database is None:
        raise InputError(f"{key}: {missing_study(None, name)}")
    try:
        study = load_study(database, name)
    except InputError as error:
        raise InputError([f"{key}: {problem}" for problem in error.problems]) from None
    if not study_record(study):
        raise InputError(f"{key}: study {name!r} was not made by optlstm")
    return study


def _check_kind(key: str, name: str, study: optuna.Study, raw: Mapping[str, Any]) -> None:
    """Raises InputError where one of the two has a custom objective, and the other trains networks on data."""
    record, objective = study_record(study), raw.get("objective")
    if record.get("task") == "own":
        clash = objective is None and bool(raw.get("data") or raw.get("task"))
        kind = f"the objective {record['objective']['file']}"
    else:
        clash, kind = objective is not None, f"task {record.get('task')}"
    if clash:
        params = [param for param, entry in record["space"].items() if isinstance(entry, Mapping)]
        wanted = f"the objective {Path(str(objective)).name}" if objective else "data to train on"
        raise InputError(
            f"{key}: study '{name}' is another search: it has {kind} and params {', '.join(params)}; this has {wanted}"
        )


def _started(key: str, name: str, study: optuna.Study, raw: Mapping[str, Any]) -> dict[str, Any]:
    stored = stored_config(study)
    _check_kind(key, name, study, raw)
    base = {k: v for k, v in stored.items() if k not in _NOT_TAKEN_OVER}
    best = StudyResults(study).ranking
    if key == "narrow_from":
        space = narrowed(study_record(study)["space"], best, name)
        if is_lr_search(stored["sampler"]["name"], stored["space"]):  # its sampler is no part of its result
            base = {k: v for k, v in base.items() if k in _KEPT_OF_LR_SEARCH}
            space = {param: entry for param, entry in space.items() if isinstance(entry, Mapping)}
        base["space"] = space
    if key == "promote":
        if stored.get("objective"):
            raise InputError(f"promote: study '{name}' has a custom objective, and no data to take more of")
        base["pruner"] = {"name": default_choices(raw)["pruner"]}
    config = layer(base, raw)
    if key == "promote":
        if not best:
            raise InputError(f"promote: study '{name}' has no complete trial")
        top = best[: raw.get("top", 10) if isinstance(raw.get("top", 10), int) else 10]
        data = config.get("data", {})
        config["data"] = {**data, "fraction": raw.get("data", {}).get("fraction", 1.0)}
        config["enqueue"] = [dict(trial.params) for trial in top]
        config["trials"] = raw.get("trials", len(top))
    return config
