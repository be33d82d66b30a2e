"""Trials on this machine: in this process when there is one worker, in worker processes when there are more."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from multiprocessing.connection import Connection, wait
from typing import IO, TYPE_CHECKING, Any

from optlstm.backends.driver import MOST_RESTARTS, Run
from optlstm.backends.job import Job
from optlstm.backends.local.memory import kernel_kills
from optlstm.backends.local.shared_data import SharedData
from optlstm.backends.trial import TRACEBACK_LINES, Outcome, Verdict, run_trial
from optlstm.errors import OptlstmError
from optlstm.study.events import Assignment
from optlstm.study.failures import DIED, FAILURE_KEY, HUNG, MEMORY

if TYPE_CHECKING:
    from optlstm.tasks.plot_data import PlotData

POLL_S = 0.5
PICTURES_S = 300.0  # for a worker to forecast the validation rows
STACK_S = 1.0  # for a hung worker to write its stack
# What glibc's allocator would give back to the system and fault in again at every training step (see docs).
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_local(run: Run, job: Job, workers: int, *, inline: bool | None = None) -> None:
    """Run trials until there are none, the study stops, or `run` is told to stop.

    Args:
        workers: Trials at a time. One trains in this process; more train in that many worker processes.
        inline: Train in this process or not, whatever the number of workers.
    """
    with run.ledger.held():
        if workers == 1 if inline is None else inline:
            _run_inline(run, job)
        else:
            _Pool(run, job).work(workers)
    if run.broken:
        raise OptlstmError(run.broken)


def _run_inline(run: Run, job: Job) -> None:
    assignment = run.next()
    if assignment is None:
        return
    objective = job.make_objective(job.data)
    while assignment is not None:
        number = assignment.number

        def report(epoch: int, value: float, number: int = number) -> Verdict:
            return run.report(number, epoch, value)

        run.settle(number, run_trial(objective, assignment, report))
        assignment = run.next()
    run.finish(lambda: objective)


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    connection: Connection
    stack: IO[bytes]  # where it writes its stack on SIGUSR1
    ready: bool = False
    assignment: Assignment | None = None
    told: float = field(default_factory=time.monotonic)  # when it was last given something to do
    kernel_kills: int = 0  # of any process, before its trial


class _Asked:
    """What a driver without torch has for an objective: its workers, idle now, show what trials have learnt."""

    def __init__(self, workers: list[Connection]) -> None:
        self._workers = workers
        self._asked: dict[int, Connection] = {}

    def prepare(self, numbers: Sequence[int]) -> None:
        """Have the workers look at these trials, side by side, while this process does something else."""
        for number, connection in zip(numbers, cycle(self._workers), strict=False):
            with contextlib.suppress(ConnectionError):  # it died: its end of the pipe will say so
                connection.send(("plot_data", number))
            self._asked[number] = connection

    def plot_data(self, number: int) -> PlotData | None:
        """As `Objective.plot_data`. Trials are asked for in the order in which they were prepared."""
        if self._asked.get(number) not in self._workers:
            self.prepare([number])
        if not self._workers:
            raise OptlstmError("there is no worker left to ask for pictures")
        connection = self._asked.pop(number)
        try:
            if not connection.poll(PICTURES_S):
                raise OptlstmError(f"a worker was silent for {PICTURES_S:g} s")
            found, problem = connection.recv()
        except (EOFError, ConnectionError):
            self._workers.remove(connection)
            raise OptlstmError("the worker that was asked for pictures died") from None
        if problem:
            raise OptlstmError(problem)
        pictures: PlotData | None = found
        return pictures


class _Pool:
    """Worker processes and the trials they are at."""

    def __init__(self, run: Run, job: Job) -> None:
        self.run = run
        self.job = job
        self.workers: list[_Worker] = []
        self.restarts: Counter[int] = Counter()
        self.shared: SharedData | None = None  # until every worker has it
        self.lost = 0  # workers that died without a trial
        self.drained = False  # the study has no further trial for us
        self.backlog: list[Assignment] = []  # trials that have no worker yet, or whose worker died

    def work(self, count: int) -> None:
        first = self.run.next()
        if first is None:
            return
        self.backlog.append(first)
        try:
            self.workers = [self._start() for _ in range(count)]
            while True:
                self._feed()
                idle = not any(w.assignment for w in self.workers)
                if idle and (self.run.stopping or (self.drained and not self.backlog)):
                    break
                for connection in wait([w.connection for w in self.workers], timeout=POLL_S):
                    self._hear(next(w for w in self.workers if w.connection is connection))
                self._end_hung()
            self.run.finish(lambda: _Asked([worker.connection for worker in self.workers if worker.ready]))
        finally:
            self._close()

    def _feed(self) -> None:
        for worker in self.workers:
            if worker.ready and worker.assignment is None and not self.run.stopping:
                assignment = self.backlog.pop(0) if self.backlog else self.run.next()
                if assignment is None:
                    self.drained = True
                    return
                worker.assignment, worker.kernel_kills = assignment, kernel_kills()
                _send(worker, assignment)

    def _hear(self, worker: _Worker) -> None:
        try:
            message = worker.connection.recv()
        except (EOFError, ConnectionError):
            self._replace(worker)
            return
        match message:
            case ("ready",):
                worker.ready = True
                if self.shared and all(w.ready for w in self.workers):
                    self.shared.remove()
                    self.shared = None
            case ("broken", reason):
                raise OptlstmError(reason)
            case ("report", epoch, value):
                assert worker.assignment is not None
                _send(worker, self.run.report(worker.assignment.number, epoch, value))
            case ("outcome", outcome):
                assert worker.assignment is not None
                number, worker.assignment = worker.assignment.number, None
                self.run.settle(number, outcome)

    def _replace(self, worker: _Worker) -> None:
        """A worker died: its trial goes on from its checkpoint in a new one, unless it kills every worker it gets."""
        status = worker.process.wait()
        worker.connection.close()
        worker.stack.close()
        self.workers.remove(worker)
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        if worker.assignment is None:
            self.lost += 1
            if not worker.ready and (status >= 0 or self.lost > MOST_RESTARTS):
                raise OptlstmError(f"a worker process could not start ({how}); what it said stands above")
        else:
            number = worker.assignment.number
            self.restarts[number] += 1
            if self.run.ledger.trials[number].state.is_finished():
                pass  # its last report ended it
            elif status == -signal.SIGKILL and kernel_kills() > worker.kernel_kills:
                reason = "out of memory: the kernel killed its worker"
                self.run.settle(number, Outcome(failure=reason, attrs={FAILURE_KEY: MEMORY}))
            elif self.restarts[number] > MOST_RESTARTS:
                reason = f"its worker died {self.restarts[number]} times, last {how}"
                self.run.settle(number, Outcome(failure=reason, attrs={FAILURE_KEY: DIED}))
            else:
                last_epoch = self.run.ledger.trials[number].last_step or 0
                self.backlog.append(replace(worker.assignment, last_epoch=last_epoch))
        if not self.run.stopping:
            self.workers.append(self._start())

    def _end_hung(self) -> None:
        """Trials that have been silent for too long fail, with the stack their worker stands at; it is replaced."""
        limit = self.job.trial_timeout
        for worker in list(self.workers):
            silent = worker.assignment is not None and not worker.connection.poll()
            if limit is None or worker.assignment is None or not silent or time.monotonic() - worker.told < limit:
                continue
            number, worker.assignment = worker.assignment.number, None
            attrs = {FAILURE_KEY: HUNG, "traceback": _stack(worker)}
            worker.process.kill()
            self.run.settle(number, Outcome(failure=f"hung: no report for {limit:g} s", attrs=attrs))
            self._replace(worker)

    def _start(self) -> _Worker:
        try:
            self.shared = self.shared or SharedData.write(self.job.data)
            stack = tempfile.TemporaryFile()  # noqa: SIM115  (closed with its worker)
        except OSError as error:
            raise OptlstmError(f"{tempfile.gettempdir()}: cannot write: {error.strerror or error}") from error
        ours, theirs = socket.socketpair()
        environment = {**os.environ, **ALLOCATOR, "OMP_NUM_THREADS": str(self.job.threads)}
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "optlstm.backends.local.worker",
            str(theirs.fileno()),
            str(os.getpid()),
            str(stack.fileno()),
        ]
        handed = [theirs.fileno(), stack.fileno()]
        process = subprocess.Popen(command, pass_fds=handed, env=environment, stdin=subprocess.DEVNULL)
        theirs.close()
        worker = _Worker(process, Connection(ours.detach()), stack)
        _send(worker, sys.path)
        _send(worker, (self.job.make_objective, self.shared))
        return worker

    def _close(self) -> None:
        for worker in self.workers:
            worker.connection.close()  # an idle worker ends at that; a busy one at its next report
            if worker.assignment is not None:
                worker.process.terminate()
        for worker in self.workers:
            try:
                worker.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            worker.stack.close()
        if self.shared:
            self.shared.remove()


def _stack(worker: _Worker) -> str:
    """Where a worker stands, written by its faulthandler, which needs neither its cooperation nor its interpreter."""
    worker.process.send_signal(signal.SIGUSR1)
    deadline, said = time.monotonic() + STACK_S, b""
    while not said.endswith(b"\n") and time.monotonic() < deadline:
        time.sleep(0.02)
        worker.stack.seek(0)
        said = worker.stack.read()
    return "\n".join(said.decode(errors="replace").strip().splitlines()[:TRACEBACK_LINES])


def _send(worker: _Worker, message: Any) -> None:
    worker.told = time.monotonic()
    with contextlib.suppress(ConnectionError):  # it died: its end of the pipe will say so
        worker.connection.send(message)
