"""Checks of a study, its database and this machine: every fault with its remedy."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from optlstm.console.study_table import counts_in_words
from optlstm.errors import InputError, OptlstmError
from optlstm.run.owner import adopt_command, check_moved, claim, owner_problem, owner_remedy
from optlstm.run.retention import kept_best, study_folder
from optlstm.study.database.connection import Database, open_to_read
from optlstm.study.database.statements import lock_study
from optlstm.study.database.url import parse_url, shown
from optlstm.study.leases import Lease
from optlstm.study.record import CONFIG_KEY, REASON_KEY, UID_KEY
from optlstm.study.results import StudyResults, load_study, study_record
from optlstm.util.extras import install
from optlstm.util.files import Location, absolute, is_url, join, open_folder, trial_name
from optlstm.util.format import many
from optlstm.util.program import program

LEAST_FREE_BYTES = 1 << 30
REAPED = "given up by doctor --fix: its process was gone"
_TRIAL = re.compile(r"trial-(\d{5,})")
_STUDY = re.compile(r".+-[0-9a-f]{8}")


@dataclass(frozen=True)
class Finding:
    """One line of the report. `fix`: what `--fix` would do about it; called at most once; `fixed` says so."""

    subject: str
    state: Literal["ok", "note", "fault"]
    message: str
    remedy: str = ""
    fix: Callable[[], None] | None = None
    fixed: str = "removed"


def examine(url: str, name: str | None, storage_path: Location, address: str | None) -> Iterator[Finding]:
    """Look at everything; with `name`, at that study alone.

    Raises:
        InputError: There is no such study.
    """
    yield _versions()
    try:
        database = open_to_read(url)
    except InputError as error:
        yield Finding("storage", "note", str(error).removeprefix("storage: "))
    except OptlstmError as error:
        yield Finding("storage", "fault", str(error).removeprefix("storage: "), _storage_remedy(url, str(error)))
    else:
        yield Finding("storage", "ok", f"{shown(parse_url(url))}, schema {database.rdb.get_current_version()}")
        yield from _studies(database, name, storage_path)
        database.close()
    yield from _disk(url, storage_path)
    yield _gpu()
    yield from _ray(address, storage_path)


def adopt(url: str, name: str, storage_path: Location) -> None:
    """Make a study's folder that of this database, which was moved.

    Raises:
        InputError: There is no such study, or this is a copy of the database that has it.
    """
    with contextlib.closing(open_to_read(url)) as database:
        study = load_study(database, name)
        if uid := study.user_attrs.get(UID_KEY):
            folder = study_folder(absolute(storage_path), name, str(uid))
            check_moved(folder, database)
            claim(folder, database)


def _storage_remedy(url: str, error: str) -> str:
    if "upgrade" in error:
        return "optuna storage upgrade --storage URL"
    if parse_url(url).get_backend_name() == "sqlite":
        return "no SQLite database, or a damaged one: restore a backup, or give another --storage"
    return "is it running, and the URL right?"


def _versions() -> Finding:
    names = [name for name in ("optlstm", "optuna", "torch", "ray", "sqlalchemy") if importlib.util.find_spec(name)]
    installed = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    return Finding("versions", "ok", f"Python {platform.python_version()}, {installed}")


def _studies(database: Database, name: str | None, storage_path: Location) -> Iterator[Finding]:
    names = [name] if name else sorted(optuna.get_all_study_names(database.rdb))
    ours, damaged = set(), False
    for study_name in names:
        study = load_study(database, study_name)
        try:
            attrs, trials = study.user_attrs, study.get_trials(deepcopy=False)
            folder = study_folder(absolute(storage_path), study_name, str(attrs.get(UID_KEY, "")))
        except InputError as error:
            damaged = True
            yield Finding(f"study {study_name}", "fault", str(error).removeprefix("storage: "))
            continue
        if not study_record(study):
            yield Finding(
                f"study {study_name}", "note", f"{many(len(trials), 'trial')}, not made by optlstm; left alone"
            )
            continue
        ours.add(str(folder))
        findings = [*_running(database, study, trials), *_checkpoints(database, study, storage_path, folder)]
        if all(finding.state == "ok" for finding in findings):
            findings = [Finding(f"study {study_name}", "ok", "; ".join(finding.message for finding in findings))]
        yield from findings
    if name is None and not damaged:  # whose folder is whose is not known otherwise
        yield from _unknown_folders(database, storage_path, ours)


def _running(database: Database, study: optuna.Study, trials: list[FrozenTrial]) -> Iterator[Finding]:
    """Every RUNNING trial: which process trains it, or that none does."""
    name = study.study_name
    running = [t for t in trials if t.state == TrialState.RUNNING]
    if not running:
        yield Finding(f"study {name}", "ok", f"{counts_in_words(Counter(t.state.name for t in trials))}")
    for trial in running:
        subject, lease = f"study {name}", Lease.of(trial.system_attrs)
        if lease is not None and not lease.is_void(database.now()):
            yield Finding(subject, "ok", f"trial {trial.number} is being trained by {lease.owner}")
            continue
        if lease is not None and lease.expires == 0.0:  # given back: an orderly stop
            message = f"trial {trial.number} was stopped after epoch {trial.last_step or 0}"
            yield Finding(subject, "note", message, f"continue it: {program()} study --name {shlex.quote(name)}")
            continue
        if lease is None:
            message = f"trial {trial.number} is RUNNING and was started by another program; its state says nothing"
        else:
            message = f"trial {trial.number} is RUNNING, and {lease.owner} is gone (epoch {trial.last_step or 0})"
        remedy = "continue the study, or end the trial as failed: doctor --fix"
        if "member" in trial.user_attrs:
            remedy = "continue the study (doctor --fix would end this member, and the population with it)"
        yield Finding(
            subject, "fault", message, remedy, partial(_reap, database, study, trial._trial_id), "ended as failed"
        )


def _reap(database: Database, study: optuna.Study, trial_id: int) -> None:
    """End a RUNNING trial as failed, unless somebody has continued it since it was examined."""
    rdb = database.rdb
    with database.transaction():
        lock_study(database.connection, study._study_id)
        trial = rdb.get_trial(trial_id)
        lease = Lease.of(trial.system_attrs)
        taken = lease is not None and not lease.is_void(database.now())
        if trial.state == TrialState.RUNNING and not taken:
            rdb.set_trial_user_attr(trial_id, REASON_KEY, REAPED)
            rdb.set_trial_state_values(trial_id, TrialState.FAIL)


def _checkpoints(
    database: Database, study: optuna.Study, storage_path: Location, folder: Location
) -> Iterator[Finding]:
    """Weights of trials that the study does not have, and stopped or best trials whose weights are damaged.

    A study may run meanwhile: what seems wrong is a fault only where the study, read again after it, still says so.
    """
    from optlstm.training.checkpoints import newest_checkpoint

    subject = f"checkpoints of {study.study_name}"
    if problem := owner_problem(folder, database):
        adopt = adopt_command(study.study_name, storage_path, database)
        remedy = f"give another --storage-path (--fix changes nothing here); if this is that database, moved: {adopt}"
        yield Finding(subject, "fault", problem, remedy)
        return  # what is in it is not for this database to judge
    files = open_folder(folder)
    saved = {int(match[1]): n for n in files.names() if (match := _TRIAL.fullmatch(n))}
    states = _states(study)  # read later: a trial is there before its folder
    for number, entry in sorted(saved.items()):
        if number >= len(states) and number not in states:
            message = f"{join(folder, entry)}: the study has no such trial"
            yield Finding(subject, "fault", message, "doctor --fix", partial(_remove, database, study, number, folder))
    # A custom objective need not save any; what was saved leaves its folder, unless all of it was removed.
    custom = study.user_attrs.get(CONFIG_KEY, {}).get("objective") is not None
    needed = [number for number in _needed(database, study) if not custom or number in saved]
    damaged = [number for number in needed if newest_checkpoint(join(folder, trial_name(number))) is None]
    damaged = [number for number in _needed(database, study) if number in damaged] if damaged else []
    for number in damaged:
        remedy = "continue the study: the trial starts again from its newest whole checkpoint"
        if _states(study)[number].is_finished():
            remedy = "train it again: schedule --replay, or continue the search"
        message = f"{join(folder, trial_name(number))}: missing or damaged"
        yield Finding(subject, "fault", message, remedy)
    if not damaged:
        yield Finding(subject, "ok", f"weights of {len(needed)} kept, all whole" if needed else "no weights kept")


def _states(study: optuna.Study) -> dict[int, TrialState]:
    """By number, which a database may have beyond its count of trials."""
    return {trial.number: trial.state for trial in study.get_trials(deepcopy=False)}


def _needed(database: Database, study: optuna.Study) -> list[int]:
    """The trials that must have whole checkpoints now: those that were stopped, and the best.

    One that is being trained writes and removes its own meanwhile.
    """
    results, now = StudyResults(study), database.now()
    running = [t for t in results.trials if t.state == TrialState.RUNNING and t.last_step]
    leases = {t.number: Lease.of(t.system_attrs) for t in running}
    stopped = [number for number, lease in leases.items() if lease is None or lease.is_void(now)]
    return stopped + [t.number for t in results.ranking[: kept_best(study.user_attrs.get(CONFIG_KEY, {}))]]


def _remove(database: Database, study: optuna.Study, number: int, folder: Location) -> None:
    """Remove a trial's folder, unless the study has that trial since it was examined."""
    with database.transaction():
        lock_study(database.connection, study._study_id)  # none begins before this is over
        numbers = {trial.number for trial in database.rdb.get_all_trials(study._study_id, deepcopy=False)}
        if number >= len(numbers) and number not in numbers:
            open_folder(folder).remove(trial_name(number))


