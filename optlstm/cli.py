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
from typer.core import TyperGroup

from optlstm import __version__
from optlstm.config import DataConfig, RayConfig, StudyConfig, TrainingConfig, attempt, read_layers
from optlstm.errors import InputError, OptlstmError
from optlstm.study.pruners import PRUNERS
from optlstm.study.samplers import SAMPLERS

if TYPE_CHECKING:
    import optuna
    from pydantic import BaseModel

    from optlstm.running import Session
    from optlstm.study.storage import Database

PROGRAM = "python -m optlstm"
STORAGE_VARIABLE = "OPTLSTM_STORAGE"
DEFAULT_STORAGE: str = StudyConfig.model_fields["storage"].default


class _Interrupted(OptlstmError):
    exit_code = 128 + signal.SIGINT


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """Ctrl-C while nothing runs yet says so; typer alone would end without a word."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _Interrupted("interrupted") from None


app = typer.Typer(
    cls=_Commands,
    name="optlstm",
    help="Tune PyTorch LSTMs: bring sequences in a file, get the best LSTM for them.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0, 1 (failed), 2 (bad input), 130 or 143 (interrupted)."""
    command = typer.main.get_command(app)
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        result = command.main(arguments, prog_name=PROGRAM, standalone_mode=False)
    except OptlstmError as error:
        return _complain(error.problems if isinstance(error, InputError) else [str(error)], error.exit_code)
    except typer.Exit as exit_:
        return int(exit_.exit_code)
    except Exception as error:
        if not hasattr(error, "format_message"):  # not one of click's own, which say what is wrong with the arguments
            raise
        context = getattr(error, "ctx", None)
        path = context.command_path if context else PROGRAM
        return _complain([f"{error.format_message().rstrip('.')}; see {path} --help"], 2)
    return int(result or 0)


def _complain(problems: Sequence[str], code: int) -> int:
    """One line per problem; what would move the cursor or start a line of its own is written out."""
    for problem in problems:
        print("".join(c if c.isprintable() else repr(c)[1:-1] for c in problem), file=sys.stderr)
    return code


def _flag(section: type[BaseModel], key: str, flag: str, metavar: str, panel: str, extra: str = "") -> Any:
    """An option that sets a config key: its help and its default are the config's. The config checks its text."""
    field = section.model_fields[key]
    default = getattr(field.default, "name", field.default)
    shown = "" if default is None else f" [dim]\\[default: {default}][/dim]"
    return typer.Option(flag, help=f"{field.description}{extra}{shown}", metavar=metavar, rich_help_panel=panel)


