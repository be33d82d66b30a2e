"""`init`: a study file for a data file."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from optlstm.cli.common import storage_url
from optlstm.cli.databases import existing
from optlstm.cli.flags import Overrides, config_flags, read_config
from optlstm.errors import InputError, StorageError
from optlstm.util.output_file import OutputFile
from optlstm.util.program import program


@config_flags("init")
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV (.gz, .zip too), Parquet, .ts or .tsf")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="STUDY.toml", help="file to write (default: FILE's name)")
    ] = None,
    *,
    flags: dict[str, Any],
    overrides: Overrides = None,
) -> int:
    """Look at a data file and write a study file for it, with every key that one may want to change."""
    from optlstm.config.study_file import study_file
    from optlstm.console.progress import make_console
    from optlstm.data.table import dataset_name
    from optlstm.run.first_look import first_look, with_free_name

    target = out or Path(f"{dataset_name(file.name)}.toml")
    if target.exists():
        raise InputError(f"-o: {target} exists; name another file")
    database, written = None, OutputFile(target, ".toml")
    written.check()
    raw, problems = read_config(None, overrides, {**flags, "data.path": str(file)})
    if problems:
        raise InputError(problems)
    with contextlib.suppress(StorageError):  # a file can be written where no database can be reached
        database = existing(storage_url(None))
    look = with_free_name(first_look(Path(raw["data"]["path"]), raw), target.stem, database)
    command = f"{program()} study {shlex.quote(str(target))}"
    head = [command, "", f"{look.task.describe()}.", *look.task.warnings]
    text = study_file(look.given, look.reasons, look.task.default_space(), head)
    written.write(text.encode())
    console = make_console(results=True)
    console.print(f"{target}: {look.task.describe()}", markup=False)
    for line in (*look.task.warnings, *(f"{key}: {reason}" for key, reason in look.reasons.items())):
        console.print(line, style="yellow", markup=False)
    console.print("\nnext", style="bold")
    console.print(f"  {command}", soft_wrap=True, markup=False)
    return 0
