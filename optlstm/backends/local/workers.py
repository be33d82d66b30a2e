"""The worker processes of one job: started, heard and ended."""

from __future__ import annotations

import tempfile
from collections import Counter
from typing import Any

from optlstm.backends.local.fork_server import ForkServer
from optlstm.backends.local.gpus import Gpus
from optlstm.backends.local.process import WorkerProcess
from optlstm.backends.local.shared_data import SharedData
from optlstm.backends.trial import Job
from optlstm.errors import OptlstmError

END_S = 5.0  # for a worker to end by itself


class Workers:
    """Worker processes, each with the job's objective.

    Args:
        server: Forks them; None: each is started by itself.
        gpus: What they see of the GPUs.
    """

    def __init__(self, job: Job, server: ForkServer | None = None, gpus: Gpus = Gpus()) -> None:  # noqa: B008  (frozen)
        self.job = job
        self.gpus = gpus
        self.server = server if server and server.threads == job.threads else None
        self.workers: list[WorkerProcess] = []
        self.shared: SharedData | None = None  # until every worker has it

    def start(self) -> None:
        try:
            self.shared = self.shared or SharedData.write(self.job.data)
            stack = tempfile.TemporaryFile()  # noqa: SIM115  (closed with its worker)
        except OSError as error:
            raise OptlstmError(f"{tempfile.gettempdir()}: cannot write: {error.strerror or error}") from error
        worker = WorkerProcess(self.job.threads, stack, self.shared.fd, self.server)
        busy = Counter(worker.gpus for worker in self.workers)
        worker.gpus = min(self.gpus.devices, key=lambda gpus: busy[gpus], default=None)
        self.workers.append(worker)
        worker.send((self.job.make_objective, self.shared, worker.gpus))

    def receive(self, worker: WorkerProcess) -> tuple[Any, ...]:
        """A worker's message; empty where it was that the worker is ready.

        Raises:
            EOFError, ConnectionError: It died.
            OptlstmError: It could not set up its task.
        """
        message: tuple[Any, ...] = worker.connection.recv()
        match message:
            case ("ready",):
                worker.ready = True
                if self.shared and all(w.ready for w in self.workers):
                    self.shared.close()
                    self.shared = None
                return ()
            case ("setup failed", reason):
                raise OptlstmError(reason)
        return message

    def close(self) -> None:
        for worker in self.workers:
            worker.end()
        for worker in self.workers:
            worker.wait(END_S)
        if self.shared:
            self.shared.close()
