"""Runs a study's trials as Ray Tune trials."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any

from ray import tune
from ray.tune import FailureConfig, RunConfig, TuneConfig, Tuner

from optlstm.backends.driver import MAX_RESTARTS, Run
from optlstm.backends.ray.cluster import check_shared_folder, nodes_in_words, resources_in_words, trials_at_once
from optlstm.backends.ray.connection import KEEP_VARIABLE, Watch, connected
from optlstm.backends.ray.search import LedgerSearch, StudyASHA, StudyScheduler, answers, registered
from optlstm.backends.ray.worker import run_assignment
from optlstm.backends.trial import Job
from optlstm.config.schema import RayConfig
from optlstm.util.files import Location
from optlstm.util.temporary import keep, temporary_folder

WATCH_S = 0.5  # between two looks at whether Ray lives
# Ray Tune reads these when it runs. Results go to the study, not to CSV, JSON and TensorBoard files of each trial; the
# experiment's state is not used; Ctrl-C is handled by the study; trials start as soon as they are asked for.
SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "600",
    "RAY_AIR_NEW_OUTPUT": "0",
}


@dataclass(frozen=True)
class PreparedRay:
    """A Ray that has enough for `at_once` trials, and whose nodes share the folder of checkpoints."""

    config: RayConfig
    at_once: int
    watch: Watch

    def run(self, run: Run, job: Job, workers: int | None = None) -> None:
        """Run trials as `run_ray` does. workers: Trials at a time, where those are fewer than it holds."""
        at_once = min(self.at_once, workers or self.at_once)
        with run.under_way():
            with registered(run) as key, _ray_folder() as folder:
                _fit(_tuner(run, job, self.config.resources, key, at_once, folder), self.watch)
            run.finish(lambda: job.make_objective(job.data))


@contextlib.contextmanager
def prepared(ray: RayConfig, workers: int | None, checkpoints: Location | None) -> Iterator[PreparedRay]:
    """Connect to Ray, or start one, and see that trials can run there.

    Raises:
        InputError: The cluster cannot be reached, has too little for one trial, or does not share the folder.
    """
    with connected(ray.address, workers, ray.cpus_per_trial) as watch:
        at_once = trials_at_once(ray.resources, workers)
        if checkpoints is not None:
            check_shared_folder(checkpoints)
        yield PreparedRay(ray, at_once, watch)


def run_ray(
    run: Run,
    job: Job,
    ray: RayConfig = RayConfig(),  # type: ignore[call-arg]  # noqa: B008  (frozen)
    workers: int | None = None,
    checkpoints: Location | None = None,
) -> None:
    """Run trials until there are none, the study stops, or `run` is told to stop.

    Args:
        workers: Trials at a time; None: as many as the cluster's resources allow.
        checkpoints: Where trials write their checkpoints; every node must see it.

    Raises:
        InputError: The cluster cannot be reached, has too little for one trial, or does not share the folder.
        OptlstmError: The task could not be set up on a worker.
    """
    with prepared(ray, workers, checkpoints) as there:
        there.run(run, job)


def describe(ray: RayConfig, workers: int | None, checkpoints: Location) -> list[tuple[str, str]]:
    """What a run would use: the cluster's resources, trials at once; as (name, value) rows.

    Raises:
        InputError: As `run_ray`.
    """
    with prepared(ray, workers, checkpoints) as there:
        return [
            ("address", ray.address or "a new Ray, on loopback"),
            *(("node", line) for line in nodes_in_words()),
            ("per trial", resources_in_words(ray.resources)),
            ("at once", str(there.at_once)),
        ]


def _tuner(run: Run, job: Job, resources: dict[str, float], key: str, at_once: int, folder: str) -> Tuner:
    # The job goes into Ray's object store once; workers map its arrays from there.
    trainable: Any = tune.with_parameters(run_assignment, job=job, key=key, answers=answers(key))
    record = run.ledger.record
    scheduler: Any = StudyScheduler(key)
    if record.scheduler == "asha":
        scheduler = StudyASHA(key, record.epochs, record.direction, record.pruner_options)
    return Tuner(
        tune.with_resources(trainable, resources),
        tune_config=TuneConfig(
            search_alg=LedgerSearch(key, at_once),
            scheduler=scheduler,
            num_samples=-1,  # the searcher says when it is over
            reuse_actors=True,
            trial_name_creator=lambda trial: f"trial-{trial.trial_id}",
            trial_dirname_creator=lambda trial: f"trial-{trial.trial_id}",
        ),
        run_config=RunConfig(
            name=f"optlstm-{uuid.uuid4().hex[:8]}",
            storage_path=folder,
            failure_config=FailureConfig(max_failures=MAX_RESTARTS),
            verbose=0,
        ),
    )


def _fit(tuner: Tuner, watch: Watch) -> None:
    """Run Ray Tune's loop in a thread, which is left to itself where Ray has died: no call into it returns then."""
    ended: Future[None] = Future()

    def fit() -> None:
        try:
            tuner.fit()
        except BaseException as error:
            ended.set_exception(error)
        else:
            ended.set_result(None)

    threading.Thread(target=fit, name="optlstm-ray-tune", daemon=True).start()
    while not wait([ended], timeout=WATCH_S).done:
        watch.check()
    ended.result()


@contextlib.contextmanager
def _ray_folder() -> Iterator[str]:
    """Ray Tune's experiment folder: the study does not need it, so it is a temporary one."""
    before = {name: os.environ.get(name) for name in SETTINGS}
    os.environ.update(SETTINGS)
    # It would warn of missing result files, which it was told not to write.
    loggers = [logging.getLogger(name) for name in ("ray.tune", "ray.train", "ray.air")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with temporary_folder() as folder:
            if KEEP_VARIABLE in os.environ:
                keep(folder)
            yield str(folder)
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
