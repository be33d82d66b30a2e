"""`report`: a study as one HTML file, and as pictures."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optlstm.cli.common import DEFAULT_STORAGE_PATH, StorageOption, given_database
from optlstm.config.validate import attempt
from optlstm.errors import InputError
from optlstm.study.record import FOLDER_KEY, UID_KEY
from optlstm.util.files import Location, absolute, check_folder, is_url
from optlstm.util.output_file import OutputFile

if TYPE_CHECKING:
    import optuna


def report(
    name: Annotated[str, typer.Argument(metavar="NAME", help="the study's name")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE.html", help="the file to write (default: NAME.html)")
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
    from optlstm.report.html import make_report, render
    from optlstm.run.retention import file_name
    from optlstm.study.results import load_study

    database = given_database(storage)
    names = [name, *(compare or ())]
    problems: list[str] = []
    loaded = [attempt(problems, partial(load_study, database, name)) for name in names]
    file = OutputFile(out or Path(f"{file_name(name)}.html"))
    attempt(problems, file.check)
    if png is not None:
        attempt(problems, lambda: check_folder(png, "--png"))
    problems += [
        f"--compare: {twice!r} is named twice" for twice in sorted({n for n in names[1:] if names.count(n) > 1})
    ]
    if problems:
        raise InputError(problems)
    study, *others = (study for study in loaded if study is not None)
    page = make_report(study, _folder(study, storage_path), others)
    content = render(page).encode()
    file.write(content)
    console = sys.stderr if file.is_stdout else sys.stdout  # the page is all that goes there
    print(f"{file.path} ({len(content) / 1e6:.1f} MB)", file=console)
    if png is not None:
        from optlstm.report.png import write_pngs

        print(f"{len(write_pngs(page.figures, png))} pictures in {png}", file=console)
    return 0


def _folder(study: optuna.Study, given: str | None) -> Location | None:
    """Where the study's checkpoints are: as told, or where its last run has kept them."""
    from optlstm.run.retention import study_folder

    attrs = study.user_attrs
    if UID_KEY in attrs and (given is not None or FOLDER_KEY not in attrs):
        return study_folder(absolute(given or DEFAULT_STORAGE_PATH), study.study_name, attrs[UID_KEY])
    # A database's word opens no connection, and no folder but one that is named after the study.
    folder: str | None = attrs.get(FOLDER_KEY)
    if folder is None or is_url(folder):
        return None
    known = study_folder(Path(folder).parent, study.study_name, str(attrs.get(UID_KEY, "")))
    return folder if known == Path(folder) else None
