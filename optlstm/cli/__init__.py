"""The command line: one function per command. Parse, call, print; nothing else in optlstm prints or exits."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from traceback import walk_tb
from typing import Any

import typer

from optlstm.cli.commands import LazyCommand, make_app
from optlstm.cli.databases import databases
from optlstm.errors import InputError, OptlstmError, in_one_line, named
from optlstm.util.interrupts import Interrupted, held, interruptible
from optlstm.util.program import COMPLETION_VARIABLE, program


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0, 1 (failed), 2 (bad input), 130 or 143 (interrupted)."""
    with interruptible() as received:
        try:
            return _run(argv, received)
        except BaseException:  # also what comes of a signal that was swallowed, or that broke off somebody else's code
            if not received:
                raise
            return _complain([str(Interrupted())], Interrupted().exit_code)


def _run(argv: Sequence[str] | None, received: Sequence[int]) -> int:
    """received: signals; what fails after one is the interruption's doing, and is raised."""
    app = make_app()
    if COMPLETION_VARIABLE in os.environ:  # a shell asks
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        result = app.main(arguments, prog_name=program(), standalone_mode=False)
    except OptlstmError as error:
        if received:
            raise
        code = _complain(error.problems if isinstance(error, InputError) else [str(error)], error.exit_code)
        if isinstance(error, InputError):
            _propose(app.commands.get(arguments[0]), arguments, error.problems)
        return code
    except typer.Exit as exit_:
        return int(exit_.exit_code)
    except Exception as error:
        if received:
            raise
        if (failed := _of_database(error)) is not None:
            return _complain([str(failed)], failed.exit_code)
        if not hasattr(error, "format_message"):  # not click's, which say what is wrong with the arguments
            raise
        context = getattr(error, "ctx", None)
        path = context.command_path if context else program()
        return _complain([f"{error.format_message().rstrip('.')}; see {path} --help"], 2)
    finally:
        with held():  # SQLAlchemy would log a connection whose end was broken off, with a traceback
            databases.close()
    return int(result or 0)


def _propose(command: Any, arguments: Sequence[str], problems: Sequence[str]) -> None:
    """Print the commands that problems say to type."""
    from optlstm.cli.mended import proposals

    params = command.load().params if isinstance(command, LazyCommand) else ()
    for proposal in proposals(arguments, {flag for param in params for flag in param.opts}, problems):
        print(f"try: {program()} {proposal}", file=sys.stderr)


def _of_database(error: Exception) -> OptlstmError | None:
    """A failure of the database outside a ledger's transactions, where no retry has met it; None: another error."""
    if type(error).__module__.partition(".")[0] not in ("optuna", "sqlalchemy"):  # neither is loaded for `--help`
        return _of_its_content(error)
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    from optlstm.study.database.retry import storage_error

    return storage_error(error) if isinstance(error, StorageInternalError | SQLAlchemyError) else None


def _of_its_content(error: Exception) -> OptlstmError | None:
    """What Optuna or SQLAlchemy raises of a value in a column of theirs that nobody checks before them."""
    frames = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    if not frames or not frames[-1].startswith(("sqlalchemy.", "optuna.storages.")):
        return None
    return InputError(f"storage: the database holds what no study has ({named(error)}); it is damaged or altered")


def _complain(problems: Sequence[str], code: int) -> int:
    for problem in problems:
        print(_at_words(in_one_line(problem)), file=sys.stderr)
    return code


def _at_words(line: str) -> str:
    """A line; broken at words where a person reads it, for a terminal breaks anywhere."""
    if not sys.stderr.isatty():
        return line
    width = shutil.get_terminal_size().columns
    return textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
