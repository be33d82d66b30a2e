"""A study, whole, into another database: trials, attributes, checkpoints."""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from optlstm.errors import InputError, OptlstmError
from optlstm.run.retention import study_folder
from optlstm.run.trial_log import LOGS
from optlstm.study.database.connection import Database
from optlstm.study.database.optuna_tables import write_trials
from optlstm.study.leases import LEASE_KEY, Lease
from optlstm.study.record import FOLDER_KEY, UID_KEY
from optlstm.study.results import load_study
from optlstm.util.files import Location, absolute, join, open_folder, shown_location
from optlstm.util.format import many

_ARTIFACTS = "dashboard:artifacts:"
_PARENTS = ":parent:"  # in the study's system attributes, from optuna.samplers._ga._base


def copy_study(
    source: Database,
    name: str,
    target: Database,
    new_name: str,
    folders: tuple[Location, Location],
    progress: Callable[[str], None] = lambda _: None,
) -> int:
    """Copy a study with its checkpoints. Both can be continued, independently of each other.

    The checkpoints are copied first, the study in one transaction after them: what is interrupted leaves no half study.

    Args:
        folders: The storage paths below which the checkpoints lie, and below which their copies go.
        progress: Called with a line about what is being done.

    Returns:
        The number of trials.

    Raises:
        InputError: There is no such study, it is being run, or the target has a study of that name.
        OptlstmError: The copy differs from what was read.
    """
    study = load_study(source, name)
    _check_not_running(study.get_trials(deepcopy=False), source.now())
    if new_name in optuna.get_all_study_names(target.rdb):
        raise InputError(f"study {new_name!r} is in that database already; name the copy: --as NAME")
    uid, new_uid = str(study.user_attrs.get(UID_KEY, "")), uuid.uuid4().hex
    copied = study_folder(absolute(folders[1]), new_name, new_uid)
    try:
        if uid:
            for copied_name in _copy_files(study_folder(absolute(folders[0]), name, uid), copied):
                progress(f"checkpoints: {copied_name}")
        progress("study: reading its trials")
        # All of it before the transaction begins: source and target may be one SQLite file, with one writer at a time.
        attrs = {**study.user_attrs, **({UID_KEY: new_uid, FOLDER_KEY: str(copied)} if uid else {})}
        system_attrs = study._storage.get_study_system_attrs(study._study_id)
        snapshot = _Snapshot(study.directions, attrs, system_attrs, study.get_trials(deepcopy=False))
        _check_not_running(snapshot.trials, source.now())
        progress(f"study: writing {many(len(snapshot.trials), 'trial')}")
        with target.transaction():
            _write(snapshot, target, new_name)
    except BaseException:
        for entry in open_folder(copied).names():
            open_folder(copied).remove(entry)
        open_folder(copied).tidy()
        raise
    return len(snapshot.trials)


@dataclass(frozen=True)
class _Snapshot:
    """A study as it was read."""

    directions: list[StudyDirection]
    user_attrs: dict[str, Any]
    system_attrs: dict[str, Any]
    trials: list[FrozenTrial]


def _write(snapshot: _Snapshot, target: Database, name: str) -> None:
    rdb = target.rdb
    study_id = rdb.create_new_study(snapshot.directions, name)
    for key, value in snapshot.user_attrs.items():
        rdb.set_study_user_attr(study_id, key, value)
    written = write_trials(target.connection, study_id, [_without_lease(t) for t in snapshot.trials])
    ids = {t._trial_id: new for t, new in zip(snapshot.trials, written, strict=True)}
    for key, value in snapshot.system_attrs.items():
        if not key.startswith(_ARTIFACTS):  # they stay with the original; the copy's next run makes its own
            rdb.set_study_system_attr(study_id, key, _with_ids(key, value, ids))
    _compare(snapshot.trials, rdb.get_all_trials(study_id, deepcopy=False))


def _check_not_running(trials: list[FrozenTrial], now: float) -> None:
    for trial in trials:
        lease = Lease.of(trial.system_attrs)
        if trial.state == TrialState.RUNNING and lease is not None and not lease.is_void(now):
            raise InputError(f"trial {trial.number} is being trained by {lease.owner}; stop that first (Ctrl-C)")


def _without_lease(trial: FrozenTrial) -> FrozenTrial:
    lease = Lease.of(trial.system_attrs)
    if lease is None:
        return trial
    released = copy.copy(trial)
    # Not removed: a RUNNING trial without a lease counts as another program's.
    released.system_attrs = {**trial.system_attrs, LEASE_KEY: replace(lease, expires=0.0).stored()}
    return released


def _with_ids(key: str, value: Any, ids: Mapping[int, int]) -> Any:
    """Optuna's genetic samplers keep the parents of each generation by trial id, which is another in each database."""
    return [ids[trial_id] for trial_id in value] if _PARENTS in key else value


def _compare(originals: list[FrozenTrial], copies: list[FrozenTrial]) -> None:
    def content(trial: FrozenTrial) -> tuple[object, ...]:
        # The order of rows differs between databases. NaN is equal to itself only as text.
        steps = {step: repr(value) for step, value in trial.intermediate_values.items()}
        attrs = {key: json.dumps(value, sort_keys=True) for key, value in trial.user_attrs.items()}
        return (trial.number, trial.state, trial.values, trial.params, trial.distributions, attrs, steps,
                trial.datetime_start, trial.datetime_complete)  # fmt: skip

    for original, copied in zip(originals, copies, strict=True):
        if content(original) != content(copied):
            raise OptlstmError(f"trial {original.number} reads differently in the other database; nothing was copied")


def _copy_files(source: Location, target: Location) -> Iterator[str]:
    """Copy a study's folder, which holds a folder for each trial; yields each one's name when it is done."""
    # Not the files of trackers and the dashboard beside them: they bear the original's id.
    for name in sorted(n for n in open_folder(source).names() if n.startswith("trial-") or n == LOGS):
        originals, copies = open_folder(join(source, name)), open_folder(join(target, name))
        for file in sorted(originals.names()):
            try:
                content = originals.read(file)
            except OSError as error:
                reason = error.strerror or error
                raise OptlstmError(f"{shown_location(join(source, name))}: cannot read {file}: {reason}") from error
            copies.write(file, content)
        yield name
