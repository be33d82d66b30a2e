"""Calls of one function with a job's objective, in this process or side by side: what is trained beside a study.

The function is called as `function(objective, *arguments, report)`, where `report(*numbers)` says how far it is. What
it returns pickles, and so does the function, by its name. An error in a worker is one line here, without its traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import wait
from typing import Any

from optlstm.backends.local.fork_server import ForkServer
from optlstm.backends.local.gpus import Gpus
from optlstm.backends.local.process import WorkerProcess, how_it_died
from optlstm.backends.local.workers import Workers
from optlstm.backends.trial import Job
from optlstm.errors import OptlstmError

OnReport = Callable[..., None]  # position of a call, and what it reports
Map = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]], OnReport], list[Any]]


@contextmanager
def calls(
    job: Job,
    at_once: int,
    server: ForkServer | None = None,
    gpus: Gpus = Gpus(),  # noqa: B008  (frozen)
) -> Iterator[Map]:
    """Gives `map(function, arguments of each call, on_report)`, whose results are in the order of the calls.

    Args:
        at_once: Calls at a time; one is made in this process.
        server: Forks the workers; None: each is started by itself.

    Raises:
        OptlstmError: From `map`: a call failed in a worker, or its worker died. The other workers are ended.
    """
    if at_once == 1:
        yield partial(_map_here, job.make_objective(job.data))
        return
    workers = _CallWorkers(job, server, gpus)
    try:
        yield partial(workers.map, at_once)
    except BaseException:
        for worker in workers.workers:
            worker.kill()  # of what it trains nothing is kept
        raise
    finally:
        workers.close()


def _map_here(
    objective: Any, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], on_report: OnReport
) -> list[Any]:
    return [function(objective, *given, partial(on_report, k)) for k, given in enumerate(arguments)]


class _CallWorkers(Workers):
    """Worker processes and the calls they make."""

    def map(
        self, at_once: int, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], on_report: OnReport
    ) -> list[Any]:
        waiting, results, running = list(range(len(arguments))), dict[int, Any](), dict[WorkerProcess, int]()
        while len(self.workers) < min(at_once, len(arguments)):
            self.start()
        while len(results) < len(arguments):
            for worker in self.workers:
                if waiting and worker.ready and worker not in running:
                    running[worker] = waiting.pop(0)
                    worker.send(("call with objective", function, arguments[running[worker]]))
            for connection in wait([worker.connection for worker in self.workers]):
                worker = next(worker for worker in self.workers if worker.connection is connection)
                match self._message(worker):
                    case ("report", *numbers):
                        on_report(running[worker], *numbers)
                    case ("returned", result, problem):
                        if problem:
                            raise OptlstmError(problem)
                        results[running.pop(worker)] = result
        return [results[k] for k in range(len(arguments))]

    def _message(self, worker: WorkerProcess) -> tuple[Any, ...]:
        try:
            return self.receive(worker)
        except (EOFError, ConnectionError):
            status = worker.died()
            if worker.out_of_memory(status):
                why = "out of memory: the kernel killed a training process; give fewer --workers"
            else:
                why = f"a training process died ({how_it_died(status)}); --workers 1 trains in this one"
            raise OptlstmError(why) from None
