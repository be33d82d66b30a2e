"""One `study` command from the merged config to the last trial, for the command line and for Python alike."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import optuna
from optuna.trial import FrozenTrial, TrialState

from optlstm.backends.driver import Run
from optlstm.backends.local.runner import run_local
from optlstm.backends.trial import Job
from optlstm.config.flags import STORAGE_VARIABLE
from optlstm.config.schema import StudyConfig
from optlstm.config.sources import layer
from optlstm.config.validate import attempt, check_storage_paths
from optlstm.errors import InputError
from optlstm.run.concurrency import crowding, local_gpus, prepared_ray, workers_at_once
from optlstm.run.owner import OWNER_FILE, adopt_command, claim, owner_problem
from optlstm.run.plan import Plan, make_plan
from optlstm.run.retention import copy_weights, study_folder, sweep, watched
from optlstm.run.study_config import imported_trials, unknown_name, with_name
from optlstm.study.creation import check_study
from optlstm.study.database.connection import Database
from optlstm.study.events import Event, TrialFinished
from optlstm.study.ledger import Ledger
from optlstm.study.population_ledger import PopulationLedger
from optlstm.study.record import ENVIRONMENT_KEY, FOLDER_KEY, METRIC_NAMES_KEY, NOTES_KEY, UID_KEY
from optlstm.study.results import StudyResults, find_study
from optlstm.study.stopping import Stopper
from optlstm.tracking import TrackedStudy, following
from optlstm.util.files import Location, absolute, is_url
from optlstm.util.format import duration, model_folder
from optlstm.util.processor import cores
from optlstm.util.user_code import Stored

if TYPE_CHECKING:
    from optlstm.backends.local.fork_server import ForkServer
    from optlstm.backends.ray.runner import PreparedRay

INTERRUPTIONS = ("interrupted", "terminated", "timeout")  # how the reasons of a run that was stopped begin


class Publisher(Protocol):
    """Shows a study's best networks elsewhere. It must not raise: the study is complete without it."""

    def collect(self, objective: Callable[[], Any]) -> None:
        """Called once all trials have run, while there are workers.

        Args:
            objective: Gives the objective, or what asks the workers for its `plot_data`.
        """

    def publish(self) -> None:
        """Called at the end of every run, also where `collect` was not."""


@dataclass(frozen=True)
class Session:
    """An opened study, ready to run."""

    plan: Plan
    ledger: Ledger
    run: Run
    checkpoints: Location
    workers: int | None  # trials at a time; None: what Ray's cluster holds
    finished: int  # trials that had ended before this command
    ray: PreparedRay | None = None
    resources: ExitStack = field(default_factory=ExitStack)  # such as the connection to Ray; closed after the trials
    notes: Sequence[str] = ()  # on what the command asks for
    in_process: bool = False  # trials run in this one, for a debugger
    server: ForkServer | None = None  # of local worker processes

    @property
    def warnings(self) -> list[str]:
        """What is unusual about the command, the data, or the machine."""
        ray = self.ray.notes if self.ray is not None else ()
        config = self.plan.config
        return [*self.notes, *ray, *self.plan.notes, *self.plan.task.warnings, *crowding(config, self.workers)]

    def work(self, publisher: Publisher) -> None:
        """Run trials until there are none left or the run is told to stop, and let `publisher` show the best."""
        with self.resources:
            self._train(publisher)
        if reason := self._stop_reason():
            limit = duration(self.plan.config.timeout or 0)
            self.ledger.set_stop_reason(f"timeout of {limit}" if reason == "timeout" else reason)
        publisher.publish()
        self._stop_reason()  # an interrupted drawing is no interrupted study

    def _train(self, publisher: Publisher) -> None:
        ended: list[int] = []

        def collect(objective: Callable[[], Any]) -> None:
            if ended and self._stop_reason() is None:
                publisher.collect(objective)

        self._describe_run()
        self.ledger.listen(lambda event: ended.append(event.number) if isinstance(event, TrialFinished) else None)
        self.ledger.clear_stop_reason(INTERRUPTIONS)
        job = self.plan.job(self.checkpoints)
        self.run.finish = collect
        with self._retention(), self._tracking():
            self._start(job)

    @contextmanager
    def _retention(self) -> Iterator[None]:
        """While trials run, the checkpoints of the best stay, and the run ends where their folder is gone."""
        keep = partial(sweep, self.checkpoints, self.ledger, self.plan.config.keep)
        with watched(self.checkpoints) as why_lost:

            def keep_best(event: Event) -> None:
                if reason := why_lost():
                    self.run.block(reason)
                elif isinstance(event, TrialFinished):
                    keep()

            keep()
            self.ledger.listen(keep_best)
            yield

    def _describe_run(self) -> None:
        notes = list(self.plan.task.warnings)
        self.ledger.set_attrs(
            {FOLDER_KEY: str(self.checkpoints), ENVIRONMENT_KEY: environment(self.plan.config.backend)}
            | ({NOTES_KEY: notes} if notes else {}),
            system={} if self.plan.config.several else {METRIC_NAMES_KEY: [self.plan.metric.label]},
        )

    def _stop_reason(self) -> str | None:
        """Why the run was stopped before all was done."""
        left = self.ledger.counts["RUNNING"] + self.ledger.counts["WAITING"]
        if left == 0 and self.ledger.ended >= self.run.total:
            self.run.stop_reason = None  # it came when all was done
        return self.run.stop_reason

    def _tracking(self) -> AbstractContextManager[None]:
        """Trackers at work, where there are any."""
        tracking = self.plan.config.tracking
        if not tracking.trackers:
            return nullcontext()
        folder = Path(str(self.checkpoints).rsplit("/", 1)[1] if is_url(self.checkpoints) else self.checkpoints)
        study = TrackedStudy(
            self.ledger.name,
            self.ledger.uid,
            self.plan.metric.label,
            folder,
            tracking.project,
            tracking.model_dump(mode="json"),
        )
        return following(self.ledger, tracking.trackers, study)

    def _start(self, job: Job) -> None:
        if self.in_process:
            run_local(self.run, self.plan.job(self.checkpoints, captured=False), 1, inline=True)
        elif self.ray is not None:
            self.ray.run(self.run, job, self.workers, (self.checkpoints, OWNER_FILE))
        else:
            gpus = local_gpus(self.plan.config)
            # What hangs is ended from outside; a process keeps the GPU that it has begun with.
            inline = False if job.trial_timeout or gpus.devices else None
            run_local(self.run, job, self.workers or 1, inline=inline, server=self.server, gpus=gpus)


