"""Trials on this machine: in this process when there is one worker, in worker processes when there are more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, TypeVar

from optlstm.backends.driver import MAX_RESTARTS, Run
from optlstm.backends.local.fork_server import ForkServer
from optlstm.backends.local.gpus import Gpus, trials_on_one
from optlstm.backends.local.process import WorkerProcess, how_it_died
from optlstm.backends.local.workers import Workers
from optlstm.backends.trial import Decision, Failed, Job, decode, hung, run_trial
from optlstm.errors import OptlstmError, StopTrial
from optlstm.study.events import Assignment
from optlstm.study.failures import DIED, MEMORY
from optlstm.util.format import many

if TYPE_CHECKING:
    from optlstm.tasks.plot_data import PlotData

T = TypeVar("T")
POLL_S = 0.5
PLOT_DATA_S = 300.0  # for a worker to forecast the validation rows, or to draw them


def run_local(
    run: Run,
    job: Job,
    workers: int,
    *,
    inline: bool | None = None,
    server: ForkServer | None = None,
    gpus: Gpus = Gpus(),  # noqa: B008  (frozen)
) -> None:
    """Run trials until there are none, the study stops, or `run` is told to stop.

    Args:
        workers: Trials at a time. One trains in this process; more train in that many worker processes.
        inline: Train in this process or not, whatever the number of workers.
        server: Forks the workers, and is closed with them; None: each is started by itself.
        gpus: Of worker processes.
    """
    with run.under_way():
        if workers == 1 if inline is None else inline:
            _run_inline(run, job)
        else:
            _Pool(run, job, server, gpus).work(workers)


def _run_inline(run: Run, job: Job) -> None:
    assignment = run.next()
    if assignment is None:
        return
    objective = job.make_objective(job.data)
    while assignment is not None:
        reports = _InlineReports(run, assignment.number)
        outcome = run_trial(objective, assignment, reports.report, reports.suggest)
        if reports.error is not None:
            raise reports.error
        run.record_outcome(assignment.number, outcome)
        assignment = run.next()
    run.finish(lambda: objective)


@dataclass
class _InlineReports:
    """The reports of a trial in this process. An error of the study's is none of the trial's, nor for it to catch."""

    run: Run
    number: int
    error: OptlstmError | None = None

    def report(self, epoch: int, value: float) -> Decision:
        try:
            return self.run.report(self.number, epoch, value)
        except OptlstmError as error:
            self.error = error
            raise StopTrial from error

    def suggest(self, param: str) -> str:
        try:
            return self.run.suggest(self.number, param)
        except OptlstmError as error:
            self.error = error
            raise StopTrial from error


class _Pool(Workers):
    """Worker processes and the trials they run."""

    def __init__(self, run: Run, job: Job, server: ForkServer | None = None, gpus: Gpus = Gpus()) -> None:  # noqa: B008
        super().__init__(job, server, gpus)
        self.run = run
        self.more = 0  # workers that are started when the first trial has shown what it needs of a GPU
        self.restarts: Counter[int] = Counter()
        self.lost = 0  # workers that died without a trial
        self.drained = False  # the study has no further trial for us
        self.backlog: list[Assignment] = []  # trials that have no worker yet, or whose worker died

    def work(self, count: int) -> None:
        first = self.run.next()
        if first is None:
            return
        self.backlog.append(first)
        if self.gpus.measures:
            count, self.more = 1, count
        try:
            for _ in range(count):
                self.start()
            while True:
                self._assign()
                idle = not any(w.assignment for w in self.workers)
                if idle and (self.run.stopping or (self.drained and not self.backlog)):
                    break
                for connection in wait([w.connection for w in self.workers], timeout=POLL_S):
                    self._receive(next(w for w in self.workers if w.connection is connection))
                self._end_hung()
            self.run.finish(lambda: _WorkersPlotData([worker for worker in self.workers if worker.ready]))
        finally:
            self.close()
            if self.server:
                self.server.close()

    def _assign(self) -> None:
        for worker in self.workers:
            if worker.ready and worker.assignment is None and not self.run.stopping:
                assignment = self.backlog.pop(0) if self.backlog else self.run.next()
                if assignment is None:
                    self.drained = True
                    return
                worker.run(assignment)

    def _receive(self, worker: WorkerProcess) -> None:
        try:
            message = self.receive(worker)
        except (EOFError, ConnectionError):
            self._replace(worker)
            return
        match message:
            case ("report", epoch, value):
                assert worker.assignment is not None
                worker.send(self.run.report(worker.assignment.number, epoch, value))
            case ("suggest", param):
                assert worker.assignment is not None
                worker.send(self.run.suggest(worker.assignment.number, param))
            case ("outcome", text, share):
                assert worker.assignment is not None
                number, worker.assignment = worker.assignment.number, None
                self.run.record_outcome(number, decode(text))
                if self.more:
                    self._grow(share)

    def _grow(self, share: float | None) -> None:
        """Start the other workers: as many as have room where the first trial took this share of its GPU's memory."""
        most, self.more = self.more, 0
        if share is not None:
            most = min(most, len(self.gpus.devices) * trials_on_one(share))
            took = f"the first trial took {100 * share:.2g} % of a GPU's memory"
            room = f"{trials_on_one(share)} fit on each of {many(len(self.gpus.devices), 'GPU')}"
            self.run.announce(f"{took}: {room}, {most} at a time")
        for _ in range(most - len(self.workers)):
            self.start()

    def _replace(self, worker: WorkerProcess) -> None:
        """A worker died: another takes its place."""
        status = worker.died()
        self.workers.remove(worker)
        if worker.assignment is not None:
            self._resolve_lost(worker, worker.assignment, status)
        else:
            self.lost += 1
            if not worker.ready and (status >= 0 or self.lost > MAX_RESTARTS):
                how = how_it_died(status)
                raise OptlstmError(f"a worker process could not start ({how}); its error output stands above")
        if not self.run.stopping:
            self.start()

    def _resolve_lost(self, worker: WorkerProcess, assignment: Assignment, status: int) -> None:
        """The trial of a worker that died is resumed in another, unless it kills every worker it gets."""
        number = assignment.number
        if not self.run.stopping:  # a signal to the whole group ends its workers too
            self.restarts[number] += 1
        trial = self.run.ledger.trials[number]
        if trial.state.is_finished():
            return  # its last report ended it
        if worker.out_of_memory(status):
            self.run.record_outcome(number, Failed("out of memory: the kernel killed its worker", MEMORY))
        elif self.restarts[number] > MAX_RESTARTS:
            reason = f"its worker died {self.restarts[number]} times, last {how_it_died(status)}"
            self.run.record_outcome(number, Failed(reason, DIED))
        else:
            self.backlog.append(replace(assignment, last_epoch=trial.last_step or assignment.from_epoch))

    def _end_hung(self) -> None:
        """Trials that have been silent for too long fail, with the stack their worker stands at; it is replaced."""
        limit = self.job.trial_timeout
        for worker in list(self.workers):
            if limit is None or worker.assignment is None or worker.silent_s < limit:
                continue
            number, worker.assignment = worker.assignment.number, None
            stack = worker.stack()
            worker.kill()
            self.run.record_outcome(number, hung(limit, stack))
            self._replace(worker)


