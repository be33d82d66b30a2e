"""`study`: run or continue a study."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optlstm.cli.common import DEFAULT_STORAGE
from optlstm.cli.databases import existing, quieten_optuna
from optlstm.cli.flags import AsJson, Overrides, Quiet, config_flags, read_config
from optlstm.cli.session import run_session, shown_storage, stdout_for_results
from optlstm.config.flags import FLAGS
from optlstm.config.schema import StudyConfig
from optlstm.config.validate import attempt

if TYPE_CHECKING:
    from optlstm.run.session import Session


@config_flags("study")
def study(
    study_file: Annotated[Path | None, typer.Argument(metavar="STUDY.toml|OBJECTIVE.py", help="a study file")] = None,
    *,
    flags: dict[str, Any],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="check all, say what would run, run nothing", rich_help_panel="Output")
    ] = False,
    overrides: Overrides = None,
    quiet: Quiet = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="show what a custom objective prints", rich_help_panel="Output"),
    ] = False,
    in_process: Annotated[
        bool,
        typer.Option(
            "--in-process", help="one trial at a time, in this process, for a debugger", rich_help_panel="Output"
        ),
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Run a study, or continue it: same command, same trials. Without arguments: a bundled series, about a minute."""
    raw, problems = read_config(study_file, overrides, flags)
    if raw.get("backend", StudyConfig.model_fields["backend"].default) == "local":  # a study file serves both
        ray_flags = [flag for flag in FLAGS if flag.key.startswith("ray.") and flag.key != "ray.gpus_per_trial"]
        problems += [f"{flag.name}: is for --backend ray" for flag in ray_flags if flag.key in flags]
    if "top" in flags and raw.get("promote") is None:
        problems.append("top: says how many trials --promote NAME takes; give it too, or leave --top out")
    if in_process:
        if raw.get("backend", "local") != "local":
            problems.append("--in-process: is for --backend local")
        if flags.get("workers") not in (None, "1", 1, "auto"):
            problems.append(f"--in-process: trains one trial at a time; leave --workers {flags['workers']} out")
        raw["workers"] = 1
    if dry_run:
        return _dry_run(raw, problems, study_file)
    with stdout_for_results() if as_json else nullcontext():
        session, code = run_session(raw, problems, study_file, quiet, verbose=verbose, in_process=in_process)
    _print_result(session, shown_storage(raw), quiet, as_json)
    return code


def _dry_run(raw: dict[str, Any], problems: list[str], study_file: Path | None) -> int:
    from optlstm.console.progress import make_console
    from optlstm.models.warm_start import with_start
    from optlstm.run.dry_run import dry_run
    from optlstm.run.study_config import study_name

    quieten_optuna()
    name, url = study_name(raw, study_file), str(raw.get("storage") or DEFAULT_STORAGE)
    database = attempt(problems, lambda: existing(url))
    raw, stored = with_start(database, name, {"storage": url, **raw})
    console = make_console(results=True)
    for heading, value in dry_run(raw, name, database, problems, stored):
        console.print(f"{heading:<16}{value}", markup=False, soft_wrap=True)
    return 0


def _print_result(session: Session, storage: str, quiet: bool, as_json: bool) -> None:
    from optlstm.console.progress import make_console
    from optlstm.console.run_summary import conclude, result

    console = make_console(quiet) if as_json else make_console(results=True)
    conclude(console, session, storage)
    if as_json:
        print(json.dumps(result(session)))
