"""Creates a study in one transaction, or opens it; another search under the same name is refused."""

from __future__ import annotations

import contextlib
import itertools
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from optlstm.errors import Problem, StudyConflict
from optlstm.study.database.connection import Database
from optlstm.study.database.optuna_tables import write_trials
from optlstm.study.record import CONFIG_KEY, METRIC_NAMES_KEY, RECORD_KEY, UID_KEY, StudyRecord, has_grown
from optlstm.util.format import many, without_midnight

_SHOWN = 8  # differences
_OF_FILE = ("data.fingerprint:", "data.rows:", "data.first:", "data.last:", "data.splits:")


class StoppableStudy(optuna.Study):
    """Samplers that have tried everything call `stop()`, which Optuna allows only inside `optimize`."""

    exhausted = False

    def stop(self) -> None:
        self.exhausted = True


def open_or_create(
    database: Database,
    name: str,
    record: StudyRecord,
    config: Mapping[str, Any],
    imported: Sequence[FrozenTrial],
) -> int:
    """The study's id. A new study has what it imports.

    Raises:
        StudyConflict: The study exists and is another search, with the differences spelled out.
    """
    rdb = database.rdb
    with contextlib.suppress(DuplicatedStudyError), database.transaction():
        study_id = rdb.create_new_study([StudyDirection[d.upper()] for d in record.directions], name)
        rdb.set_study_user_attr(study_id, RECORD_KEY, record.stored())
        rdb.set_study_user_attr(study_id, CONFIG_KEY, dict(config))
        rdb.set_study_user_attr(study_id, UID_KEY, uuid.uuid4().hex)
        if record.objectives:
            rdb.set_study_system_attr(study_id, METRIC_NAMES_KEY, list(record.objectives))
        write_trials(database.connection, study_id, imported)
        return study_id
    study_id = check_study(database, name, record)
    if record.differences(rdb.get_study_user_attrs(study_id)[RECORD_KEY]):  # which are no conflict
        rdb.set_study_user_attr(study_id, RECORD_KEY, record.stored())
    return study_id


def check_study(database: Database, name: str, record: StudyRecord, refit: Sequence[str] = ()) -> int:
    """The id of a study that exists. Raises StudyConflict as `open_or_create`.

    Args:
        refit: The command that trains the study's params on the data that this run has read.
    """
    rdb = database.rdb
    study_id = rdb.get_study_id_from_name(name)
    stored = rdb.get_study_user_attrs(study_id).get(RECORD_KEY)
    if stored is None:
        raise StudyConflict(f"study: '{name}' in this database was not made by optlstm; choose another --name")
    differences = record.differences(stored)
    if differences and not _is_mended(rdb, study_id, differences):
        asked, names = record.stored(), optuna.get_all_study_names(rdb)
        free = next(new for i in itertools.count(2) if (new := f"{name}-{i}") not in names)
        details = [f"  {line}" for line in _in_few_lines(_other_data(stored, asked), differences)]
        line = f"study '{name}' exists and is another search; give another --name, or keep what it was made with:"
        if all(line.startswith("data.") for line in differences) and has_grown(stored["data"], asked["data"]):
            details.append(
                "  if the file has grown: a new study begins with this one's best params by --promote, and refit trains"
                " them on the file as it is"
            )
            raise StudyConflict([Problem(line, {"--promote": name, "--name": free}, instead=refit), *details])
        raise StudyConflict([Problem(line, {"--name": free}), *details])
    return study_id


def _is_mended(rdb: RDBStorage, study_id: int, differences: Sequence[str]) -> bool:
    """Whether only the objective's code is another, and no trial of the old one has come to anything."""
    if not all(line.startswith(("objective.fingerprint:", "space")) for line in differences):
        return False
    has_changed = any(line.startswith("objective.fingerprint:") for line in differences)
    return has_changed and all(t.state == TrialState.FAIL for t in rdb.get_all_trials(study_id, deepcopy=False))


def _in_few_lines(other_data: Sequence[str], differences: Sequence[str]) -> list[str]:
    """The differences without those that another file explains; the first of many."""
    left = [line for line in differences if not (other_data and line.startswith(_OF_FILE))]
    more = [f"... and {len(left) - _SHOWN} more"] if len(left) > _SHOWN else []
    return [*other_data, *left[:_SHOWN], *more]


def _other_data(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """A line that says what the many differences of another file come to, where both files are series."""
    old, new = stored.get("data") or {}, asked.get("data") or {}
    keys = ("fingerprint", "rows", "first", "last")
    if not all(key in old and key in new for key in keys) or old["fingerprint"] == new["fingerprint"]:
        return []
    spans = [
        f"{many(data['rows'], 'row')} from {' to '.join(without_midnight([str(data['first']), str(data['last'])]))}"
        for data in (old, new)
    ]
    return [f"data: another file, or another content: the study has {spans[0]}, this asks for {spans[1]}"]
