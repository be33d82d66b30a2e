"""What other processes of the tests run. They start from a server that has imported Optuna: in milliseconds."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import event

from optlstm.backends.driver import Run
from optlstm.cli import main
from optlstm.study.database.connection import open_database
from optlstm.study.ledger import Ledger
from optlstm.study.record import StudyRecord
from tests.study.helpers import EPOCHS, assigned, best_of, drive, train, validation_loss

CONTEXT = multiprocessing.get_context("forkserver")
# What each of them would import again, some of it late.
CONTEXT.set_forkserver_preload(
    [
        "optlstm.study.ledger",
        "optlstm.run.plan",
        "optlstm.run.objective",
        "optlstm.training.checkpoints",
        "alembic.command",
        "tests.dying",
    ]
)
JOIN_S = 250.0  # less than pytest's timeout


def start(target: Any, *args: Any) -> ForkServerProcess:
    process = CONTEXT.Process(target=target, args=args, daemon=True)
    process.start()
    return process


def exit_code(process: ForkServerProcess) -> int | None:
    process.join(JOIN_S)
    return process.exitcode


def command(folder: Path, arguments: tuple[str, ...], log: str = "said") -> None:
    """`python -m optlstm ...` in a folder; what it says goes into the file `log` there."""
    os.chdir(folder)
    with (folder / log).open("w", buffering=1) as said, redirect_stdout(said), redirect_stderr(said):
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)  # where the handlers of signals write
        code = main(arguments)
    raise SystemExit(code)


def after_reports(reports: int, action: Callable[[], None]) -> None:
    """Do something in this process when its driver has written down a number of epochs."""
    report, counter = Run.report, itertools.count(1)

    def counted(*args: Any) -> Any:
        decision = report(*args)
        if next(counter) == reports:
            action()
        return decision

    Run.report = counted  # type: ignore[method-assign]


def die_within(seconds: float) -> None:
    """End this process without a word when a time has passed, wherever it is then."""
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))


def stopping_command(folder: Path, arguments: tuple[str, ...], reports: int) -> None:
    """`command`, which stops itself (SIGSTOP) after a number of reports, for `met_half_way`."""
    after_reports(reports, lambda: os.kill(os.getpid(), signal.SIGSTOP))
    command(folder, arguments)


def dying_command(folder: Path, arguments: tuple[str, ...], reports: int, seconds: float) -> None:
    """`command`, which dies (SIGALRM) some time after a number of reports."""
    after_reports(reports, lambda: die_within(seconds))
    command(folder, arguments)


def met_half_way(action: Callable[[int], None], arguments: tuple[str, ...], reports: int) -> int | None:
    """Do something to a command (its process id) after a number of reports, while it stands still; its exit code."""
    process = start(stopping_command, Path.cwd(), arguments, reports)
    while process.is_alive() and psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
        time.sleep(0.02)
    assert process.is_alive(), Path("said").read_text()
    action(process.pid)
    os.kill(process.pid, signal.SIGCONT)
    return exit_code(process)


def open_files(urls: list[str], together: Barrier) -> None:
    """Open each database at the same instant as the others do."""
    for url in urls:
        together.wait(JOIN_S)
        open_database(url).close()


def work(url: str, name: str, study: StudyRecord, share: int, total: int, together: Barrier) -> None:
    """A driver that runs its share of the study's trials, which end at once."""
    together.wait(JOIN_S)
    database = open_database(url)
    ledger = Ledger(database, name, study)
    for _ in range(share):
        train(ledger, assigned(ledger, total), epochs=0)
    database.close()


def work_slowly(url: str, name: str, study: StudyRecord, total: int, seconds: float, together: Barrier) -> None:
    """A driver that pauses before every epoch. It waits until each of the others has a trial, too."""
    database = open_database(url)
    ledger = Ledger(database, name, study)
    assignment = ledger.assign(total)
    together.wait(JOIN_S)
    while assignment is not None:
        for epoch in range(assignment.last_epoch + 1, EPOCHS + 1):
            time.sleep(seconds)
            if ledger.report(assignment.number, epoch, validation_loss(assignment.params, epoch)):
                break
        else:
            ledger.complete(assignment.number, best_of(assignment.params), {"epochs": EPOCHS})
        assignment = ledger.assign(total)
    database.close()


def train_and_hang(url: str, name: str, study: StudyRecord, epochs: int, told: Connection) -> None:
    """Report some epochs of one trial, tell which, and wait to be killed."""
    ledger = Ledger(open_database(url), name, study)
    assignment = ledger.assign(10)
    assert assignment is not None
    for epoch in range(1, epochs + 1):
        assert not ledger.report(assignment.number, epoch, validation_loss(assignment.params, epoch))
    told.send((assignment.number, dict(assignment.params)))
    signal.pause()


def work_until_statement(url: str, name: str, study: StudyRecord, total: int, last: int) -> None:
    """Drive the study, and die without a word before the `last`-th statement (commits count)."""
    database = open_database(url)
    counter = itertools.count(1)

    def die(*_: Any) -> None:
        if next(counter) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(database.rdb.engine, "before_cursor_execute", die)
    event.listen(database.rdb.engine, "commit", die)
    drive(Ledger(database, name, study), total)
    database.close()
