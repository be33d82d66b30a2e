"""`study`: run a study, or continue it."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optlstm.cli.common import (
    DEFAULT_STORAGE,
    STORAGE_VARIABLE,
    app,
    existing,
    flag,
    open_study_database,
    quieten_optuna,
)
from optlstm.config.schema import ConstraintConfig, RayConfig, StopConfig, StudyConfig, TrainingConfig
from optlstm.config.sources import read_layers
from optlstm.config.validate import attempt
from optlstm.study.failures import STREAK
from optlstm.study.pruners import PRUNERS
from optlstm.study.samplers import SAMPLERS
from optlstm.tasks.options import DataConfig
from optlstm.tasks.registry import TASKS
from optlstm.tasks.space import PRESETS

if TYPE_CHECKING:
    from optlstm.run.session import Session


@app.command()
def study(
    study_file: Annotated[Path | None, typer.Argument(metavar="STUDY.toml|OBJECTIVE.py", help="a study file")] = None,
    data: Annotated[str | None, flag(DataConfig, "path", "--data", "FILE", "Data")] = None,
    task: Annotated[str | None, flag(StudyConfig, "task", "--task", "|".join(TASKS), "Data")] = None,
    time: Annotated[str | None, flag(DataConfig, "time", "--time", "COL", "Data")] = None,
    target: Annotated[str | None, flag(DataConfig, "target", "--target", "COL[,COL]", "Data")] = None,
    horizon: Annotated[str | None, flag(DataConfig, "horizon", "--horizon", "N", "Data")] = None,
    series: Annotated[str | None, flag(DataConfig, "series", "--series", "COL", "Data")] = None,
    label: Annotated[str | None, flag(DataConfig, "label", "--label", "COL", "Data")] = None,
    text: Annotated[str | None, flag(DataConfig, "text", "--text", "COL", "Data")] = None,
    test_data: Annotated[str | None, flag(DataConfig, "test_path", "--test-data", "FILE", "Data")] = None,
    trials: Annotated[str | None, flag(StudyConfig, "trials", "--trials", "N", "Search")] = None,
    epochs: Annotated[str | None, flag(TrainingConfig, "epochs", "--epochs", "N", "Search")] = None,
    timeout: Annotated[str | None, flag(StudyConfig, "timeout", "--timeout", "SECONDS", "Stopping")] = None,
    sampler: Annotated[
        str | None, flag(StudyConfig, "sampler", "--sampler", "NAME", "Search", ": " + ", ".join(SAMPLERS))
    ] = None,
    pruner: Annotated[
        str | None, flag(StudyConfig, "pruner", "--pruner", "NAME", "Search", ": " + ", ".join(PRUNERS))
    ] = None,
    scheduler: Annotated[str | None, flag(StudyConfig, "scheduler", "--scheduler", "study|asha|pbt", "Search")] = None,
    seed: Annotated[str | None, flag(StudyConfig, "seed", "--seed", "N", "Search")] = None,
    objectives: Annotated[str | None, flag(StudyConfig, "objectives", "--objectives", "A,B", "Search")] = None,
    directions: Annotated[str | None, flag(StudyConfig, "directions", "--directions", "D,D", "Search")] = None,
    max_parameters: Annotated[
        str | None, flag(ConstraintConfig, "max_parameters", "--max-parameters", "N", "Search")
    ] = None,
    max_latency: Annotated[
        str | None, flag(ConstraintConfig, "max_latency_ms", "--max-latency-ms", "MS", "Search")
    ] = None,
    stop_value: Annotated[str | None, flag(StopConfig, "value", "--stop-value", "X", "Stopping")] = None,
    no_improvement: Annotated[
        str | None, flag(StopConfig, "no_improvement", "--no-improvement", "N", "Stopping")
    ] = None,
    terminator: Annotated[
        bool | None,
        typer.Option(
            "--terminator", help=StopConfig.model_fields["terminator"].description, rich_help_panel="Stopping"
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option("--preset", metavar="NAME", help=f"search space: {', '.join(PRESETS)}", rich_help_panel="Search"),
    ] = None,
    import_from: Annotated[str | None, flag(StudyConfig, "import_from", "--import", "NAME", "Starting")] = None,
    narrow_from: Annotated[str | None, flag(StudyConfig, "narrow_from", "--narrow-from", "NAME", "Starting")] = None,
    promote: Annotated[str | None, flag(StudyConfig, "promote", "--promote", "NAME", "Starting")] = None,
    top: Annotated[str | None, flag(StudyConfig, "top", "--top", "N", "Starting")] = None,
    name: Annotated[str | None, flag(StudyConfig, "name", "--name", "NAME", "Running")] = None,
    storage: Annotated[
        str | None,
        flag(StudyConfig, "storage", "--storage", "URL", "Running", f"; or ${STORAGE_VARIABLE}"),
    ] = None,
    storage_path: Annotated[
        str | None, flag(StudyConfig, "storage_path", "--storage-path", "DIR|URL", "Running")
    ] = None,
    workers: Annotated[str | None, flag(StudyConfig, "workers", "--workers", "N|auto", "Running")] = None,
    backend: Annotated[str | None, flag(StudyConfig, "backend", "--backend", "local|ray", "Running")] = None,
    address: Annotated[str | None, flag(RayConfig, "address", "--address", "ADDR", "Ray")] = None,
    cpus: Annotated[str | None, flag(RayConfig, "cpus_per_trial", "--cpus-per-trial", "X", "Ray")] = None,
    gpus: Annotated[str | None, flag(RayConfig, "gpus_per_trial", "--gpus-per-trial", "X", "Ray")] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(
            "--track",
            metavar="NAME",
            help="follow it in tensorboard, mlflow or wandb; repeatable",
            rich_help_panel="Running",
        ),
    ] = None,
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
        "scheduler": scheduler, "objectives": objectives, "directions": directions,
        "import_from": import_from, "narrow_from": narrow_from, "promote": promote, "top": _number(top),
        "space": {"preset": preset},
        "stop": {"value": _number(stop_value), "no_improvement": _number(no_improvement), "terminator": terminator},
        "constraints": {"max_parameters": _number(max_parameters), "max_latency_ms": _number(max_latency)},
        "ray": {"address": address, "cpus_per_trial": _number(cpus), "gpus_per_trial": _number(gpus)},
        "data": {
            "path": data, "test_path": test_data, "time": time, "target": target, "horizon": _number(horizon),
            "series": series, "label": label, "text": text,
        },
        "training": {"epochs": _number(epochs)}, "sampler": {"name": sampler}, "pruner": {"name": pruner},
        "tracking": {"trackers": track or None},
    }  # fmt: skip
    kept_at = {"storage": os.environ.get(STORAGE_VARIABLE)}
    raw, problems = read_layers(study_file, _given(kept_at), overrides or (), _given(flags))
    given = {"--address": address, "--cpus-per-trial": cpus, "--gpus-per-trial": gpus}
    if raw.get("backend", StudyConfig.model_fields["backend"].default) == "local":  # a study file serves both
        problems += [f"{flag}: is for --backend ray" for flag, value in given.items() if value is not None]
    if top is not None and raw.get("promote") is None:
        problems.append("top: says how many trials --promote NAME takes; give it too, or leave --top out")
    if dry_run:
        return _dry_run(raw, problems, study_file)
    return _run_study(raw, problems, study_file, quiet, as_json)


def _dry_run(raw: dict[str, Any], problems: list[str], study_file: Path | None) -> int:
    from optlstm.console.progress import make_console
    from optlstm.run.session import dry_run, study_name, with_stored_config

    quieten_optuna()
    name, url = study_name(raw, study_file), str(raw.get("storage") or DEFAULT_STORAGE)
    raw = with_stored_config(attempt(problems, lambda: existing(url)), name, {"storage": url, **raw})
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
    from optlstm.console.progress import make_console
    from optlstm.console.summary import conclude, result

    session, code = run_session(raw, problems, study_file, quiet)
    console = make_console(quiet) if as_json else make_console(results=True)
    conclude(console, session, shown_storage(raw))
    if as_json:
        print(json.dumps(result(session)))
    return code


def shown_storage(raw: dict[str, Any]) -> str:
    """The flag that a command to go on needs."""
    from optlstm.console.summary import storage_flag

    url = str(raw.get("storage") or DEFAULT_STORAGE)
    return "" if url in (DEFAULT_STORAGE, os.environ.get(STORAGE_VARIABLE)) else storage_flag(url)


def run_session(raw: dict[str, Any], problems: list[str], study_file: Path | None, quiet: bool) -> tuple[Session, int]:
    """Open the study, run its trials, show how it goes. Gives the session and the exit code."""
    from optlstm.console.progress import Display, make_console
    from optlstm.console.summary import announce, how_to_go_on, notices
    from optlstm.report.publisher import DashboardPublisher
    from optlstm.run.session import open_session, study_name, with_stored_config

    quieten_optuna()
    name, url = study_name(raw, study_file), str(raw.get("storage") or DEFAULT_STORAGE)
    database = attempt(problems, lambda: existing(url))
    given = {"storage": url, **raw}
    whole = attempt(problems, lambda: with_stored_config(database, name, given)) or given
    session = open_session(whole, name, lambda: database or open_study_database(url, create=True), problems)
    console, run, label = make_console(quiet), session.run, session.plan.metric.label
    announce(console, session)
    shown = shown_storage(raw)
    display = Display(console, session.ledger, run.total, session.plan.record.epochs, lambda: run.stop_reason, label)
    with stop_on_signals(session, how_to_go_on(session, shown)) as received, display:
        session.work(DashboardPublisher(session))
    notices(make_console(), session, shown)
    if received and session.run.stop_reason:  # not where it came when all was done
        return session, 128 + received[0]
    failed = session.ledger.best is None or STREAK in (session.ledger.stopped or "")
    return session, 1 if failed else 0


@contextmanager
def stop_on_signals(session: Session, to_go_on: str) -> Iterator[list[int]]:
    """First SIGINT or SIGTERM: stop after the epoch. Second: at once; a dead process's leases are void.

    Args:
        to_go_on: The command to print when there is no time for anything else.
    """
    received: list[int] = []

    def handle(number: int, _frame: object) -> None:
        # os.write: whoever was interrupted may be in the middle of a print.
        if received:
            shown_again = "\x1b[?25h\n" if sys.stderr.isatty() else ""  # the live display has hidden the cursor
            os.write(2, f"{shown_again}stopped; what was reported is saved. To go on:\n  {to_go_on}\n".encode())
            os._exit(128 + number)  # worker processes end with us
        if not sys.stderr.isatty():
            os.write(2, b"stopping after this epoch; again: at once\n")
        received.append(number)
        session.run.stop("interrupted" if number == signal.SIGINT else "terminated")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
