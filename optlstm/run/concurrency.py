"""Where trials run, and how many at a time."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from optlstm.backends.local.gpus import Gpus, gpus_for
from optlstm.config.schema import RayConfig, StudyConfig
from optlstm.util.files import absolute
from optlstm.util.processor import cores

if TYPE_CHECKING:
    from optlstm.backends.ray.runner import PreparedRay


_WORTH_S = 10.0  # of training in all, from which on processes are worth their start, on a busy machine too


def local_gpus(config: StudyConfig) -> Gpus:
    """Of this machine, those that the trials may use."""
    return gpus_for(config.ray.gpus_per_trial, config.training.device)


def workers_at_once(config: StudyConfig, left: int) -> int | None:
    """Trials at a time: never more than there are left, nor, on this machine, than have room on its GPUs."""
    if config.backend == "ray":
        return None if config.workers == "auto" else max(1, min(config.workers, left))
    places = local_gpus(config).places
    most = (places or cores()) if config.workers == "auto" else config.workers
    return max(1, min(most, left, places or most))


def local_workers(config: StudyConfig) -> int | str:
    """What a study's command says of processes on this machine."""
    return config.workers if config.backend == "local" else "auto"


def networks_at_once(config: StudyConfig, workers: int | str, networks: int, seconds: float) -> int:
    """How many networks of a model to train at a time: as many as `study` runs trials on this machine.

    Args:
        config: Of the study.
        workers: As of `study`; auto: one where all of them take few seconds.
        seconds: What they should take, one after the other.
    """
    if workers == "auto" and seconds < _WORTH_S:
        return 1
    return workers_at_once(config.model_copy(update={"workers": workers, "backend": "local"}), networks) or 1


def crowding(config: StudyConfig, workers: int | None) -> list[str]:
    """A warning where more threads are to train than this machine has cores; of a cluster's nodes nothing is known."""
    on_ray = config.backend == "ray"
    if on_ray and (config.ray.address is not None or config.ray.gpus_per_trial):
        return []
    at_once = workers or math.floor(cores() / config.ray.cpus_per_trial)
    threads = at_once * config.training.threads
    if at_once == 1 or threads <= cores():
        return []
    fitting = max(1, cores() // config.training.threads)
    return [
        f"workers: {at_once} trials at a time, {threads} threads, on {cores()} cores: slower than with fewer; "
        f"give --workers {fitting}"
    ]


def prepared_ray(config: StudyConfig) -> AbstractContextManager[PreparedRay]:
    """Raises InputError when it is entered, where no trial can run there."""
    from optlstm.backends.ray.runner import prepared

    workers = None if config.workers == "auto" else config.workers
    return prepared(ray_config(config), workers, absolute(config.storage_path))


def ray_config(config: StudyConfig) -> RayConfig:
    """Where no trial uses a GPU, none is reserved."""
    asked, device = config.ray.gpus_per_trial, config.training.device
    return config.ray.model_copy(update={"gpus_per_trial": 0.0}) if asked is None and device == "cpu" else config.ray
