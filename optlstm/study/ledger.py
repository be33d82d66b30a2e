"""The ledger: the study's only writer.

It alone asks, reports, prunes, tells, resumes, and holds the leases. Every backend goes through it, which is why the
search is the same on each. Each of its methods is one database transaction: a process killed at any moment leaves the
study before the event or after it, never between (a report without its pruning decision, a trial without params).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import optuna
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from optlstm.errors import StorageError, StudyConflict
from optlstm.study.events import Assignment, EpochReported, Event, Listener, TrialFinished, TrialStarted
from optlstm.study.lease import LEASE_KEY, LEASE_S, Lease, Owner
from optlstm.study.mirror import MirrorStorage
from optlstm.study.pruners import make_pruner
from optlstm.study.record import CONFIG_KEY, RECORD_KEY, UID_KEY, StudyRecord
from optlstm.study.retry import retrying
from optlstm.study.samplers import EXHAUSTIVE, make_sampler
from optlstm.study.storage import Database

logger = logging.getLogger(__name__)
T = TypeVar("T")
Decision = Callable[[], bool]

REASON_KEY = "reason"
STOPPED_KEY = "optlstm:stopped"


class LeaseLost(Exception):
    """Another process has taken this trial over (ours was silent for too long): drop it."""


class _Study(optuna.Study):
    """Samplers that have tried everything call `stop()`, which Optuna allows only inside `optimize`."""

    exhausted = False

    def stop(self) -> None:
        self.exhausted = True


class Ledger:
    """Opens or creates a study. Safe to call from several threads of one process.

    Args:
        database: The open database; the ledger does not close it.
        name: The study's name.
        record: What the study is: space, sampler, pruner, seed, data. A study of this name with another record is
            refused.
        config: Kept with a new study, so that its name alone is enough to continue it.

    Raises:
        StudyConflict: The study exists and is another search, with the differences spelled out.
        StorageError: The database failed for longer than a minute.
    """

    def __init__(
        self, database: Database, name: str, record: StudyRecord, config: Mapping[str, Any] | None = None
    ) -> None:
        self.name = name
        self.record = record
        self._config = dict(config or {})
        self._database = database
        self._owner = Owner.current()
        self._mine: set[int] = set()
        self._lock = threading.RLock()
        self._listeners: list[Listener] = []
        study_id = retrying(self._open_or_create)
        self._storage = retrying(lambda: MirrorStorage(database, study_id, alias=f"seed-{record.seed}"))
        self._study = _Study(
            self._storage.get_study_name_from_id(study_id),
            self._storage,
            make_sampler(record.sampler, dict(record.sampler_options), record.space, record.seed),
            make_pruner(record.pruner, dict(record.pruner_options), record.epochs),
        )

    # -- reading ------------------------------------------------------------------------------------------------------

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials by number, as this process knows them; do not change them."""
        return self._study.get_trials(deepcopy=False)

    @property
    def counts(self) -> Counter[str]:
        return Counter(trial.state.name for trial in self.trials)

    @property
    def ended(self) -> int:
        """How many of the study's total are done."""
        return sum(trial.state.is_finished() for trial in self.trials)

    @property
    def ranking(self) -> list[FrozenTrial]:
        """Complete trials, the best first; of equal ones the earlier."""
        complete = [t for t in self.trials if t.state == TrialState.COMPLETE and t.value is not None]
        sign = 1 if self.record.direction == "minimize" else -1
        return sorted(complete, key=lambda t: (sign * (t.value or 0.0), t.number))

    @property
    def best(self) -> FrozenTrial | None:
        return next(iter(self.ranking), None)

    @property
    def uid(self) -> str:
        """The study's own id: its name may stand in several databases."""
        return str(self._study.user_attrs[UID_KEY])

    @property
    def stopped(self) -> str | None:
        """Why the study takes no more trials, or None."""
        reason: str | None = self._study.user_attrs.get(STOPPED_KEY)
        return reason

    @property
    def study(self) -> optuna.Study:
        """For reading, as this process knows it; its name is not ours."""
        return self._study

    @property
    def system_attrs(self) -> dict[str, Any]:
        """The study's system attributes, as this process knows them."""
        return self._storage.get_study_system_attrs(self._study._study_id)

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def annotate(
        self, user: Mapping[str, Any] = MappingProxyType({}), system: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        """Write attributes of the study that decide nothing, in one transaction, where they are not there already."""
        study_id = self._study._study_id
        with self._lock:
            writes = [
                (write, key, value)
                for write, known, given in (
                    (self._storage.set_study_user_attr, self._storage.get_study_user_attrs(study_id), user),
                    (self._storage.set_study_system_attr, self._storage.get_study_system_attrs(study_id), system),
                )
                for key, value in given.items()
                if known.get(key) != value
            ]
            if writes:
                self._event(lambda: [write(study_id, key, value) for write, key, value in writes])

    # -- the life of a trial ------------------------------------------------------------------------------------------

    def assign(self, total: int) -> Assignment | None:
        """The next trial to run: first those whose owner died, by number, then a new one while there are < `total`."""
        with self._lock:
            assignment = self._event(lambda: self._next(total))
            if assignment is not None:
                self._mine.add(assignment.number)
        if assignment is not None:
            self._emit(TrialStarted(assignment.number, assignment.params, assignment.last_epoch))
        return assignment

    def report(self, number: int, epoch: int, value: float, decide: Decision | None = None) -> bool:
        """Store an epoch's value and let the pruner decide; both are one transaction.

        Args:
            decide: Asked instead of the study's pruner, where a scheduler of Ray's does its work.

        Returns:
            Whether the trial is over: pruned, or failed because the value is not finite.

        Raises:
            LeaseLost: Another process runs this trial now.
        """
        if not math.isfinite(value):
            self.fail(number, f"the validation value is {value} at epoch {epoch}")
            return True
        with self._lock:
            retrying(self._storage.refresh_if_stale)  # what an event that failed has left in memory did not happen
            known = epoch in self.trials[number].intermediate_values
            reason = self._event(lambda: self._report(number, epoch, value, decide))
        if not known:
            self._emit(EpochReported(number, epoch, value))
        if reason is not None:
            self._mine.discard(number)
            self._emit(TrialFinished(number, "PRUNED", value, reason))
        return reason is not None

    def pauses(self, number: int, epoch: int) -> bool:
        """Whether a trial leaves its worker after this epoch, unfinished, to go on when the study says so."""
        return False

    def complete(self, number: int, value: float, attrs: Mapping[str, Any]) -> None:
        """End a trial with its best value, and what else is known of it as user attributes."""
        if not math.isfinite(value):
            self.fail(number, f"the objective returned {value}")
        else:
            self._finish(number, TrialState.COMPLETE, value, attrs)

    def fail(self, number: int, reason: str, attrs: Mapping[str, Any] | None = None) -> None:
        """End a trial without a value; the reason is stored and shown."""
        self._finish(number, TrialState.FAIL, None, {REASON_KEY: reason, **(attrs or {})})

    def release(self, number: int) -> None:
        """Give a trial back unfinished: it stays RUNNING, and the next `study` command continues it at once."""
        with self._lock:
            if number in self._mine:
                with contextlib.suppress(LeaseLost):
                    self._event(lambda: self._renew_one(number, expires=0.0))
                self._mine.discard(number)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Renew the leases of our running trials in the background; what is still ours at the end is released."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(LEASE_S / 4):
                try:
                    self._renew()
                except StorageError as error:  # the next report will meet the same trouble, and say so
                    logger.warning("could not renew leases: %s", error)

        thread = threading.Thread(target=renew, name="optlstm-leases", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            for number in sorted(self._mine):
                self.release(number)

    # -- inside a transaction -----------------------------------------------------------------------------------------

    def _open_or_create(self) -> int:
        rdb = self._database.rdb
        direction = StudyDirection.MINIMIZE if self.record.direction == "minimize" else StudyDirection.MAXIMIZE
        with contextlib.suppress(DuplicatedStudyError), self._database.transaction():
            study_id = rdb.create_new_study([direction], self.name)
            rdb.set_study_user_attr(study_id, RECORD_KEY, self.record.stored())
            rdb.set_study_user_attr(study_id, CONFIG_KEY, self._config)
            rdb.set_study_user_attr(study_id, UID_KEY, uuid.uuid4().hex)
            if self.record.sampler != "grid":  # a grid has its own points, and no other
                study = optuna.load_study(study_name=self.name, storage=rdb)
                study.enqueue_trial(self.record.space.defaults())
            return study_id
        study_id = rdb.get_study_id_from_name(self.name)
        stored = rdb.get_study_user_attrs(study_id).get(RECORD_KEY)
        if stored is None:
            raise StudyConflict(f"study: '{self.name}' in this database was not made by optlstm; choose another --name")
        if differences := self.record.differences(stored):
            raise StudyConflict(
                [f"study '{self.name}' exists and is another search; give --name, or keep what it was made with:"]
                + [f"  {line}" for line in differences]
            )
        return study_id

    def _next(self, total: int) -> Assignment | None:
        self._lock_and_sync()
        return self._adopt() or self._ask(total)

    def _lock_and_sync(self) -> None:
        self._database.lock_study(self._study._study_id)  # one driver at a time decides who runs what
        self._storage.sync()

    def _adopt(self) -> Assignment | None:
        now = self._database.now()
        for trial in self.trials:
            if trial.state != TrialState.RUNNING or trial.number in self._mine:
                continue
            lease = Lease.of(self._storage.get_trial_system_attrs(trial._trial_id))
            # Ours, and yet not known to be: the answer to the commit that gave it to us was lost.
            if lease is not None and (lease.is_void(now) or lease.owner.token == self._owner.token):
                return self._take(trial)
        return None

    def _ask(self, total: int) -> Assignment | None:
        if self.stopped or sum(t.state != TrialState.WAITING for t in self.trials) >= self._most(total):
            return None
        trial = self._study.ask()
        self.record.space.suggest(trial)
        return self._take(self._storage.get_trial(trial._trial_id))

    def _most(self, total: int) -> int:
        return min(total, self.record.space.combinations()) if self.record.sampler == "grid" else total

    def _take(self, trial: FrozenTrial) -> Assignment:
        self._write_lease(trial.number, self._database.now() + LEASE_S)
        return Assignment(
            number=trial.number,
            params={**self.record.space.fixed, **trial.params},
            last_epoch=trial.last_step or trial.user_attrs.get("from_epoch", 0),
            from_epoch=trial.user_attrs.get("from_epoch", 0),
        )

    def _report(self, number: int, epoch: int, value: float, decide: Decision | None) -> str | None:
        trial = self._running(number)
        if trial is None:  # a commit whose answer was lost: the pruning it held has happened
            reason: str | None = self.trials[number].user_attrs.get(REASON_KEY)
            return reason
        if epoch in trial.intermediate_values:
            return None
        self._storage.set_trial_intermediate_value(trial._trial_id, epoch, value)
        trial = self._storage.get_trial(trial._trial_id)
        if not (decide() if decide else self._study.pruner.prune(self._study, trial)):
            return None
        who = self.record.pruner if self.record.scheduler == "study" else f"ray's {self.record.scheduler}"
        reason = f"{who} at epoch {epoch}"
        self._storage.set_trial_user_attr(trial._trial_id, REASON_KEY, reason)
        self._tell(number, TrialState.PRUNED, None)
        return reason

    def _finish(self, number: int, state: TrialState, value: float | None, attrs: Mapping[str, Any]) -> None:
        def finish() -> bool:
            trial = self._running(number)
            if trial is not None:
                for key, attr in attrs.items():
                    self._storage.set_trial_user_attr(trial._trial_id, key, attr)
                self._tell(number, state, value)
            return trial is not None

        with self._lock:
            self._event(finish)
            self._mine.discard(number)
        self._emit(TrialFinished(number, state.name, value, attrs.get(REASON_KEY)))

    def _tell(self, number: int, state: TrialState, value: float | None) -> None:
        self._study.exhausted = False
        self._study.tell(number, value, state)
        if self._study.exhausted and self.record.sampler in EXHAUSTIVE:
            self._study.set_user_attr(STOPPED_KEY, "every configuration of the space was tried")

    def _running(self, number: int) -> FrozenTrial | None:
        """The trial if it is running and ours by the database's word, None if it has ended."""
        trial = self.trials[number]
        if trial.state.is_finished():
            return None
        lease = Lease.of(self._database.rdb.get_trial_system_attrs(trial._trial_id))
        if lease is None or lease.owner.token != self._owner.token:
            self._mine.discard(number)
            raise LeaseLost(f"trial {number} was taken over by {lease.owner if lease else 'another program'}")
        return trial

    def _write_lease(self, number: int, expires: float) -> None:
        trial_id = self.trials[number]._trial_id
        with contextlib.suppress(UpdateFinishedTrialError):
            self._storage.set_trial_system_attr(trial_id, LEASE_KEY, Lease(self._owner, expires).stored())

    def _renew(self) -> None:
        with self._lock:
            retrying(self._database.read_clock)
            for number in sorted(self._mine):
                with contextlib.suppress(LeaseLost):
                    self._event(functools.partial(self._renew_one, number, self._database.now() + LEASE_S))

    def _renew_one(self, number: int, expires: float) -> None:
        if self._running(number) is not None:
            self._write_lease(number, expires)

    def _event(self, action: Callable[[], T]) -> T:
        """Run an action as one transaction; when the database fails, read it anew and try again for a minute."""

        def attempt() -> T:
            self._storage.refresh_if_stale()
            with self._storage.transaction():
                return action()

        return retrying(attempt)

    def _emit(self, event: Event) -> None:
        for listener in self._listeners:
            listener(event)
