"""Run a session's trials on this terminal: its display, its signals, its exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stdout, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optlstm.cli.common import DEFAULT_STORAGE
from optlstm.cli.databases import existing, open_study_database, quieten_optuna
from optlstm.config.flags import STORAGE_VARIABLE
from optlstm.config.validate import attempt
from optlstm.run.worker_server import worker_server
from optlstm.study.failures import STREAK
from optlstm.util import interrupts

if TYPE_CHECKING:
    from optlstm.console.progress import Display
    from optlstm.run.budget import Budget
    from optlstm.run.session import Session


def shown_storage(raw: dict[str, Any]) -> str:
    """The flag that the command to resume needs."""
    from optlstm.console.run_summary import storage_flag

    url = str(raw.get("storage") or DEFAULT_STORAGE)
    return "" if url in (DEFAULT_STORAGE, os.environ.get(STORAGE_VARIABLE)) else storage_flag(url)


def run_session(
    raw: dict[str, Any],
    problems: list[str],
    study_file: Path | None,
    quiet: bool,
    budget: Budget | None = None,
    *,
    is_over: Callable[[Session], bool] = lambda session: False,
    verbose: bool = False,
    in_process: bool = False,
) -> tuple[Session, int]:
    """Open the study, run its trials, show how it goes. Gives the session and the exit code.

    Args:
        budget: The time for a whole model, of which the trials get a part; what is said after them is the caller's.
        is_over: Whether there is nothing to run in the study that was opened.
        verbose: Show what the trials print, too.
        in_process: Run them here, one at a time, where a debugger stops them.
    """
    with ExitStack() as resources:  # until the trials have ended
        server = resources.enter_context(worker_server(raw))  # before all that takes its time here
        from optlstm.console.progress import make_console
        from optlstm.console.run_summary import announce, make_display, notices, resume_command, say_budget
        from optlstm.console.trial_output import TrialOutput, print_traceback
        from optlstm.models.warm_start import with_start
        from optlstm.report.dashboard_artifacts import DashboardPublisher
        from optlstm.run.session import open_session
        from optlstm.run.study_config import study_name

        quieten_optuna()
        name, url = study_name(raw, study_file), str(raw.get("storage") or DEFAULT_STORAGE)
        database = attempt(problems, lambda: existing(url))
        given = {"storage": url, **raw}
        config, stored = attempt(problems, lambda: with_start(database, name, given)) or (given, {})
        create, adapt = partial(open_study_database, url, create=True), budget.adapt if budget else None
        session = open_session(config, name, database, create, problems, stored, adapt)
        session = replace(session, in_process=in_process, server=server)
        resources.enter_context(session.resources)  # where it does not come to work
        if is_over(session):
            return session, 0
        console, shown = make_console(quiet, plain=in_process), shown_storage(raw)
        announce(console, session)
        baseline = None
        if budget is not None:
            budget.begin(session)
            baseline = say_budget(console, session, budget)
        output = TrialOutput(console, session.ledger, session.checkpoints) if verbose else nullcontext()
        if in_process:
            session.ledger.listen(partial(print_traceback, console, session.ledger))
        display = make_display(console, session, baseline)
        with stop_on_signals(session, resume_command(session, shown), display) as received, display, output:
            session.work(DashboardPublisher(session))
    if budget is None or received:
        notices(make_console(), session, shown)
    if received and session.run.stop_reason:  # not where it came when all was done
        return session, 128 + received[0]
    results = session.ledger
    failed = (results.best is None and not results.paused) or STREAK in (results.stopped or "")
    return session, 1 if failed else 0


@contextmanager
def stdout_for_results() -> Iterator[None]:
    """What anything prints inside, a user's objective or a library written in C, goes to standard error."""
    kept = None
    with suppress(OSError):  # it is closed
        kept = os.dup(1)
        os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


@contextmanager
def stop_on_signals(session: Session, resume: str, display: Display) -> Iterator[list[int]]:
    """First SIGINT or SIGTERM: stop after the epoch. Second: at once; a dead process's leases are void.

    Args:
        resume: The command to print where there is no time for anything else.
        display: In a terminal it says what the first one does.
    """
    received: list[int] = []

    def handle(number: int, _frame: object) -> None:
        # os.write: the interrupted code may be in the middle of a print.
        if received:
            shown_again = "\x1b[?25h\n" if sys.stderr.isatty() else ""  # the live display has hidden the cursor
            os.write(2, f"{shown_again}stopped; what was reported is saved. To resume:\n  {resume}\n".encode())
            if session.ray is not None:
                session.ray.watch.silence()
            os._exit(128 + number)  # worker processes end with us
        if not sys.stderr.isatty():
            os.write(2, f"{display.stopping}; again: at once\n".encode())
        received.append(number)
        session.run.stop("interrupted" if number == signal.SIGINT else "terminated")

    before = {number: signal.signal(number, handle) for number in interrupts.SIGNALS}
    try:
        interrupts.check()
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
