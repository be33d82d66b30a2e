"""The ledger: the study's only writer.

It alone asks, reports, prunes, tells, resumes, and writes the leases. Every backend goes through it, which is why the
search is the same on each. Each of its methods is one database transaction: a process killed at any moment leaves the
study before the event or after it, never between (a report without its pruning decision, a trial without params).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import optuna
from optuna.trial import FrozenTrial, TrialState

from optlstm.study.constraints import IMPORTED_KEY, INFEASIBLE_KEY, Measure, counts_as_trial, infeasible, none_feasible
from optlstm.study.creation import StoppableStudy, open_or_create
from optlstm.study.database import statements
from optlstm.study.database.cached_storage import CachedStorage
from optlstm.study.database.connection import Database
from optlstm.study.database.retry import Retry
from optlstm.study.events import Assignment, EpochReported, Event, Listener, TrialFinished, TrialStarted
from optlstm.study.failures import DIVERGED, FAILURE_KEY, STORAGE_TIMEOUT_S, STREAK, streak, without_memory
from optlstm.study.leases import Leases
from optlstm.study.lineage import reached_epoch
from optlstm.study.pruners import alias, make_pruner
from optlstm.study.record import NODES_KEY, REASON_KEY, STOPPED_KEY, StudyRecord
from optlstm.study.registry import EXHAUSTIVE
from optlstm.study.results import StudyResults
from optlstm.study.samplers import SeededSampler, sampled
from optlstm.study.space import Param
from optlstm.study.stopping import Stopper, Stopping

T = TypeVar("T")
Decide = Callable[[], bool]  # whether to prune the trial that has just reported

EXHAUSTED = "every configuration of the space was tried"
FORGIVEN_KEY = "optlstm:forgiven"  # of the study: how many trials it had when it was resumed after failures


class Ledger(StudyResults):
    """Opens or creates a study. Safe to call from several threads of one process.

    Args:
        database: It stays open.
        name: The study's name.
        record: What the study is: space, sampler, pruner, seed, data. A study of this name with another record is
            refused.
        config: Kept with a new study, so that its name alone is enough to continue it.
        imported: Ended trials a new study begins with.
        stopping: When the study ends before its last trial.
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
        self.stopper = Stopper(stopping, record.seed)
        self._measure = measure
        self._database = database
        self._listeners: list[Listener] = []
        retry = Retry(storage_timeout)
        study_id = retry(lambda: open_or_create(database, name, record, config or {}, imported))
        self._storage = retry(lambda: CachedStorage(database, study_id, alias(record.seed), retry))
        self._leases = Leases(database, self._storage)
        self._study = StoppableStudy(
            self._storage.get_study_name_from_id(study_id),
            self._storage,
            SeededSampler(record.sampler, dict(record.sampler_options), record.space, record.seed),
            make_pruner(record.pruner, dict(record.pruner_options), record.epochs),
        )
        super().__init__(self._study, name)
        self._imported = sum(IMPORTED_KEY in trial.user_attrs for trial in self.trials)

    def trial_limit(self, total: int) -> int:
        """How many trials there can be: a grid has no more than its points."""
        return min(total, self.record.space.combinations()) if self.record.sampler == "grid" else total

    @property
    def ended(self) -> int:
        """How many of the study's total have ended."""
        return sum(trial.state.is_finished() and counts_as_trial(trial) for trial in self.trials)

    @property
    def system_attrs(self) -> dict[str, Any]:
        """The study's system attributes, as this process knows them."""
        return self._storage.get_study_system_attrs(self._study._study_id)

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def set_attrs(self, user: Mapping[str, Any] = {}, system: Mapping[str, Any] = {}) -> None:
        """Write attributes of the study that decide nothing, where they differ from those stored; one transaction."""
        study_id = self._study._study_id

        def write() -> None:
            known_user, known_system = self._study.user_attrs, self.system_attrs
            for key in (key for key in user if known_user.get(key) != user[key]):
                self._storage.set_study_user_attr(study_id, key, user[key])
            for key in (key for key in system if known_system.get(key) != system[key]):
                self._storage.set_study_system_attr(study_id, key, system[key])

        self._storage.transact(write)

    def as_stored(self, read: Callable[[], T]) -> T:
        """What `read` makes of the study as the database has it now, with what other drivers wrote; one transaction."""

        def sync_and_read() -> T:
            self._storage.sync()
            return read()

        return self._storage.transact(sync_and_read)

    def set_stop_reason(self, reason: str | None) -> None:
        """Store why a run ended before its last trial (a timeout, say), until the study is resumed."""
        self._storage.transact(lambda: self._write_stop_reason(reason))

    def clear_stop_reason(self, interruptions: tuple[str, ...]) -> None:
        """A new run: forget what stopped the last one, be it one of `interruptions` or trials that failed alike."""
        reason = self.stopped or ""
        if STREAK in reason:
            self._storage.transact(self._forgive)
        elif reason.startswith(interruptions):
            self.set_stop_reason(None)

    # -- the life of a trial ------------------------------------------------------------------------------------------

    def assign(self, total: int) -> Assignment | None:
        """The next trial to run: first those whose owner died, by number, then a new one while there are < `total`.

        Configurations that break a constraint are recorded on the way, and neither trained nor counted.
        """
        while True:
            with self._storage.lock:
                answer = self._storage.transact(lambda: self._next(total))
                if isinstance(answer, Assignment):
                    self._leases.keep(answer.number, self.trials[answer.number]._trial_id)
            if isinstance(answer, TrialFinished):
                self._emit(answer)
                continue
            if answer is not None:
                self._emit(TrialStarted(answer.number, answer.params, answer.last_epoch))
            return answer

    def left(self, total: int) -> int:
        """How many trials may still train at a time, those that do included."""
        return max(0, self.trial_limit(total) - self._storage.ended_count)

    def report(
        self, number: int, epoch: int, value: float, decide: Decide | None = None, node: str | None = None
    ) -> bool:
        """Store an epoch's value and let the pruner decide; both are one transaction.

        Args:
            decide: Asked instead of the study's pruner, where Ray's scheduler decides.
            node: Of a cluster, on which it was trained.

        Returns:
            Whether the trial is over: pruned, or failed because the value is not finite.

        Raises:
            LeaseLost: Another process runs this trial now, or has ended it.
        """

        def report() -> str | None:
            if node is not None:
                self._write_node(number, node)
            return self._report(number, epoch, value, decide)

        if not math.isfinite(value):
            self.diverge(number, f"the validation value is {value} at epoch {epoch}")
            return True
        with self._storage.lock:
            self._storage.refresh()
            known = epoch in self.trials[number].intermediate_values
            reason = self._storage.transact(report)
            if reason is not None:
                self._leases.drop(number)
        if not known:
            self._emit(EpochReported(number, epoch, value))
        if reason is not None:
            self._emit(TrialFinished(number, "PRUNED", value, reason))
        return reason is not None

    def suggest(self, number: int, param: Param) -> Any:
        """The value of a param that a running trial asks for, stored with the trial; one transaction.

        Raises:
            LeaseLost: Another process runs this trial now, or has ended it.
            ValueError, TypeError: It cannot have such a param.
        """

        def suggest() -> Any:
            trial = self._running(number, TrialState.RUNNING)
            assert trial is not None
            return param.suggest(optuna.Trial(self._study, trial._trial_id))

        if not self.record.space.is_open:
            raise ValueError("space(trial) does not ask for it")
        return self._storage.transact(suggest)

    def pauses(self, number: int, epoch: int) -> bool:
        """Whether a trial leaves its worker after this epoch, unfinished, and waits to be assigned again."""
        return False

    def is_last(self, number: int, epoch: int) -> bool:
        """Whether a trial has all its epochs after this one: its objective returns by itself."""
        if epoch == self.record.epochs:
            return True
        patience = self.record.task.get("training", {}).get("patience", 0) if self.record.scheduler != "pbt" else 0
        values = self.trials[number].intermediate_values
        return bool(patience and values) and epoch - min(values, key=lambda e: (values[e], e)) >= patience

    def complete(self, number: int, value: float | Sequence[float], attrs: Mapping[str, Any]) -> None:
        """End a trial with its best value (or one for each objective), what else is known of it as user attributes."""
        values = [float(v) for v in value] if isinstance(value, Sequence) else [float(value)]
        if len(values) != len(self.record.directions):
            advice = "; name them: --objectives A,B" if len(self.record.directions) == 1 else ""
            self.fail(number, f"the objective returned {len(values)} values for {len(self.record.directions)}{advice}")
        elif not all(math.isfinite(v) for v in values):
            self.diverge(number, f"the objective returned {', '.join(map(str, values))}")
        else:
            self._finish(number, TrialState.COMPLETE, values, attrs)

    def prune(self, number: int) -> None:
        """End a trial that its objective has pruned itself; one that the study has ended stays as it is."""
        if not self.trials[number].state.is_finished():
            self._finish(number, TrialState.PRUNED, None, {REASON_KEY: "pruned by its objective"})

    def diverge(self, number: int, reason: str) -> None:
        """End a trial whose loss is not finite: as failed, or as pruned where the record says so."""
        kind = {FAILURE_KEY: DIVERGED} if self.record.diverged == "FAIL" else {}
        self._finish(number, TrialState[self.record.diverged], None, {REASON_KEY: reason, **kind})

    def fail(self, number: int, reason: str, attrs: Mapping[str, Any] | None = None) -> None:
        """End a trial without a value; the reason is stored and shown."""
        self._finish(number, TrialState.FAIL, None, {REASON_KEY: reason, **(attrs or {})})

    def release(self, number: int) -> None:
        """Give a trial back unfinished: it stays RUNNING, and the next `study` command continues it at once."""
        self._leases.release(number)

    def held(self) -> AbstractContextManager[None]:
        """Renew the leases of our running trials in the background; what is still ours at the end is released."""
        return self._leases.held()

    # -- inside a transaction -----------------------------------------------------------------------------------------

    def _next(self, total: int) -> Assignment | TrialFinished | None:
        self._lock_and_sync()
        running = (trial for trial in self._storage.unfinished if trial.state == TrialState.RUNNING)
        abandoned = next(filter(self._leases.is_free, running), None)
        return self._take(abandoned) if abandoned else self._ask(total)

    def _lock_and_sync(self) -> None:
        # One driver at a time decides who runs what.
        statements.lock_study(self._database.connection, self._study._study_id)
        self._storage.sync(self._leases.ours())

    def _ask(self, total: int) -> Assignment | TrialFinished | None:
        """A new trial, or one that was ended at once, or None where the study takes no more."""
        if self._used() >= self.trial_limit(total):
            self._write_stop_reason(EXHAUSTED if self.stopped == EXHAUSTED else None)
            return None
        reason = self._why_stop()
        self._write_stop_reason(reason)
        if reason is not None:
            return None
        trial, params = self._sampled()
        if problem := self._problem(trial, params):
            return self._reject(trial, problem)
        return self._take(self._storage.get_trial(trial._trial_id))

    def _sampled(self) -> tuple[optuna.Trial, dict[str, Any]]:
        """A new trial with its params."""
        record, number = self.record, len(self.trials) - self._imported
        queued = record.queue[number] if number < len(record.queue) else None
        return sampled(self._study, record.space, record.sampler, queued)

    def _used(self) -> int:
        """How many trials of the study's total are running or have ended."""
        running = sum(t.state == TrialState.RUNNING and counts_as_trial(t) for t in self._storage.unfinished)
        return self._storage.ended_count + running

    def _why_stop(self) -> str | None:
        if self.stopped == EXHAUSTED:
            return EXHAUSTED
        since = self._study.user_attrs.get(FORGIVEN_KEY, 0)
        failed_alike = streak(self.trials, since, self.stopper.rules.failures, self.name)
        if reason := none_feasible(self.trials, self.record.constraints) or failed_alike:
            return reason
        return self.stopper.reason(self)

    def _write_stop_reason(self, reason: str | None) -> None:
        if reason != self.stopped:
            self._study.set_user_attr(STOPPED_KEY, reason)

    def _forgive(self) -> None:
        """The failures so far no longer stop the study."""
        self._write_stop_reason(None)
        self._study.set_user_attr(FORGIVEN_KEY, len(self.trials))

    def _problem(self, trial: optuna.Trial, params: Mapping[str, Any]) -> str | None:
        """Why a new trial is not worth training; what was measured of it is kept with every trial."""
        if self.record.constraints:
            assert self._measure is not None
            measured = self._measure(params)
            for name, value in measured.items():
                trial.set_user_attr(name, value)
                trial.set_constraint(name, value - self.record.constraints[name])
            if problem := infeasible(measured, self.record.constraints):
                return problem
        if self.record.space.is_open:  # it has no params yet
            return None
        failed = self._study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        return without_memory(failed, trial.params)

    def _reject(self, trial: optuna.Trial, reason: str) -> TrialFinished:
        """Ends a trial that is neither trained nor counted."""
        trial.set_user_attr(INFEASIBLE_KEY, True)
        trial.set_user_attr(REASON_KEY, reason)
        self._tell(trial.number, TrialState.PRUNED, None)
        return TrialFinished(trial.number, "PRUNED", None, reason)

    def _take(self, trial: FrozenTrial) -> Assignment:
        self._leases.write(trial._trial_id)
        return Assignment(
            number=trial.number,
            params={**self.record.space.fixed, **trial.params},
            last_epoch=reached_epoch(trial),
            from_epoch=trial.user_attrs.get("from_epoch", 0),
        )

    def _report(self, number: int, epoch: int, value: float, decide: Decide | None) -> str | None:
        trial = self._running(number, TrialState.PRUNED)
        if trial is None:
            reason: str | None = self.trials[number].user_attrs.get(REASON_KEY)
            return reason
        if epoch in trial.intermediate_values:
            return None
        self._storage.set_trial_intermediate_value(trial._trial_id, epoch, value)
        trial = self._storage.get_trial(trial._trial_id)
        if not (decide() if decide else self._study.pruner.prune(self._study, trial)):
            return None
        pruner = self.record.pruner if self.record.scheduler == "study" else f"ray's {self.record.scheduler}"
        reason = f"{pruner} at epoch {epoch}"
        self._storage.set_trial_user_attr(trial._trial_id, REASON_KEY, reason)
        self._tell(number, TrialState.PRUNED, None)
        return reason

    def _write_node(self, number: int, node: str) -> None:
        """Add a node to those that a trial ran on; one that has ended, or is another's by now, is told so after it."""
        trial = self.trials[number]
        nodes = trial.system_attrs.get(NODES_KEY, [])
        if node not in nodes and not trial.state.is_finished():
            self._storage.set_trial_system_attr(trial._trial_id, NODES_KEY, [*nodes, node])

    def _finish(self, number: int, state: TrialState, values: list[float] | None, attrs: Mapping[str, Any]) -> None:
        def finish() -> bool:
            trial = self._running(number, state)
            if trial is not None:
                for key, attr in attrs.items():
                    self._storage.set_trial_user_attr(trial._trial_id, key, attr)
                self._tell(number, state, values)
            return trial is not None

        with self._storage.lock:
            self._storage.transact(finish)
            self._leases.drop(number)
        self._emit(TrialFinished(number, state.name, values[0] if values else None, attrs.get(REASON_KEY)))

    def _tell(self, number: int, state: TrialState, values: list[float] | None) -> None:
        self._study.exhausted = False
        self._study.tell(number, values, state)
        if self._study.exhausted and self.record.sampler in EXHAUSTIVE:
            self._study.set_user_attr(STOPPED_KEY, EXHAUSTED)

    def _running(self, number: int, ended: TrialState) -> FrozenTrial | None:
        """The trial, None if a commit of ours has ended it so, and its answer was lost; LeaseLost if another's did."""
        trial = self.trials[number]
        if trial.state.is_finished():
            self._leases.check_ended(trial, ended)
            return None
        self._leases.check(number, trial._trial_id)
        return trial

    def _emit(self, event: Event) -> None:
        for listener in self._listeners:
            listener(event)