class _WorkersPlotData:
    """What a driver without torch has for an objective: its workers, idle now, show what trials have learnt."""

    def __init__(self, workers: list[WorkerProcess]) -> None:
        self._workers = workers
        self._asked: dict[int, WorkerProcess] = {}

    def prepare(self, numbers: Sequence[int]) -> None:
        """Have the workers look at these trials, side by side, while this process does something else."""
        for number, worker in zip(numbers, cycle(self._workers), strict=False):
            worker.send(("plot_data", number))
            self._asked[number] = worker

    def plot_data(self, number: int) -> PlotData | None:
        """As `Objective.plot_data`. Trials are asked for in the order in which they were prepared."""
        if self._asked.get(number) not in self._workers:
            self.prepare([number])
        if not self._workers:
            raise OptlstmError("there is no worker left to ask for pictures")
        shown: PlotData | None = self._answer(self._asked.pop(number))
        return shown

    def call(self, function: Callable[..., T], calls: Sequence[tuple[Any, ...]]) -> Iterator[T]:
        """What a function returns for each of these arguments. The workers have begun when this returns.

        Args:
            function: Pickled by its name.
        """
        workers = [*self._workers]
        at_once = len(workers)

        def begin(k: int) -> None:
            if k < len(calls):  # one at a time: a second could wait for a worker that waits to be heard
                workers[k % at_once].send(("call", function, calls[k]))

        def answers() -> Iterator[T]:
            for k in range(len(calls)):
                result: T = self._answer(workers[k % at_once])
                begin(k + at_once)
                yield result

        for k in range(at_once):
            begin(k)
        return answers()

    def _answer(self, worker: WorkerProcess) -> Any:
        """Raises OptlstmError where it has none."""
        try:
            if not worker.connection.poll(PLOT_DATA_S):
                raise OptlstmError(f"a worker was silent for {PLOT_DATA_S:g} s")
            result, problem = worker.connection.recv()
        except (EOFError, ConnectionError):
            self._workers.remove(worker)
            raise OptlstmError("the worker that was asked for pictures died") from None
        if problem:
            raise OptlstmError(problem)
        return result