def environment(backend: str) -> dict[str, str | int]:
    """Versions and machine of a run, so that it can be repeated."""
    packages = ("optlstm", "optuna", "torch", "numpy", *(("ray",) if backend == "ray" else ()))
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "system": f"{platform.system()} {platform.machine()}",
        "cores": cores(),
        "backend": backend,
    }


def open_session(
    raw: Mapping[str, Any],
    name: str,
    database: Database | None,
    open_database: Callable[[], Database],
    problems: Sequence[str] = (),
    stored: Mapping[str, Stored] = {},
    adapt: Callable[[Plan], Mapping[str, Any]] | None = None,
) -> Session:
    """Check everything, then open or create the study.

    Args:
        database: Where there is one already.
        open_database: Makes one, where all is well.
        problems: Met before, to be reported with the others.
        stored: The keys whose code only a study's database names.
        adapt: Of a new study: what it changes of its config, once that and the data were checked.

    Raises:
        InputError: With every problem; nothing was created.
    """
    problems = [*problems]
    unread = database is None and bool(problems)  # it may be there
    notes = () if unread else attempt(problems, lambda: unknown_name(database, name, raw)) or ()
    plan = make_plan(with_name(raw, name), problems, stored)
    if adapt and find_study(database, name) is None and (changes := adapt(plan)):
        plan = make_plan(layer(with_name(raw, name), changes), (), stored)
    config = plan.config
    check_storage_paths(config)
    imported = imported_trials(database, plan, name)
    check_continuable(plan, name, database, imported)
    workers_at_once(config, 1)
    with ExitStack() as resources:
        ray = resources.enter_context(prepared_ray(config)) if config.backend == "ray" else None
        # Nothing is created before this line, and nothing refused after it.
        database = database or open_database()
        ledger = _open_ledger(plan, name, database, imported)
        checkpoints = study_folder(absolute(config.storage_path), name, ledger.uid)
        claim(checkpoints, database)
        if isinstance(ledger, PopulationLedger):
            ledger.copy = partial(copy_weights, checkpoints)
        total = ledger.trial_limit(config.pbt.population if config.scheduler == "pbt" else config.total)
        run, workers = Run(ledger, total, config.timeout), workers_at_once(config, total - ledger.ended)
        return Session(plan, ledger, run, checkpoints, workers, ledger.ended, ray, resources.pop_all(), notes)


def _open_ledger(plan: Plan, name: str, database: Database, imported: Sequence[FrozenTrial]) -> Ledger:
    stored = plan.config.stored()
    if plan.population is not None:
        wait = plan.config.storage_timeout
        return PopulationLedger(database, name, plan.record, stored, options=plan.population, storage_timeout=wait)
    return Ledger(
        database,
        name,
        plan.record,
        stored,
        imported=imported,
        stopping=plan.stopping,
        measure=plan.measure,
        storage_timeout=plan.config.storage_timeout,
    )


def check_continuable(plan: Plan, name: str, database: Database | None, imported: Sequence[FrozenTrial]) -> None:
    """See that the study, if there is one, is this search, and that it is not over before it begins.

    Raises:
        InputError: A stop value is met before anything was run, and not because it ended the study.
        StudyConflict: The study is another search.
    """
    record, stopped = plan.record, None
    best = min(
        (t for t in imported if t.state == TrialState.COMPLETE),
        key=lambda t: t.values[0] if record.direction == "minimize" else -t.values[0],
        default=None,
    )
    if database is not None and (study := find_study(database, name)) is not None:
        check_study(database, name, record, _refit_command(plan.config, name))
        _check_owner(study, plan.config.storage_path, database)
        results = StudyResults(study)
        best, stopped = results.best, results.stopped
    if best is None or record.objectives:
        return
    reason = Stopper(plan.stopping, record.seed).value_reason(best, record.direction)
    if reason and reason != stopped:
        raise InputError(f"stop.value: {reason} already; give a better one, or leave it out")


def _refit_command(config: StudyConfig, name: str) -> list[str]:
    """What trains the params of a study on this command's data."""
    if not config.data.path or name.startswith("-"):
        return []
    command = ["refit", name, "-o", model_folder(name), "--data", config.data.path]
    for key, flag in (("storage", "--storage"), ("storage_path", "--storage-path")):
        value = getattr(config, key)
        if value not in (StudyConfig.model_fields[key].default, os.environ.get(STORAGE_VARIABLE)):
            command += [flag, value]
    return command


def _check_owner(study: optuna.Study, storage_path: Location, database: Database) -> None:
    """Raises InputError where the study's folder belongs to another database."""
    folder = study_folder(absolute(storage_path), study.study_name, str(study.user_attrs.get(UID_KEY, "")))
    if problem := owner_problem(folder, database):
        adopt = adopt_command(study.study_name, storage_path, database)
        raise InputError(
            f"storage_path: {problem}; give another --storage-path; if this is that database, moved: {adopt}"
        )
