"""An in-memory copy of one study whose every write also goes to the database.

Samplers and pruners read the whole study at every step; from a database that is most of their cost. The ledger is the
study's writer and knows it all already, so they read this copy. Trial ids are the database's own: what Optuna stores by
trial id (the parents of a generation, for example) means the same in both.
"""

from __future__ import annotations

import bisect
import json
import threading
from collections.abc import Callable, Container, Mapping, Sequence, Set
from typing import Any, TypeVar

from optuna.distributions import BaseDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import NoResultFound

from optlstm.errors import StorageError
from optlstm.study.constraints import counts_as_trial
from optlstm.study.database import statements
from optlstm.study.database.connection import Database
from optlstm.study.database.retry import Retry

T = TypeVar("T")


class CachedStorage(InMemoryStorage):
    """Optuna storage of exactly one study.

    Args:
        database: The open database.
        study_id: The study's id there.
        alias: The name samplers and pruners see. Hyperband draws a trial's bracket from a hash of the study's name;
            an alias made from the seed lets two studies of the same seed be the same search under any name.
        retry: For transactions.

    Attributes:
        lock: Held while an action runs: one at a time.
        ended_count: How many of the study's total have ended.
    """

    def __init__(self, database: Database, study_id: int, alias: str, retry: Retry) -> None:
        self.retry, self.lock = retry, threading.RLock()
        self._database, self._rdb = database, database.rdb
        self._id, self._alias = study_id, alias
        self._load()

    def _load(self) -> None:
        """Read the whole study from the database.

        It is built beside the one in memory and takes its place at once: other threads (the display, the renewal of
        leases) read meanwhile, and where the database fails, memory stays a study that can be read.
        """
        fresh = object.__new__(type(self))
        vars(fresh).update(vars(self))
        fresh._build()
        vars(self).update(vars(fresh))

    def _build(self) -> None:
        directions = self._rdb.get_study_directions(self._id)
        attrs = self._rdb.get_study_user_attrs(self._id), self._rdb.get_study_system_attrs(self._id)
        trials = self._rdb._get_trials(self._id, None, set(), -1)
        super().__init__()
        self.ended_count = 0
        self._ended: list[FrozenTrial] = []
        self._unfinished: set[int] = set()  # their numbers
        self._by_states: dict[frozenset[TrialState], list[FrozenTrial]] = {}  # of ended trials, by number
        self._max_study_id = self._id - 1
        super().create_new_study(directions, self._alias)
        self._set_study_attrs(*attrs)
        self._insert(trials)
        self._stale = False  # whether memory holds what a transaction that failed has left

    def sync(self, ours: Set[int] = frozenset()) -> None:
        """In a transaction: take over what other drivers have written: attributes, new trials and unfinished ones.

        Args:
            ours: Ids of unfinished trials of which memory has everything.
        """
        connection = self._database.connection
        user = statements.study_attrs(connection, statements.STUDY_USER, self._id)
        self._set_study_attrs(user, statements.study_attrs(connection, statements.STUDY_SYSTEM, self._id))
        unfinished = {t._trial_id for t in self.unfinished} - ours
        if unfinished or statements.has_newer(connection, self._id, self._max_trial_id):
            self._insert(self._rdb._get_trials(self._id, None, unfinished, self._max_trial_id))

    def transact(self, action: Callable[[], T]) -> T:
        """Run an action, whose writes are committed together; when they cannot be, memory is read again before a retry.

        Raises:
            StorageError: The database failed for too long.
        """

        def attempt() -> T:
            self._refresh_if_stale()
            try:
                with self._database.transaction():
                    return action()
            except BaseException as error:
                self._stale = True
                if isinstance(error, KeyError | NoResultFound):
                    self._check_exists()
                raise

        with self.lock:
            return self.retry(attempt)

    def refresh(self) -> None:
        """Outside a transaction: what an action that failed has left in memory did not happen."""
        if self._stale:
            self.retry(self._refresh_if_stale)

    def _refresh_if_stale(self) -> None:
        if self._stale:
            self._check_exists()
            self._load()

    def _check_exists(self) -> None:
        """Raises StorageError where the study was deleted since it was opened."""
        if all(study._study_id != self._id for study in self._rdb.get_all_studies()):
            raise StorageError("storage: the study was deleted while it ran")

    @property
    def unfinished(self) -> list[FrozenTrial]:
        """The trials that have not ended, by number."""
        with self._lock:
            trials = self._trials()
            return [trials[number] for number in sorted(self._unfinished)]

    def _index(self, trial: FrozenTrial) -> None:
        """Keep the trial in the lists by state, so that none of them needs a look at every trial."""
        with self._lock:
            if not trial.state.is_finished():
                self._unfinished.add(trial.number)
                return
            self._unfinished.discard(trial.number)
            self._ended.append(trial)
            self.ended_count += counts_as_trial(trial)
            for states, ended in self._by_states.items():
                if trial.state in states:
                    bisect.insort(ended, trial, key=lambda t: t.number)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        if deepcopy or states is None or states == (TrialState.WAITING,):
            return super().get_all_trials(study_id, deepcopy, states)
        with self._lock:
            wanted = frozenset(state for state in TrialState if state in states)
            if wanted not in self._by_states:
                in_order = sorted(self._ended, key=lambda t: t.number)
                self._by_states[wanted] = [trial for trial in in_order if trial.state in wanted]
            trials = self._by_states[wanted].copy()
            for trial in self.unfinished:
                if trial.state in wanted:
                    bisect.insort(trials, trial, key=lambda t: t.number)
            return trials

    def _trials(self) -> list[FrozenTrial]:
        return self._studies[self._id].trials

    def _set_study_attrs(self, user: Mapping[str, Any], system: Mapping[str, Any]) -> None:
        for key, value in user.items():
            super().set_study_user_attr(self._id, key, value)
        for key, value in system.items():
            super().set_study_system_attr(self._id, key, value)

    def _insert(self, trials: list[FrozenTrial]) -> None:
        for trial in trials:
            # Optuna reads them in the order of the database's pages; the patient pruner takes the last for the latest.
            trial.intermediate_values = dict(sorted(trial.intermediate_values.items()))
            known = self._trials()
            if trial.number < len(known):
                known[trial.number] = trial
                self._prev_waiting_trial_number[self._id] = 0
            else:
                assert trial.number == len(known), "trial numbers in the database have a hole"
                # As InMemoryStorage does it, but for its copy: these were read for us alone.
                self._max_trial_id = trial._trial_id
                self._trial_id_to_study_id_and_number[trial._trial_id] = (self._id, trial.number)
                known.append(trial)
            self._index(trial)
            self._update_cache(trial._trial_id, self._id)
            for name, distribution in trial.distributions.items():
                self._studies[self._id].param_distribution[name] = distribution

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        made = self._rdb._create_new_trial(study_id, template_trial)
        # Of a template memory holds what a later reader will see, such as lists for tuples.
        self._insert([made] if template_trial is None else [self._rdb.get_trial(made._trial_id)])
        return made._trial_id

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
        statements.insert_param(self._database.connection, trial_id, param_name, param_value_internal, distribution)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        # The database decides: another driver may have taken this waiting trial.
        if not self._rdb.set_trial_state_values(trial_id, state, values):
            self.sync()
            return False
        done = super().set_trial_state_values(trial_id, state, values)
        self._index(self.get_trial(trial_id))
        return done

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)
        statements.insert_value(self._database.connection, trial_id, step, intermediate_value)

    # A tuple comes back from the database as a list: memory must hold what a later reader will see.

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        stored = json.dumps(value)
        super().set_trial_user_attr(trial_id, key, json.loads(stored))
        statements.put_attr(self._database.connection, statements.TRIAL_USER, trial_id, key, stored)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        stored = json.dumps(value)
        super().set_trial_system_attr(trial_id, key, json.loads(stored))
        statements.put_attr(self._database.connection, statements.TRIAL_SYSTEM, trial_id, key, stored)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        stored = json.dumps(value)
        super().set_study_user_attr(study_id, key, json.loads(stored))
        statements.put_attr(self._database.connection, statements.STUDY_USER, study_id, key, stored)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        stored = json.dumps(value)
        super().set_study_system_attr(study_id, key, json.loads(stored))
        statements.put_attr(self._database.connection, statements.STUDY_SYSTEM, study_id, key, stored)
