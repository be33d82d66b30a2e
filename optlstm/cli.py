"""The command line: one function per command. Parse, call, print; nothing else in optlstm prints or exits."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optlstm import __version__
from optlstm.config import DataConfig, StudyConfig, TrainingConfig, layer, read_override, read_toml
from optlstm.errors import InputError, OptlstmError
from optlstm.study.pruners import PRUNERS
from optlstm.study.samplers import SAMPLERS

if TYPE_CHECKING:
    from pydantic import BaseModel

    from optlstm.running import Session
    from optlstm.study.storage import Database

STORAGE_VARIABLE = "OPTLSTM_STORAGE"
DEFAULT_STORAGE: str = StudyConfig.model_fields["storage"].default

app = typer.Typer(
    name="optlstm",
    help="Tune PyTorch LSTMs: bring sequences in a file, get the best LSTM for them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0, 1 (failed), 2 (bad input), 130 or 143 (interrupted)."""
    command = typer.main.get_command(app)
    try:
        result = command.main(list(argv) if argv is not None else None, prog_name="optlstm", standalone_mode=False)
    except OptlstmError as error:
        for line in str(error).splitlines():
            print(line, file=sys.stderr)
        return error.exit_code
    except typer.Exit as exit_:
        return int(exit_.exit_code)
    except typer.Abort:
        return 130
    except Exception as error:
        if not hasattr(error, "show"):  # click's own usage errors know how to show themselves
            raise
        error.show()
        return 2
    return int(result or 0)


