"""`report`: a study as one HTML file, and as pictures."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optlstm.cli.common import FactoryOption, MovedOption, StorageOption, given_database, study_checkpoints
from optlstm.config.validate import attempt
from optlstm.errors import InputError
from optlstm.util.files import check_folder
from optlstm.util.output_file import OutputFile

_FAN = (50, 80, 90)  # percent, of the intervals around a model's forecast

if TYPE_CHECKING:
    import optuna

    from optlstm.report.figures.figure import Figure


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
    model: Annotated[
        Path | None, typer.Option("--model", metavar="MODEL_DIR", help="draw this refit's forecast and anomalies too")
    ] = None,
    factory: FactoryOption = None,
    storage_path: MovedOption = None,
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
    page = make_report(study, study_checkpoints(study, storage_path), others)
    if model is not None:
        page = replace(page, figures=[*_of_model(model, study, factory), *page.figures])
    content = render(page).encode()
    file.write(content)
    console = sys.stderr if file.is_stdout else sys.stdout  # the page is all that goes there
    print(f"{file.path} ({len(content) / 1e6:.1f} MB)", file=console)
    if png is not None:
        from optlstm.report.png import write_pngs

        print(f"{len(write_pngs(page.figures, png))} pictures in {png}", file=console)
    return 0


def _of_model(folder: Path, study: optuna.Study, factory: str | None) -> list[Figure]:
    """The forecast after the study's data, and what lay outside of the intervals of its known rows."""
    from optlstm.models.model import Model
    from optlstm.report.figures.forecast import anomaly_figure, forecast_figure
    from optlstm.run.stored import check_data_place, stored_config
    from optlstm.tasks.forecast.conformal import highest_level
    from optlstm.tasks.forecast.predictor import ForecastPredictor

    loaded, path = Model.load(folder, factory), stored_config(study).get("data", {}).get("path")
    predictor = loaded.predictor
    if not isinstance(predictor, ForecastPredictor):
        raise InputError("--model: draws forecasts, and this model is of labels; leave it out")
    if loaded.card.study.name != study.study_name or path is None:
        raise InputError(f"--model: {folder} was not made of data of study '{study.study_name}'; see predict --plot")
    check_data_place(path)
    highest = highest_level(predictor.section.calibrated)
    figures = [forecast_figure(predictor.table(Path(path), levels=[level for level in _FAN if level <= highest]))]
    if highest:
        figures.append(anomaly_figure(predictor.table(Path(path), anomalies=True)))
    return figures
