"""Commands that look after studies: `doctor`, `copy`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from optlstm.cli.common import (
    DEFAULT_STORAGE_PATH,
    StorageOption,
    StoragePathOption,
    given_database,
    storage_url,
)
from optlstm.cli.databases import open_study_database, quieten_optuna
from optlstm.config.schema import NAME_RULE, is_name
from optlstm.errors import InputError
from optlstm.util.files import check_url
from optlstm.util.format import many, visible

STYLES = {"ok": "green", "note": "yellow", "fault": "bold red"}


def doctor(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="look at this study alone")] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="end abandoned trials, remove checkpoints without a trial")
    ] = False,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="the database was moved: its study NAME keeps its checkpoints")
    ] = False,
    address: Annotated[str | None, typer.Option(metavar="ADDR", help="look at this Ray cluster too")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print as JSON")] = False,
    storage_path: StoragePathOption = DEFAULT_STORAGE_PATH,
    storage: StorageOption = None,
) -> int:
    """Check storage, leases, checkpoints, disk, GPU, Ray; name a remedy for each fault. Exit 1 while one is left."""
    from optlstm.console.progress import make_console
    from optlstm.maintenance.doctor import adopt as adopt_folder
    from optlstm.maintenance.doctor import examine

    quieten_optuna()
    check_url(storage_path)
    if adopt and name is None:
        raise InputError("--adopt: name the study: doctor NAME --adopt")
    if adopt and name is not None:
        adopt_folder(storage_url(storage), name, storage_path)
    console, rows, faults = make_console(results=True), [], 0
    for finding in examine(storage_url(storage), name, storage_path, address):
        state, remedy = finding.state, finding.remedy
        if fix and finding.fix is not None:
            finding.fix()
            state, remedy = "note", finding.fixed
        faults += state == "fault"
        rows.append({"what": finding.subject, "state": state, "found": finding.message, "remedy": remedy})
        if not as_json:
            console.print(f"{state:<6}", style=STYLES[state], end="")
            console.print(visible(f" {finding.subject}: {finding.message}"), markup=False, soft_wrap=True)
            if remedy:
                console.print(visible(f"       -> {remedy}"), markup=False, soft_wrap=True)
    if as_json:
        print(json.dumps(rows, indent=2))
    return 1 if faults else 0


def copy(
    name: Annotated[str, typer.Argument(metavar="NAME", help="the study's name")],
    to: Annotated[str, typer.Option("--to", metavar="URL", help="database to copy it into")],
    new_name: Annotated[str | None, typer.Option("--as", metavar="NAME", help="the copy's name")] = None,
    to_path: Annotated[
        str | None, typer.Option("--to-path", metavar="DIR|URL", help="folder for its checkpoints (default: the same)")
    ] = None,
    storage_path: StoragePathOption = DEFAULT_STORAGE_PATH,
    storage: StorageOption = None,
) -> int:
    """Copy a study with its checkpoints into another database, to be continued there."""
    from optlstm.console.progress import make_console
    from optlstm.maintenance.copy_study import copy_study
    from optlstm.study.results import load_study

    console = make_console()
    if new_name is not None and not is_name(new_name):
        raise InputError(f"--as: {NAME_RULE}, got {new_name!r}")
    for location in (storage_path, to_path or storage_path):
        check_url(location)
    source = given_database(storage)
    load_study(source, name)  # a name that is not there must not create the other database
    target = open_study_database(to, create=True)
    folders = (storage_path, to_path or storage_path)
    count = copy_study(source, name, target, new_name or name, folders, lambda line: console.print(line, markup=False))
    make_console(results=True).print(f"copied: {many(count, 'trial')}", markup=False)
    return 0