def _flag(section: type[BaseModel], key: str, *names: str, extra: str = "", metavar: str | None = None) -> Any:
    """An option that sets a config key: its help and its default are the config's."""
    field = section.model_fields[key]
    default = field.default.name if hasattr(field.default, "name") else field.default
    shown = "" if default is None else f" [dim]\\[default: {default}][/dim]"
    return typer.Option(*(names or (f"--{key}",)), help=f"{field.description or ''}{extra}{shown}", metavar=metavar)


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def study(
    study_file: Annotated[Path | None, typer.Argument(metavar="[STUDY.toml]", help="a study file")] = None,
    data: Annotated[str | None, _flag(DataConfig, "path", "--data", metavar="FILE")] = None,
    task: Annotated[str | None, _flag(StudyConfig, "task", metavar="forecast")] = None,
    time: Annotated[str | None, _flag(DataConfig, "time", metavar="COL")] = None,
    target: Annotated[str | None, _flag(DataConfig, "target", metavar="COL[,COL]")] = None,
    horizon: Annotated[int | None, _flag(DataConfig, "horizon")] = None,
    trials: Annotated[int | None, _flag(StudyConfig, "trials")] = None,
    timeout: Annotated[float | None, _flag(StudyConfig, "timeout", metavar="SECONDS")] = None,
    epochs: Annotated[int | None, _flag(TrainingConfig, "epochs")] = None,
    seed: Annotated[int | None, _flag(StudyConfig, "seed")] = None,
    workers: Annotated[str | None, _flag(StudyConfig, "workers", metavar="N|auto")] = None,
    sampler: Annotated[str | None, typer.Option(metavar="NAME", help=f"one of {', '.join(SAMPLERS)}")] = None,
    pruner: Annotated[str | None, typer.Option(metavar="NAME", help=f"one of {', '.join(PRUNERS)}")] = None,
    name: Annotated[str | None, _flag(StudyConfig, "name")] = None,
    storage: Annotated[
        str | None, _flag(StudyConfig, "storage", extra=f"; or ${STORAGE_VARIABLE}", metavar="URL")
    ] = None,
    backend: Annotated[str | None, _flag(StudyConfig, "backend", metavar="local")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="override any config key, e.g. training.patience=3"),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="print the result only")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the result as JSON")] = False,
) -> int:
    """Run a study, or continue it: same command, same trials. Without arguments: a bundled series, about two minutes."""
    flags: dict[str, Any] = {
        "name": name, "task": task, "trials": trials, "timeout": timeout, "seed": seed, "backend": backend,
        "workers": int(workers) if workers and workers.isdigit() else workers,
        "storage": storage or os.environ.get(STORAGE_VARIABLE),
        "data": {"path": data and str(Path(data).expanduser().absolute()), "time": time, "target": target, "horizon": horizon},
        "training": {"epochs": epochs}, "sampler": {"name": sampler}, "pruner": {"name": pruner},
    }  # fmt: skip
    raw = read_toml(study_file) if study_file else {}
    for override in overrides or ():
        raw = layer(raw, read_override(override))
    return _run_study(layer(raw, _given(flags)), study_file, quiet, as_json)


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given; a flag left out must not beat the study file."""
    kept = {key: _given(value) if isinstance(value, dict) else value for key, value in flags.items()}
    return {key: value for key, value in kept.items() if value not in (None, {})}


def _run_study(raw: dict[str, Any], study_file: Path | None, quiet: bool, as_json: bool) -> int:
    from optlstm.progress import Display, make_console
    from optlstm.running import open_session, study_name, with_stored_config
    from optlstm.summary import announce, conclude, result

    _quieten_optuna()
    name, url = study_name(raw, study_file), str(raw.get("storage") or DEFAULT_STORAGE)
    raw = with_stored_config(_existing(url), name, {"storage": url, **raw})
    session = open_session(raw, name, lambda: _open(url, create=True))
    console = make_console(quiet)
    announce(console, session)
    run, metric = session.run, "mse"
    with _stop_on_signals(session) as received:
        with Display(console, session.ledger, run.total, session.plan.record.epochs, lambda: run.stop_reason, metric):
            session.work()
    conclude(console, session, storage_given=url != DEFAULT_STORAGE)
    if as_json:
        print(json.dumps(result(session)))
    if received:
        return 128 + received[0]
    return 0 if session.ledger.best is not None else 1


@contextmanager
def _stop_on_signals(session: Session) -> Iterator[list[int]]:
    """First SIGINT or SIGTERM: stop after the epoch. Second: at once; leases of a dead process are void, nothing is lost."""
    received: list[int] = []

    def handle(number: int, _frame: object) -> None:
        if received:
            os._exit(128 + number)  # worker processes end with us
        received.append(number)
        session.run.stop("interrupted" if number == signal.SIGINT else "terminated")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _quieten_optuna() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)


def _open(url: str, *, create: bool) -> Database:
    from optlstm.study.storage import open_database

    return open_database(url, create=create)


def _existing(url: str) -> Database | None:
    """The database if there is one already; looking must not create a file."""
    try:
        return _open(url, create=False)
    except InputError:
        from optlstm.study.storage import parse_url

        parse_url(url)  # a bad URL is an error, a missing file is not
        return None


def _print(*renderables: Any) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    for renderable in renderables:
        console.print(renderable)


StorageOption = Annotated[
    str | None,
    typer.Option("--storage", metavar="URL", help=f"database URL; or ${STORAGE_VARIABLE} (default: {DEFAULT_STORAGE})"),
]


def _given_database(storage: str | None) -> Database:
    _quieten_optuna()
    return _open(storage or os.environ.get(STORAGE_VARIABLE) or DEFAULT_STORAGE, create=False)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="the study's name")],
    form: Annotated[str, typer.Option("--format", metavar="table|json|csv", help="how to print it")] = "table",
    storage: StorageOption = None,
) -> int:
    """Show a study: its best trial, counts by state, every trial, why the pruned ones were pruned."""
    from optlstm.results import load_study, study_record, summarise_study
    from optlstm.summary import study_csv, study_table

    if form not in ("table", "json", "csv"):
        raise InputError(f"--format: must be table, json or csv, got '{form}'")
    study = load_study(_given_database(storage), name)
    summary = summarise_study(study)
    if form == "json":
        print(json.dumps(summary, indent=2))
    elif form == "csv":
        print(study_csv(summary), end="")
    else:
        _print(*study_table(summary, study_record(study)))
    return 0


@app.command()
def studies(
    as_json: Annotated[bool, typer.Option("--json", help="print as JSON")] = False, storage: StorageOption = None
) -> int:
    """List the studies of a database."""
    from optlstm.summary import list_studies, studies_table

    rows = list_studies(_given_database(storage))
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        _print(studies_table(rows))
    return 0


@app.command()
def dashboard(
    name: Annotated[str | None, typer.Argument(help="open at this study")] = None,
    port: Annotated[int, typer.Option(help="port on 127.0.0.1; the next free one if it is taken")] = 8080,
    storage: StorageOption = None,
) -> int:
    """Watch the studies in a browser: optuna-dashboard on the same database, on this machine only."""
    from optlstm.dashboard import serve

    database = _given_database(storage)
    serve(
        database,
        name,
        port,
        announce=lambda address: print(f"optuna-dashboard on {address}  (Ctrl-C ends it)", flush=True),
    )
    return 0