def _unknown_folders(database: Database, storage_path: Location, ours: set[str]) -> Iterator[Finding]:
    root = absolute(storage_path)
    for name in sorted(open_folder(root).names()):
        path = join(root, name)
        if _STUDY.fullmatch(name) and str(path) not in ours and any(map(_TRIAL.fullmatch, open_folder(path).names())):
            owner, remedy = owner_remedy(path, database)
            yield Finding("checkpoints", "note", f"{path}: no study of this database{owner}", remedy)


def _disk(url: str, storage_path: Location) -> Iterator[Finding]:
    folders: dict[str, Path] = {}
    if not is_url(storage_path):
        folders["checkpoints"] = Path(absolute(storage_path))
    database = parse_url(url)
    if database.get_backend_name() == "sqlite":
        folders["database"] = Path(database.database or "").absolute().parent
    for content, folder in folders.items():
        existing = next((p for p in (folder, *folder.parents) if p.exists()), Path("/"))
        free = shutil.disk_usage(existing).free
        state: Literal["ok", "fault"] = "ok" if free >= LEAST_FREE_BYTES else "fault"
        remedy = "" if state == "ok" else "make room, or give another --storage-path"
        yield Finding(f"disk for {content}", state, f"{free / 1e9:.1f} GB free at {existing}", remedy)


def _gpu() -> Finding:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = ", ".join(torch.cuda.get_device_name(i) for i in range(count))
    return Finding("gpu", "ok", names or "none; trials train on the CPU")


def _ray(address: str | None, storage_path: Location) -> Iterator[Finding]:
    if address is None:
        yield Finding("ray", "ok", "not looked at; give --address to check a cluster")
        return
    if importlib.util.find_spec("ray") is None:
        yield Finding("ray", "fault", "ray is not installed", install("ray"))
        return
    from optlstm.backends.ray.runner import describe
    from optlstm.config.schema import RayConfig

    try:
        ray = RayConfig.model_validate({"address": address})
        rows: list[tuple[str, Any]] = describe(ray, None, absolute(storage_path))
    except InputError as error:
        for problem in error.problems:
            yield Finding("ray", "fault", problem, "docs/ray.md")
        return
    yield from (Finding("ray", "ok", f"{name}: {value}") for name, value in rows if name != "per trial")
    yield Finding("ray", "ok", f"every node sees {storage_path}")
