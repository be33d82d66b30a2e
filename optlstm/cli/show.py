"""Commands that look at studies: `show`, `schedule`, `studies`, `dashboard`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from optlstm.cli.common import (
    DEFAULT_STORAGE_PATH,
    FactoryOption,
    MovedOption,
    StorageOption,
    StoragePathOption,
    given_database,
    study_checkpoints,
)
from optlstm.errors import InputError
from optlstm.util.files import check_url
from optlstm.util.format import visible_lines

if TYPE_CHECKING:
    import optuna


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="the study's name")],
    top: Annotated[int, typer.Option("--top", metavar="N", help="the best N trials; json and csv have all")] = 10,
    form: Annotated[str, typer.Option("--format", metavar="table|json|csv", help="how to print it")] = "table",
    lineage: Annotated[bool, typer.Option("--lineage", help="draw a population's family tree")] = False,
    log: Annotated[
        int | None, typer.Option("--log", metavar="N", help="what a custom objective's trial N printed")
    ] = None,
    storage_path: MovedOption = None,
    storage: StorageOption = None,
) -> int:
    """Show a study: counts by state, the best trials first, why the pruned ones were pruned."""
    from optlstm.console.progress import make_console
    from optlstm.console.study_table import study_csv, study_table
    from optlstm.study.results import StudyResults, load_study, study_record

    if form not in ("table", "json", "csv"):
        raise InputError(f"--format: must be table, json or csv, got '{form}'")
    if top < 1:
        raise InputError(f"--top: must be a whole number of at least 1, got {top}")
    study = load_study(given_database(storage), name)
    if log is not None:
        make_console(results=True).print(_log(study, log, storage_path), markup=False, soft_wrap=True, end="")
        return 0
    if lineage:
        _population_only(study)
        from optlstm.console.lineage import lineage_tree

        make_console(results=True).print(lineage_tree(name, study.get_trials(deepcopy=False)))
        return 0
    summary = StudyResults(study).summary()
    if form == "json":
        print(json.dumps(summary, indent=2))
    elif form == "csv":
        print(study_csv(summary), end="")
    else:
        console = make_console(results=True)
        for part in study_table(summary, study_record(study), console.width, top):
            console.print(part)
    return 0


def _log(study: optuna.Study, number: int, storage_path: str | None) -> str:
    """What a trial has printed; where it hung, its stack, too. Raises InputError where there is nothing."""
    from optlstm.run.trial_log import log_since
    from optlstm.study.failures import FAILURE_KEY, HUNG

    checkpoints = study_checkpoints(study, storage_path)
    try:
        printed = log_since(checkpoints, number, 0) if checkpoints is not None else b""
    except OSError as error:
        raise InputError(f"--log: {error}") from error
    attrs = next((t.user_attrs for t in study.get_trials(deepcopy=False) if t.number == number), {})
    if attrs.get(FAILURE_KEY) == HUNG:  # which kept it from writing the stack there
        printed += visible_lines(attrs.get("traceback", "")).encode() + b"\n"
    if not printed:
        raise InputError(
            f"--log: nothing that trial {number} of study '{study.study_name}' has printed lies here; what custom "
            "objectives print is kept beside their checkpoints (--storage-path)"
        )
    return printed.decode(errors="replace")


def _population_only(study: optuna.Study) -> None:
    from optlstm.study.results import study_record

    if not study_record(study) or not any("member" in trial.user_attrs for trial in study.get_trials(deepcopy=False)):
        raise InputError(f"study '{study.study_name}' is not a population (--scheduler pbt): it has no lineage")


def schedule(
    name: Annotated[str, typer.Argument(metavar="NAME", help="the study's name")],
    trial: Annotated[int, typer.Argument(metavar="TRIAL", help="the trial's number")],
    replay: Annotated[bool, typer.Option("--replay", help="train exactly this schedule from scratch")] = False,
    factory: FactoryOption = None,
    storage: StorageOption = None,
) -> int:
    """Print the schedule of hyperparameters that led to a trial of a population; train it again."""
    from optlstm.console.lineage import schedule_table
    from optlstm.console.progress import make_console
    from optlstm.run.replay import replayed_schedule
    from optlstm.study.lineage import schedule as schedule_of
    from optlstm.study.results import load_study

    study = load_study(given_database(storage), name)
    _population_only(study)
    trials = study.get_trials(deepcopy=False)
    segments = schedule_of(trials, trial)
    console = make_console(results=True)
    console.print(schedule_table(segments))
    if replay:
        value = replayed_schedule(study, segments, factory)
        console.print(f"replayed: {value!r}")
        # A pruned trial's own value is that of its last epoch; its best is what a schedule is trained for.
        reports = [v for epoch, v in trials[trial].intermediate_values.items() if epoch >= segments[-1].first]
        best = min(reports, default=None)
        console.print("the study has no value for it" if best is None else f"the study: {best!r}")
        return 0 if value == best else 1
    return 0


def studies(
    as_json: Annotated[bool, typer.Option("--json", help="print as JSON")] = False,
    storage: StorageOption = None,
    storage_path: StoragePathOption = DEFAULT_STORAGE_PATH,
) -> int:
    """List the studies of a database: last trial, data, trials, best value and its metric, space on disk."""
    from optlstm.console.progress import make_console
    from optlstm.console.studies import list_studies, studies_table

    check_url(storage_path)
    rows = list_studies(given_database(storage), storage_path)
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        make_console(results=True).print(studies_table(rows))
    return 0


def dashboard(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="open at this study")] = None,
    port: Annotated[int, typer.Option(metavar="N", help="port to listen at; the next free one if it is taken")] = 8080,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="address to listen at; there is no password")
    ] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="another name it is reached by, a proxy's; repeatable"),
    ] = None,
    storage: StorageOption = None,
    storage_path: StoragePathOption = DEFAULT_STORAGE_PATH,
) -> int:
    """Watch the studies in a browser: optuna-dashboard on the same database, on this machine only."""
    from optlstm.maintenance.dashboard import serve

    check_url(storage_path)

    def announce(address: str) -> None:
        print(f"optuna-dashboard on {address}  (Ctrl-C ends it)", flush=True)

    serve(
        given_database(storage), name, port, announce,
        storage_path=storage_path, host=host, names=allow_host or [],
    )  # fmt: skip
    return 0
