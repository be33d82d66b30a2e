"""A server of worker processes, started before the data is read: it imports torch while this process imports Optuna."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from optlstm.backends.local.fork_server import FORKS, ForkServer
from optlstm.tasks.registry import DEFAULT_TASK, TASKS, task_class
from optlstm.util.processor import cores

OF_TASKS = ("optlstm.run.objective", "optlstm.training.runtime")
OF_CUSTOM_OBJECTIVES = ("optlstm.run.custom_objective", "optlstm.training.runtime", "optlstm.training.tracked")


@contextmanager
def worker_server(raw: Mapping[str, Any]) -> Iterator[ForkServer | None]:
    """The server of a command's workers, as far as its config tells before it is checked; None: it needs none."""
    if not FORKS or raw.get("backend", "local") != "local" or not _several(raw):
        yield None
        return
    training = raw.get("training")
    threads = training.get("threads", 1) if isinstance(training, Mapping) else 1
    server = ForkServer(threads if isinstance(threads, int) and threads > 0 else 1, _modules(raw))
    try:
        yield server
    finally:
        server.close()


def _several(raw: Mapping[str, Any]) -> bool:
    """Whether trials run in worker processes."""
    workers, trials = raw.get("workers", "auto"), raw.get("trials")
    at_once = cores() if workers == "auto" else workers
    return raw.get("trial_timeout") is not None or (1 not in (at_once, trials))


def _modules(raw: Mapping[str, Any]) -> tuple[str, ...]:
    if raw.get("objective") is not None:
        return OF_CUSTOM_OBJECTIVES
    name = raw.get("task", DEFAULT_TASK)
    problem = task_class(name).problem if name in TASKS else ""
    return (*OF_TASKS, problem.partition(":")[0])
