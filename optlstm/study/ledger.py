"""The ledger: the study's only writer.

It alone asks, reports, prunes, tells, resumes, and holds the leases. Every backend goes through it, which is why the
search is the same on each. Each of its methods is one database transaction: a process killed at any moment leaves the
study before the event or after it, never between (a report without its pruning decision, a trial without params).
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from optlstm.errors import StorageError
from optlstm.study.constraints import (
    INFEASIBLE_KEY,
    MOST_IN_A_ROW,
    Measure,
    counts_as_trial,
    in_words,
    infeasible_streak,
)
from optlstm.study.creation import StoppableStudy, open_or_create
from optlstm.study.database import optuna_tables
from optlstm.study.database.cached_storage import CachedStorage
from optlstm.study.database.connection import Database
from optlstm.study.database.lease import LEASE_KEY, LEASE_S, Lease, Owner
from optlstm.study.database.retry import Retry
from optlstm.study.events import Assignment, EpochReported, Event, Listener, TrialFinished, TrialStarted
from optlstm.study.failures import DIVERGED, FAILURE_KEY, STORAGE_TIMEOUT_S, STREAK, streak, without_memory
from optlstm.study.pruners import alias, make_pruner
from optlstm.study.record import REASON_KEY, STOPPED_KEY, StudyRecord
from optlstm.study.results import StudyResults
from optlstm.study.samplers import EXHAUSTIVE, make_sampler
from optlstm.study.stopping import Stopper, Stopping

logger = logging.getLogger(__name__)
T = TypeVar("T")
Decision = Callable[[], bool]

EXHAUSTED = "every configuration of the space was tried"
FORGIVEN_KEY = "optlstm:forgiven"  # of the study: trials whose failures were answered by going on


class LeaseLost(Exception):
    """Another process has taken this trial over (ours was silent for too long): drop it."""


class Ledger(StudyResults):
    """Opens or creates a study. Safe to call from several threads of one process.

    Args:
        database: The open database; the ledger does not close it.
        name: The study's name.
        record: What the study is: space, sampler, pruner, seed, data. A study of this name with another record is
            refused.
        config: Kept with a new study, so that its name alone is enough to continue it.
        imported: Ended trials a new study begins with.
        stopping: When the study has found enough.
        measure: What is known of params before they are trained; asked where the record has constraints.
        storage_timeout: Seconds that the database may be away for.

    Raises:
        StudyConflict: The study exists and is another search, with the differences spelled out.
        StorageError: The database failed for longer than `storage_timeout`.
    """

    def __init__(
        self,
        database: Database,
        name: str,
        record: StudyRecord,
        config: Mapping[str, Any] | None = None,
        *,
        imported: Sequence[FrozenTrial] = (),
        stopping: Stopping = Stopping(),  # noqa: B008  (frozen)
        measure: Measure | None = None,
        storage_timeout: float = STORAGE_TIMEOUT_S,
    ) -> None:
        self.record = record
        self.stopper = Stopper(stopping, record.direction, record.seed)
        self._measure = measure
        self._database = database
        self._owner = Owner.current()
        self._mine: set[int] = set()
        self._tally: tuple[list[FrozenTrial], int, int] = ([], 0, 0)  # ended trials, how many were read, and count
        self._lock = threading.RLock()
        self._listeners: list[Listener] = []
        self._retrying = Retry(storage_timeout)
        study_id = self._retrying(lambda: open_or_create(database, name, record, config or {}, imported))
        self._storage = self._retrying(lambda: CachedStorage(database, study_id, alias=alias(record.seed)))
        self._study = StoppableStudy(
            self._storage.get_study_name_from_id(study_id),
            self._storage,
            make_sampler(record.sampler, dict(record.sampler_options), record.space, record.seed),
            make_pruner(record.pruner, dict(record.pruner_options), record.epochs),
        )
        super().__init__(self._study, name)

    def most(self, total: int) -> int:
        """How many trials there can be: a grid has no more than its points."""
        return min(total, self.record.space.combinations()) if self.record.sampler == "grid" else total

    @property
    def ended(self) -> int:
        """How many of the study's total are done."""
        return sum(trial.state.is_finished() and counts_as_trial(trial) for trial in self.trials)

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

    def note_stop(self, reason: str | None) -> None:
        """Keep why a run ended before its last trial (a timeout, say), until the study goes on."""
        with self._lock:
            self._event(lambda: self._note_stop(reason))

    def go_on(self, interruptions: tuple[str, ...]) -> None:
        """A new run: what stopped the last one is over, be it one of `interruptions` or trials that failed alike."""
        reason = self.stopped or ""
        failed = STREAK in reason
        if failed or reason.startswith(interruptions):
            with self._lock:
                self._event(lambda: self._forget(len(self.trials) if failed else None))

    # -- the life of a trial ------------------------------------------------------------------------------------------

    def assign(self, total: int) -> Assignment | None:
        """The next trial to run: first those whose owner died, by number, then a new one while there are < `total`.

        Configurations that break a constraint are written down on the way, and neither trained nor counted.
        """
        while True:
            with self._lock:
                found = self._event(lambda: self._next(total))
                if isinstance(found, Assignment):
                    self._mine.add(found.number)
            if isinstance(found, TrialFinished):
                self._emit(found)
                continue
            if found is not None:
                self._emit(TrialStarted(found.number, found.params, found.last_epoch))
            return found

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
            self.diverge(number, f"the validation value is {value} at epoch {epoch}")
            return True
        with self._lock:
            # What an event that failed has left in memory did not happen.
            self._retrying(self._storage.refresh_if_stale)
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

    def complete(self, number: int, value: float | Sequence[float], attrs: Mapping[str, Any]) -> None:
        """End a trial with its best value (or one for each objective), what else is known of it as user attributes."""
        values = [float(v) for v in value] if isinstance(value, Sequence) else [float(value)]
        if len(values) != len(self.record.directions):
            self.fail(number, f"the objective returned {len(values)} values for {len(self.record.directions)}")
        elif not all(math.isfinite(v) for v in values):
            self.diverge(number, f"the objective returned {', '.join(map(str, values))}")
        else:
            self._finish(number, TrialState.COMPLETE, values, attrs)

    def diverge(self, number: int, reason: str) -> None:
        """End a trial whose loss is not finite: as failed, or where that is what is being searched, as pruned."""
        kind = {FAILURE_KEY: DIVERGED} if self.record.diverged == "FAIL" else {}
        self._finish(number, TrialState[self.record.diverged], None, {REASON_KEY: reason, **kind})

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
            self._release_all()

    def _release_all(self) -> None:
        try:
            for number in sorted(self._mine):
                self.release(number)
        except StorageError as error:  # they are free when the lease runs out, or this process ends
            logger.debug("could not release trials: %s", error)

    # -- inside a transaction -----------------------------------------------------------------------------------------

    def _next(self, total: int) -> Assignment | TrialFinished | None:
        self._lock_and_sync()
        return self._adopt() or self._ask(total)

    def _lock_and_sync(self) -> None:
        self._database.lock_study(self._study._study_id)  # one driver at a time decides who runs what
        self._storage.sync()

    def _adopt(self) -> Assignment | None:
        now = self._database.now()
        for trial in self._storage.unfinished:
            if trial.state != TrialState.RUNNING or trial.number in self._mine:
                continue
            lease = Lease.of(self._storage.get_trial_system_attrs(trial._trial_id))
            # Ours, and yet not known to be: the answer to the commit that gave it to us was lost.
            if lease is not None and (lease.is_void(now) or lease.owner.token == self._owner.token):
                return self._take(trial)
        return None

    def _ask(self, total: int) -> Assignment | TrialFinished | None:
        if self._used() >= self.most(total):
            self._note_stop(EXHAUSTED if self.stopped == EXHAUSTED else None)
            return None
        reason = self._why_stop()
        self._note_stop(reason)
        if reason is not None:
            return None
        trial = self._study.ask()
        params = self.record.space.suggest(trial)
        if self.record.constraints and (rejected := self._rejected(trial, params)):
            return rejected
        failed = self._study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        if (other := without_memory(failed, trial.params)) is not None:
            return self._reject(trial, f"trial {other} ran out of memory with these params")
        return self._take(self._storage.get_trial(trial._trial_id))

    def _used(self) -> int:
        """How many trials of the study's total are running or have ended."""
        ended, (of, read, used) = self._storage.ended, self._tally
        if of is not ended:
            read, used = 0, 0
        used += sum(map(counts_as_trial, itertools.islice(ended, read, None)))
        self._tally = (ended, len(ended), used)
        return used + sum(t.state == TrialState.RUNNING and counts_as_trial(t) for t in self._storage.unfinished)

    def _why_stop(self) -> str | None:
        if self.stopped == EXHAUSTED:
            return EXHAUSTED
        if infeasible_streak(self.trials) >= MOST_IN_A_ROW:
            return f"none of the last {MOST_IN_A_ROW} configurations kept the constraints {in_words(self.record)}"
        since = self._study.user_attrs.get(FORGIVEN_KEY, 0)
        if reason := streak(self.trials, since, self.stopper.rules.failures, self.name):
            return reason
        return self.stopper.reason(self._study, self.trials, self.best) if self.stopper.active else None

    def _forget(self, failed: int | None) -> None:
        self._note_stop(None)
        if failed is not None:
            self._study.set_user_attr(FORGIVEN_KEY, failed)

    def _note_stop(self, reason: str | None) -> None:
        if reason != self.stopped:
            self._study.set_user_attr(STOPPED_KEY, reason)

    def _rejected(self, trial: optuna.Trial, params: Mapping[str, Any]) -> TrialFinished | None:
        """Ends a trial that breaks a constraint; what was measured is kept with every trial."""
        assert self._measure is not None
        broken = []
        for name, value in self._measure(params).items():
            limit = self.record.constraints[name]
            trial.set_user_attr(name, value)
            trial.set_constraint(name, value - limit)
            if value > limit:
                broken.append(f"{name} {value:,g} above {limit:,g}")
        if not broken:
            return None
        return self._reject(trial, f"infeasible: {', '.join(broken)}")

    def _reject(self, trial: optuna.Trial, reason: str) -> TrialFinished:
        """Ends a trial that is neither trained nor counted."""
        trial.set_user_attr(INFEASIBLE_KEY, True)
        trial.set_user_attr(REASON_KEY, reason)
        self._tell(trial.number, TrialState.PRUNED, None)
        return TrialFinished(trial.number, "PRUNED", None, reason)

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

    def _finish(self, number: int, state: TrialState, values: list[float] | None, attrs: Mapping[str, Any]) -> None:
        def finish() -> bool:
            trial = self._running(number)
            if trial is not None:
                for key, attr in attrs.items():
                    self._storage.set_trial_user_attr(trial._trial_id, key, attr)
                self._tell(number, state, values)
            return trial is not None

        with self._lock:
            self._event(finish)
            self._mine.discard(number)
        self._emit(TrialFinished(number, state.name, values[0] if values else None, attrs.get(REASON_KEY)))

    def _tell(self, number: int, state: TrialState, values: list[float] | None) -> None:
        self._study.exhausted = False
        self._study.tell(number, values, state)
        if self._study.exhausted and self.record.sampler in EXHAUSTIVE:
            self._study.set_user_attr(STOPPED_KEY, EXHAUSTED)

    def _running(self, number: int) -> FrozenTrial | None:
        """The trial if it is running and ours by the database's word, None if it has ended."""
        trial = self.trials[number]
        if trial.state.is_finished():
            return None
        state, stored = optuna_tables.state_and_attr(self._database.connection, trial._trial_id, LEASE_KEY)
        lease = Lease.of({LEASE_KEY: stored})
        if state.is_finished() or lease is None or lease.owner.token != self._owner.token:
            self._mine.discard(number)
            how = "was ended" if state.is_finished() else "was taken over"
            raise LeaseLost(f"trial {number} {how} by {lease.owner if lease else 'another program'}")
        return trial

    def _write_lease(self, number: int, expires: float) -> None:
        trial_id = self.trials[number]._trial_id
        with contextlib.suppress(UpdateFinishedTrialError):
            self._storage.set_trial_system_attr(trial_id, LEASE_KEY, Lease(self._owner, expires).stored())

    def _renew(self) -> None:
        with self._lock:
            self._retrying(self._database.read_clock)
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

        return self._retrying(attempt)

    def _emit(self, event: Event) -> None:
        for listener in self._listeners:
            listener(event)