@app.callback(invoke_without_command=True)  # --version needs no command
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def study(
    study_file: Annotated[Path | None, typer.Argument(metavar="STUDY.toml", help="a study file")] = None,
    data: Annotated[str | None, _flag(DataConfig, "path", "--data", "FILE", "Data")] = None,
    task: Annotated[str | None, _flag(StudyConfig, "task", "--task", "forecast", "Data")] = None,
    time: Annotated[str | None, _flag(DataConfig, "time", "--time", "COL", "Data")] = None,
    target: Annotated[str | None, _flag(DataConfig, "target", "--target", "COL[,COL]", "Data")] = None,
    horizon: Annotated[str | None, _flag(DataConfig, "horizon", "--horizon", "N", "Data")] = None,
    trials: Annotated[str | None, _flag(StudyConfig, "trials", "--trials", "N", "Search")] = None,
    epochs: Annotated[str | None, _flag(TrainingConfig, "epochs", "--epochs", "N", "Search")] = None,
    timeout: Annotated[str | None, _flag(StudyConfig, "timeout", "--timeout", "SECONDS", "Search")] = None,
    sampler: Annotated[
        str | None, _flag(StudyConfig, "sampler", "--sampler", "NAME", "Search", ": " + ", ".join(SAMPLERS))
    ] = None,
    pruner: Annotated[
        str | None, _flag(StudyConfig, "pruner", "--pruner", "NAME", "Search", ": " + ", ".join(PRUNERS))
    ] = None,
    scheduler: Annotated[str | None, _flag(StudyConfig, "scheduler", "--scheduler", "study|asha|pbt", "Search")] = None,
    seed: Annotated[str | None, _flag(StudyConfig, "seed", "--seed", "N", "Search")] = None,
    name: Annotated[str | None, _flag(StudyConfig, "name", "--name", "NAME", "Running")] = None,
    storage: Annotated[
        str | None,
        _flag(StudyConfig, "storage", "--storage", "URL", "Running", f"; or ${STORAGE_VARIABLE}"),
    ] = None,
    storage_path: Annotated[
        str | None, _flag(StudyConfig, "storage_path", "--storage-path", "DIR|URL", "Running")
    ] = None,
    workers: Annotated[str | None, _flag(StudyConfig, "workers", "--workers", "N|auto", "Running")] = None,
    backend: Annotated[str | None, _flag(StudyConfig, "backend", "--backend", "local|ray", "Running")] = None,
    address: Annotated[str | None, _flag(RayConfig, "address", "--address", "ADDR", "Ray")] = None,
    cpus: Annotated[str | None, _flag(RayConfig, "cpus_per_trial", "--cpus-per-trial", "X", "Ray")] = None,
    gpus: Annotated[str | None, _flag(RayConfig, "gpus_per_trial", "--gpus-per-trial", "X", "Ray")] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="check all, say what would run, run nothing", rich_help_panel="Output"),
    ] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="override any config key: training.patience=3", rich_help_panel="Search"
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="print the result only", rich_help_panel="Output")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the result as JSON", rich_help_panel="Output")] = False,
) -> int:
    """Run a study, or continue it: same command, same trials. Without arguments: a bundled series, under a minute."""
    flags: dict[str, Any] = {
        "name": name, "task": task, "trials": _number(trials), "timeout": _number(timeout), "seed": _number(seed),
        "backend": backend, "workers": _number(workers), "storage": storage, "storage_path": storage_path,
        "scheduler": scheduler,
        "ray": {"address": address, "cpus_per_trial": _number(cpus), "gpus_per_trial": _number(gpus)},
        "data": {"path": data, "time": time, "target": target, "horizon": _number(horizon)},
        "training": {"epochs": _number(epochs)}, "sampler": {"name": sampler}, "pruner": {"name": pruner},
    }  # fmt: skip
    kept_at = {"storage": os.environ.get(STORAGE_VARIABLE)}
    raw, problems = read_layers(study_file, _given(kept_at), overrides or (), _given(flags))
    if dry_run:
        return _dry_run(raw, problems, study_file)
    return _run_study(raw, problems, study_file, quiet, as_json)


def _dry_run(raw: dict[str, Any], problems: list[str], study_file: Path | None) -> int:
    from optlstm.progress import make_console
    from optlstm.running import dry_run, study_name, with_stored_config

    _quieten_optuna()
    name, url = study_name(raw, study_file), str(raw.get("storage") or DEFAULT_STORAGE)
    raw = with_stored_config(attempt(problems, lambda: _existing(url)), name, {"storage": url, **raw})
    console = make_console(results=True)
    for what, value in dry_run(raw, name, problems):
        console.print(f"{what:<16}{value}", markup=False, soft_wrap=True)
    return 0


