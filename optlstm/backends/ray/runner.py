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
from ray.tune.execution import tune_controller as tune_loop

from optlstm.backends.driver import Run
from optlstm.backends.ray.cluster import (
    Cluster,
    check_room,
    gpus_now,
    nodes_in_words,
    places_now,
    resources_in_words,
)
from optlstm.backends.ray.connection import KEEP_VARIABLE, Watch, connected
from optlstm.backends.ray.node_check import Expected, check_shared_folder, check_versions, versions
from optlstm.backends.ray.places import place_for
from optlstm.backends.ray.schedulers import StudyASHA, StudyScheduler
from optlstm.backends.ray.search import LedgerSearch, answers, entry_of, registered
from optlstm.backends.ray.worker import run_assignment
from optlstm.backends.trial import Job
from optlstm.config.schema import RayConfig
from optlstm.errors import InputError
from optlstm.util.files import Location
from optlstm.util.temporary import keep, temporary_folder

WATCH_S = 0.5  # between two looks at whether Ray lives
# Ray Tune reads these when it runs. Results go to the study, not to CSV, JSON and TensorBoard files of each trial; the
# experiment's state is not used; Ctrl-C is handled by the study; trials start as soon as they are asked for, and one
# that has lost its worker is the ledger's again.
SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "600",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE": "1",
}


@dataclass(frozen=True)
class PreparedRay:
    """A Ray on which trials can run, or, where nodes may join it, will be able to.

    Args:
        limit: Trials at a time, at most.
        notes: For who runs a study there.
    """

    config: RayConfig
    limit: int
    watch: Watch
    notes: tuple[str, ...] = ()

    def run(self, run: Run, job: Job, workers: int | None = None, file: tuple[Location, str] | None = None) -> None:
        """Run trials as `run_ray` does.

        Args:
            workers: Trials at a time, where those are fewer.
            file: A folder and a file in it that every node of a cluster must see.
        """
        elastic = self.config.address is not None
        cluster = Cluster(self.config, min(self.limit, workers or self.limit), elastic)
        expected = Expected(versions(), *(file or ())) if elastic else None
        with run.under_way():
            with registered(run, cluster) as key, _ray_folder() as folder:
                _fit(_tuner(run, job, key, expected, folder), key, self.watch)
            run.finish(lambda: job.make_objective(job.data))


@contextlib.contextmanager
def prepared(ray: RayConfig, workers: int | None, checkpoints: Location | None) -> Iterator[PreparedRay]:
    """Connect to Ray, or start one, and see that trials can run there.

    Raises:
        InputError: The cluster cannot be reached, or its nodes have other versions or do not share the folder; one that
            is no cluster has too little for one trial.
    """
    if ray.gpus_per_trial == "auto":
        raise InputError("--gpus-per-trial auto: is for --backend local; on Ray give a number, such as 0.25")
    with connected(ray.address, workers, ray.cpus_per_trial) as watch:
        notes = list[str]()
        if ray.gpus_per_trial is None and (gpus := gpus_now()):
            ray = ray.model_copy(update={"gpus_per_trial": 1.0})
            notes.append(
                f"--gpus-per-trial: the nodes have {gpus:g} GPU, a trial takes one; 0.25: four share one; 0: CPUs alone"
            )
        if ray.address is None:
            check_room(ray.resources)
            limit = min(places_now(ray.resources), workers or ray.max_workers)
        else:
            check_versions()
            limit = workers or ray.max_workers
        if checkpoints is not None:
            check_shared_folder(checkpoints)
        yield PreparedRay(ray, limit, watch, tuple(notes))


def run_ray(
    run: Run,
    job: Job,
    ray: RayConfig = RayConfig(),  # type: ignore[call-arg]  # noqa: B008  (frozen)
    workers: int | None = None,
    checkpoints: Location | None = None,
) -> None:
    """Run trials until there are none, the study stops, or `run` is told to stop.

    Args:
        workers: Trials at a time; None: as many as are left, where there is room for them.
        checkpoints: Where trials write their checkpoints; every node must see it.

    Raises:
        InputError: As `prepared`.
        OptlstmError: The task could not be set up on a worker; no node with room for a trial has come.
    """
    with prepared(ray, workers, checkpoints) as there:
        there.run(run, job)


def describe(ray: RayConfig, workers: int | None, checkpoints: Location) -> list[tuple[str, str]]:
    """What a run would use: the cluster's resources, trials at once; as (name, value) rows.

    Raises:
        InputError: As `run_ray`.
    """
    with prepared(ray, workers, checkpoints) as there:
        ray = there.config
        now = min(places_now(ray.resources), there.limit)
        return [
            *(("note", note) for note in there.notes),
            ("address", ray.address or "a new Ray, on loopback"),
            *(("node", line) for line in nodes_in_words()),
            ("per trial", resources_in_words(ray.resources)),
            ("at once", str(now) if ray.address is None else f"{now} now, up to {there.limit} where nodes join"),
        ]


def _tuner(run: Run, job: Job, key: str, expected: Expected | None, folder: str) -> Tuner:
    # The job goes into Ray's object store once; workers map its arrays from there.
    trainable: Any = tune.with_parameters(run_assignment, job=job, key=key, answers=answers(key), expected=expected)
    record = run.ledger.record
    scheduler: Any = StudyScheduler(key)
    if record.scheduler == "asha":
        scheduler = StudyASHA(key, record.epochs, record.direction, record.pruner_options)
    return Tuner(
        tune.with_resources(trainable, place_for(entry_of(key).cluster.resources)),
        tune_config=TuneConfig(
            search_alg=LedgerSearch(key),
            scheduler=scheduler,
            num_samples=-1,  # the searcher says when it is over
            reuse_actors=True,
            trial_name_creator=lambda trial: f"trial-{trial.trial_id}",
            trial_dirname_creator=lambda trial: f"trial-{trial.trial_id}",
        ),
        run_config=RunConfig(
            name=f"optlstm-{uuid.uuid4().hex[:8]}",
            storage_path=folder,
            failure_config=FailureConfig(max_failures=0),
            verbose=0,
        ),
    )


def _fit(tuner: Tuner, key: str, watch: Watch) -> None:
    """Run Ray Tune's loop in a thread, which is left to itself where Ray has died: no call into it returns then."""
    ended: Future[None] = Future()
    loop: Any = tune_loop
    places, default = entry_of(key).places, loop.PlacementGroupResourceManager

    def fit() -> None:
        try:
            loop.PlacementGroupResourceManager = lambda: places  # Ray Tune makes its own, and takes no other
            try:
                tuner.fit()
            finally:
                loop.PlacementGroupResourceManager = default
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
