"""`report`: a study as one HTML file, and as pictures."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optlstm.cli.common import StorageOption, app, given_database
from optlstm.config.schema import StudyConfig
from optlstm.errors import InputError, OptlstmError

if TYPE_CHECKING:
    import optuna

    from optlstm.util.files import Location


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
    from optlstm.report.html import make_report, render
    from optlstm.run.retention import file_name
    from optlstm.study.results import load_study

    database = given_database(storage)
    problems: list[str] = []
    studies = []
    for each in (name, *(compare or ())):
        try:
            studies.append(load_study(database, each))
        except InputError as error:
            problems += error.problems
    target = out or Path(f"{file_name(name)}.html")
    problems += _places(target, png)
    twice = sorted({each for each in (compare or ()) if [name, *(compare or ())].count(each) > 1})
    problems += [f"--compare: {each!r} is named twice" for each in twice]
    if problems := problems or _unwritable(target, png):
        raise InputError(problems)
    made = make_report(studies[0], _folder(studies[0], storage_path), studies[1:])
    page = render(made)
    said = sys.stderr if _is_stdout(target) else sys.stdout  # the page is all that goes there
    _write(target, page)
    print(f"{target} ({len(page.encode()) / 1e6:.1f} MB)", file=said)
    if png is not None:
        from optlstm.report.png import write_pngs

        print(f"{len(write_pngs(made.figures, png))} pictures in {png}", file=said)
    return 0


def _places(target: Path, png: Path | None) -> list[str]:
    """What cannot be the page's file or the pictures' folder."""
    problems = []
    if target.name == "" or target.is_dir():
        problems.append(f"-o: {str(target)!r} is no file's name; give one such as report.html")
    elif not _is_stream(target) and not _real(target).parent.is_dir():
        folder = _real(target).parent if target.is_symlink() else target.parent
        problems.append(f"-o: folder {folder} does not exist")
    if png is not None and png.exists() and not png.is_dir():
        problems.append(f"--png: {png} is a file; give a folder")
    return problems


def _unwritable(target: Path, png: Path | None) -> list[str]:
    """Try both places before the work; the pictures' folder is there afterwards."""
    if not _is_stream(target):
        try:
            _partial(target).touch()
            _partial(target).unlink()
        except OSError as error:
            return [f"-o: cannot write {target}: {error.strerror or error}"]
    if png is not None:
        try:
            png.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            return [f"--png: cannot write {png}: {error.strerror or error}"]
    return []


def _write(target: Path, page: str) -> None:
    """Whole or not at all; through a link into what it names, and straight into what is no regular file."""
    if _is_stdout(target):
        sys.stdout.write(page)
        return
    partial = None if _is_stream(target) else _partial(target)
    try:
        (partial or target).write_text(page, encoding="utf-8", newline="\n")
        if partial:
            partial.replace(_real(target))
    except OSError as error:
        if partial:
            partial.unlink(missing_ok=True)
        raise OptlstmError(f"-o: cannot write {target}: {error.strerror or error}") from error


def _real(target: Path) -> Path:
    return Path(os.path.realpath(target))


def _partial(target: Path) -> Path:
    return _real(target).with_name(f".{target.name}.{os.getpid()}")


def _is_stream(target: Path) -> bool:
    """A pipe, a device, or what standard output goes to: no other file can be put in its place."""
    return _is_stdout(target) or (target.exists() and not target.is_file())


def _is_stdout(target: Path) -> bool:
    return str(target.absolute()) in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def _folder(study: optuna.Study, given: str | None) -> Location | None:
    """Where the study's checkpoints are: as told, or where its last run has kept them."""
    from optlstm.run.retention import study_folder
    from optlstm.study.record import FOLDER_KEY, UID_KEY
    from optlstm.util.files import absolute

    attrs = study.user_attrs
    if UID_KEY in attrs and (given is not None or FOLDER_KEY not in attrs):
        root = given or StudyConfig.model_fields["storage_path"].default
        return study_folder(absolute(root), study.study_name, attrs[UID_KEY])
    folder: str | None = attrs.get(FOLDER_KEY)
    return folder
