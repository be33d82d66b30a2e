"""A study, whole, into another database: trials, attributes, checkpoints."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from optlstm.errors import InputError, OptlstmError
from optlstm.files import Location, absolute, join, open_folder
from optlstm.results import load_study
from optlstm.retention import study_folder
from optlstm.study.lease import LEASE_KEY, Lease
from optlstm.study.record import FOLDER_KEY, UID_KEY
from optlstm.study.storage import Database

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
    """Copy a study with its checkpoints. The copy is continued like the original, and neither knows of the other.

    The checkpoints are copied first, the study in one transaction after them: what is interrupted leaves no half study.

    Args:
        folders: The storage paths below which the checkpoints lie, and below which their copies go.
        progress: Called with a line about what is being done.

    Returns:
        The number of trials.

    Raises:
        InputError: There is no such study, it is being run, or the target has a study of that name.
        OptlstmError: The copy is not what was read.
    """
    study = load_study(source, name)
    trials = study.get_trials(deepcopy=False)
    _refuse_if_run(trials, source.now())
    if new_name in optuna.get_all_study_names(target.rdb):
        raise InputError(f"study {new_name!r} is in that database already; name the copy: --as NAME")
    uid, new_uid = str(study.user_attrs.get(UID_KEY, "")), uuid.uuid4().hex
    copied = study_folder(absolute(folders[1]), new_name, new_uid)
    try:
        if uid:
            for done in _copy_files(study_folder(absolute(folders[0]), name, uid), copied):
                progress(f"checkpoints: {done}")
        progress(f"study: {len(trials)} trials")
        with target.transaction():
            _write(study, source, target, new_name, {UID_KEY: new_uid, FOLDER_KEY: str(copied)} if uid else {})
    except BaseException:
        for entry in open_folder(copied).names():
            open_folder(copied).remove(entry)
        open_folder(copied).tidy()
        raise
    return len(trials)


def _write(study: optuna.Study, source: Database, target: Database, name: str, changes: Mapping[str, Any]) -> None:
    rdb, trials = target.rdb, study.get_trials(deepcopy=False)
    study_id = rdb.create_new_study(study.directions, name)
    for key, value in {**study.user_attrs, **changes}.items():
        rdb.set_study_user_attr(study_id, key, value)
    ids = {t._trial_id: rdb.create_new_trial(study_id, template_trial=_without_lease(t)) for t in trials}
    for key, value in source.rdb.get_study_system_attrs(study._study_id).items():
        if not key.startswith(_ARTIFACTS):  # they stay with the original; the copy's next run makes its own
            rdb.set_study_system_attr(study_id, key, _with_ids(key, value, ids))
    _compare(trials, rdb.get_all_trials(study_id, deepcopy=False))


def _refuse_if_run(trials: list[FrozenTrial], now: float) -> None:
    for trial in trials:
        lease = Lease.of(trial.system_attrs)
        if trial.state == TrialState.RUNNING and lease is not None and not lease.is_void(now):
            raise InputError(f"trial {trial.number} is being trained by {lease.owner}; stop that first (Ctrl-C)")


def _without_lease(trial: FrozenTrial) -> FrozenTrial:
    if LEASE_KEY not in trial.system_attrs:
        return trial
    free = copy.copy(trial)
    # Not without one: a RUNNING trial that never had a lease is somebody else's.
    lease = trial.system_attrs[LEASE_KEY]
    free.system_attrs = {**trial.system_attrs, LEASE_KEY: {**lease, "expires": 0.0}}
    return free


def _with_ids(key: str, value: Any, ids: Mapping[int, int]) -> Any:
    """Optuna's genetic samplers keep the parents of each generation by trial id, which is another in each database."""
    return [ids[trial_id] for trial_id in value] if _PARENTS in key else value


def _compare(read: list[FrozenTrial], written: list[FrozenTrial]) -> None:
    def content(trial: FrozenTrial) -> tuple[object, ...]:
        return (trial.number, trial.state, trial.values, trial.params, trial.distributions, trial.user_attrs,
                trial.intermediate_values, trial.datetime_start, trial.datetime_complete)  # fmt: skip

    for one, other in zip(read, written, strict=True):
        if repr(content(one)) != repr(content(other)):  # NaN is equal to itself as text alone
            raise OptlstmError(f"trial {one.number} reads differently in the other database; nothing was copied")


def _copy_files(source: Location, target: Location) -> Iterator[str]:
    """Copy a study's folder, which holds a folder for each trial; yields each one's name when it is done."""
    # Beside them stand what trackers and the dashboard were given, under the original's id.
    for name in sorted(n for n in open_folder(source).names() if n.startswith("trial-")):
        here, there = open_folder(join(source, name)), open_folder(join(target, name))
        for file in sorted(here.names()):
            there.write(file, here.read(file))
        yield name
