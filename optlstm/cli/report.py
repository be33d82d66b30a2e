"""`report`: a study as one HTML file, and as pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optlstm.cli.common import StorageOption, app, given_database
from optlstm.config import StudyConfig
from optlstm.errors import InputError, OptlstmError

if TYPE_CHECKING:
    import optuna

    from optlstm.files import Location


@app.command()
def report(
    name: Annotated[str, typer.Argument(help="the study's name")],
    out: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.html", help="the file to write (default: NAME.html)")
    ] = None,
    compare: Annotated[
        list[str] | None, typer.Option("--compare", metavar="NAME", help="lay another study beside it; repeatable")
    ] = None,
    png: Annotated[
        Path | None, typer.Option("--png", metavar="DIR", help="also write every figure as a PNG file there")
    ] = None,
    storage_path: Annotated[
        str | None, typer.Option("--storage-path", metavar="DIR|URL", help="where its checkpoints are, if moved")
    ] = None,
    storage: StorageOption = None,
) -> int:
    """Write what a study found as one HTML file that needs no network."""
    from optlstm.report.page import make_report, render
    from optlstm.results import load_study
    from optlstm.retention import file_name

    database = given_database(storage)
    problems: list[str] = []
    studies = []
    for each in (name, *(compare or ())):
        try:
            studies.append(load_study(database, each))
        except InputError as error:
            problems += error.problems
    target = out or Path(f"{file_name(name)}.html")
    if target.name == "" or target.is_dir():
        problems.append(f"-o: {str(out)!r} is no file's name; give one such as report.html")
    elif not target.absolute().parent.is_dir():
        problems.append(f"-o: folder {target.parent} does not exist")
    if png is not None and png.exists() and not png.is_dir():
        problems.append(f"--png: {png} is a file; give a folder")
    twice = sorted({each for each in (compare or ()) if [name, *(compare or ())].count(each) > 1})
    problems += [f"--compare: {each!r} is named twice" for each in twice]
    if problems:
        raise InputError(problems)
    made = make_report(studies[0], _folder(studies[0], storage_path), studies[1:])
    page = render(made)
    _write(target, page)
    print(f"{target} ({len(page.encode()) / 1e6:.1f} MB)")
    if png is not None:
        from optlstm.report.png import write_pngs

        print(f"{len(write_pngs(made.figures, png))} pictures in {png}")
    return 0


def _write(target: Path, page: str) -> None:
    """Whole or not at all."""
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        partial.write_text(page, encoding="utf-8", newline="\n")
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OptlstmError(f"-o: cannot write {target}: {error.strerror or error}") from error


def _folder(study: optuna.Study, given: str | None) -> Location | None:
    """Where the study's checkpoints are: as told, or where its last run has kept them."""
    from optlstm.files import absolute
    from optlstm.retention import study_folder
    from optlstm.study.record import FOLDER_KEY, UID_KEY

    attrs = study.user_attrs
    if UID_KEY in attrs and (given is not None or FOLDER_KEY not in attrs):
        root = given or StudyConfig.model_fields["storage_path"].default
        return study_folder(absolute(root), study.study_name, attrs[UID_KEY])
    folder: str | None = attrs.get(FOLDER_KEY)
    return folder