def _number(text: str | None) -> int | float | str | None:
    """A flag's number; other text as it is, for the config to refuse together with everything else."""
    for kind in (int, float):
        try:
            return kind(text or "")
        except ValueError:
            continue
    return text


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given; a flag left out must not beat the study file."""
    kept = {key: _given(value) if isinstance(value, dict) else value for key, value in flags.items()}
    return {key: value for key, value in kept.items() if value not in (None, {})}


def _run_study(raw: dict[str, Any], problems: list[str], study_file: Path | None, quiet: bool, as_json: bool) -> int:
    from optlstm.progress import Display, make_console
    from optlstm.running import open_session, study_name, with_stored_config
    from optlstm.summary import announce, conclude, notices, result, storage_flag

    _quieten_optuna()
    name, url = study_name(raw, study_file), str(raw.get("storage") or DEFAULT_STORAGE)
    database = attempt(problems, lambda: _existing(url))
    raw = with_stored_config(database, name, {"storage": url, **raw})
    session = open_session(raw, name, lambda: database or _open(url, create=True), problems)
    console = make_console(quiet)
    announce(console, session)
    run = session.run
    display = Display(console, session.ledger, run.total, session.plan.record.epochs, lambda: run.stop_reason, "mse")
    with _stop_on_signals(session) as received, display:
        session.work()
    shown = "" if url in (DEFAULT_STORAGE, os.environ.get(STORAGE_VARIABLE)) else storage_flag(url)
    notices(make_console(), session, shown)
    conclude(console if as_json else make_console(results=True), session, shown)
    if as_json:
        print(json.dumps(result(session)))
    if received:
        return 128 + received[0]
    return 0 if session.ledger.best is not None else 1


@contextmanager
def _stop_on_signals(session: Session) -> Iterator[list[int]]:
    """First SIGINT or SIGTERM: stop after the epoch. Second: at once; a dead process's leases are void."""
    received: list[int] = []

    def handle(number: int, _frame: object) -> None:
        if received:
            if sys.stderr.isatty():
                os.write(2, b"\x1b[?25h\n")  # the live display has hidden the cursor
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
    lineage: Annotated[bool, typer.Option("--lineage", help="draw a population's family tree")] = False,
    storage: StorageOption = None,
) -> int:
    """Show a study: its best trial, counts by state, every trial, why the pruned ones were pruned."""
    from optlstm.progress import make_console
    from optlstm.results import load_study, study_record, summarise_study
    from optlstm.summary import study_csv, study_table

    if form not in ("table", "json", "csv"):
        raise InputError(f"--format: must be table, json or csv, got '{form}'")
    study = load_study(_given_database(storage), name)
    if lineage:
        _population_only(study)
        from optlstm.pedigree import lineage_tree

        make_console(results=True).print(lineage_tree(name, study.get_trials(deepcopy=False)))
        return 0
    summary = summarise_study(study)
    if form == "json":
        print(json.dumps(summary, indent=2))
    elif form == "csv":
        print(study_csv(summary), end="")
    else:
        console = make_console(results=True)
        for part in study_table(summary, study_record(study), console.width):
            console.print(part)
    return 0


def _population_only(study: optuna.Study) -> None:
    if not any("member" in trial.user_attrs for trial in study.get_trials(deepcopy=False)):
        raise InputError(f"study '{study.study_name}' is not a population (--scheduler pbt): it has no lineage")


@app.command()
def schedule(
    name: Annotated[str, typer.Argument(help="the study's name")],
    trial: Annotated[int, typer.Argument(help="the trial's number")],
    replay: Annotated[bool, typer.Option("--replay", help="train exactly this schedule from scratch")] = False,
    storage: StorageOption = None,
) -> int:
    """Print the schedule of hyperparameters that led to a trial of a population; train it again."""
    from optlstm.pedigree import schedule_table
    from optlstm.progress import make_console
    from optlstm.results import load_study
    from optlstm.running import replayed
    from optlstm.study.family import schedule as schedule_of

    study = load_study(_given_database(storage), name)
    _population_only(study)
    trials = study.get_trials(deepcopy=False)
    stretches = schedule_of(trials, trial)
    console = make_console(results=True)
    console.print(schedule_table(stretches))
    if replay:
        value, known = replayed(study, stretches), trials[trial].values
        console.print(f"replayed: {value!r}")
        # A pruned trial's own value is that of its last epoch; its best is what a schedule is trained for.
        own = [v for epoch, v in trials[trial].intermediate_values.items() if epoch >= stretches[-1].first]
        console.print(f"the study: {min(own)!r}" if known or own else "the study has no value for it")
        return 0 if value == min(own) else 1
    return 0


@app.command()
def studies(
    as_json: Annotated[bool, typer.Option("--json", help="print as JSON")] = False, storage: StorageOption = None
) -> int:
    """List the studies of a database."""
    from optlstm.progress import make_console
    from optlstm.summary import list_studies, studies_table

    rows = list_studies(_given_database(storage))
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        make_console(results=True).print(studies_table(rows))
    return 0


@app.command()
def dashboard(
    name: Annotated[str | None, typer.Argument(help="open at this study")] = None,
    port: Annotated[int, typer.Option(help="port on 127.0.0.1; the next free one if it is taken")] = 8080,
    storage: StorageOption = None,
) -> int:
    """Watch the studies in a browser: optuna-dashboard on the same database, on this machine only."""
    from optlstm.dashboard import serve

    def announce(address: str) -> None:
        print(f"optuna-dashboard on {address}  (Ctrl-C ends it)", flush=True)

    serve(_given_database(storage), name, port, announce)
    return 0
