"""`predict`: a model's forecasts or classes for a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optlstm.cli.common import FactoryOption, VerifyOption
from optlstm.errors import InputError
from optlstm.tasks.options import READING
from optlstm.util.format import many
from optlstm.util.output_file import OutputFile
from optlstm.util.program import program

if TYPE_CHECKING:
    from optlstm.tasks.forecast.tables import ForecastTable


def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="a model's folder")],
    data: Annotated[Path, typer.Option("--data", metavar="FILE", help="CSV (.gz, .zip too), Parquet, .ts or .tsf")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT.csv", help="file for the predictions")],
    start: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="first time to forecast (default: after the data)")
    ] = None,
    backtest: Annotated[
        int | None, typer.Option("--backtest", metavar="N", help="forecast from each of N rows, beside what came")
    ] = None,
    level: Annotated[
        list[str] | None, typer.Option("--level", metavar="PERCENT", help="prediction intervals; --level 80 90")
    ] = None,
    quantiles: Annotated[
        list[str] | None, typer.Option("--quantiles", metavar="SHARE", help="quantiles; --quantiles .1 .5 .9")
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", metavar="N", help="N joint paths over the horizon instead")
    ] = None,
    anomalies: Annotated[
        bool, typer.Option("--anomalies", help="mark the known rows outside their interval instead (--level 99)")
    ] = False,
    ahead: Annotated[
        int, typer.Option("--ahead", metavar="N", help="of anomalies: forecast from N steps before each row")
    ] = 1,
    gaps: Annotated[
        str | None,
        typer.Option("--gaps", metavar="refuse|interpolate|mask", help="missing rows and values (default: as tuned)"),
    ] = None,
    short: Annotated[
        str | None, typer.Option("--short", metavar="omit|refuse", help="series that are too short (default: omit)")
    ] = None,
    last: Annotated[
        bool, typer.Option("--last", help="labels of steps: one value a sequence, at its last step")
    ] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="data.KEY=VALUE", help=f"how this file is read: {', '.join(READING)}"),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.png|html", help="a picture of the forecast")
    ] = None,
    plot_series: Annotated[
        list[str] | None,
        typer.Option("--plot-series", metavar="ID", help="what it shows (default: the first six); repeatable"),
    ] = None,
    factory: FactoryOption = None,
    verify: VerifyOption = None,
    more: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
) -> int:
    """Forecasts in the data's units, from the end of the data on or from anywhere in it; or classes."""
    from optlstm.config.validate import with_reading
    from optlstm.console.forecast_lines import forecast_lines
    from optlstm.console.progress import make_console
    from optlstm.console.scores import unmeasured_lines
    from optlstm.models.model import Model

    OutputFile(out, ".csv").check({data.expanduser(): "the data"})
    levels, shares = _sorted_out(level or [], quantiles or [], more or [])
    options: dict[str, Any] = {"start": start, "levels": levels, "quantiles": shares, "anomalies": anomalies}
    options |= {"ahead": ahead} if ahead != 1 else {}
    options |= {key: value for key, value in (("gaps", gaps), ("short", short)) if value is not None}
    for key, count in (("backtest", backtest), ("samples", samples)):
        if count is not None and count < 1:
            raise InputError(f"--{key}: must be a whole number of at least 1, got {count}")
        options |= {key: count} if count is not None else {}
    options |= _reading(overrides or []) | ({"last": True} if last else {})
    picture = _picture(plot, out)
    if picture is not None and samples:
        raise InputError("--plot: draws a forecast, or anomalies; leave out --samples")
    loaded, console = Model.load(model, factory, verify=verify), make_console()
    if make := getattr(loaded.predictor, "table", None):
        if last:
            raise InputError("--last: is for labels of steps, and this model forecasts; leave it out")
        table = make(data.expanduser(), **with_reading(options))
        rows = table.write_csv(out)
        if picture is not None:
            _plot(table, picture, plot_series or [], f"{model} on {data.name}")
        for line in forecast_lines(table):
            console.print(line, markup=False)
    else:
        if picture is not None:
            raise InputError("--plot: draws forecasts, and this model classifies; leave it out")
        rows = loaded.predictor.write_csv(data.expanduser(), out, **with_reading(options))
    if levels or shares or anomalies or samples:
        for line in unmeasured_lines(loaded.card.intervals):
            console.print(line, markup=False)
    console.print(f"{many(rows, 'row')} in {out}", soft_wrap=True, markup=False)
    return 0


def _picture(plot: Path | None, out: Path) -> OutputFile | None:
    if plot is None:
        return None
    if plot.suffix not in (".png", ".html"):
        raise InputError(f"--plot: must end in .png or .html, got {plot.name}")
    picture = OutputFile(plot, plot.suffix, option="--plot")
    picture.check({out: "the predictions"})
    return picture


def _plot(table: ForecastTable, picture: OutputFile, series: Sequence[str], title: str) -> None:
    from optlstm.report.figures.forecast import anomaly_figure, forecast_figure
    from optlstm.tasks.forecast.tables import AnomalyTable

    figure = (anomaly_figure if isinstance(table, AnomalyTable) else forecast_figure)(table, series)
    if picture.path.suffix == ".png":
        from optlstm.report.png import png

        picture.write(png(figure))
    else:
        from optlstm.report.html import Page, render

        page = Page(title, figure.title, (), (), [figure], kind=figure.key, source="a model and a file of data")
        picture.write(render(page).encode())


def _reading(overrides: Sequence[str]) -> dict[str, Any]:
    """The keys of `data` that `--set` gives; none but those that say how a file is read."""
    from optlstm.config.sources import layer, read_override

    raw: dict[str, Any] = {}
    for text in overrides:
        raw = layer(raw, read_override(text))
        section, _, key = text.partition("=")[0].strip().partition(".")
        if section.strip() != "data" or key.strip() not in READING:
            names = ", ".join(f"data.{name}" for name in READING)
            raise InputError(f"--set {text}: the model has settled that; predict takes {names}")
    return dict(raw.get("data", {}))


def _sorted_out(level: list[str], quantiles: list[str], more: list[str]) -> tuple[list[int], list[float]]:
    """`--level 80 90 --quantiles .1 .9`: typer gives an option one value, and takes the others for arguments.

    Of two such options, an argument with a decimal point is a quantile.
    """
    if more and not level and not quantiles:
        raise InputError(f"unexpected argument {more[0]!r}; see {program()} predict --help")
    for text in more:
        (quantiles if not level or (quantiles and "." in text) else level).append(text)
    levels, shares = ([part.strip() for text in texts for part in text.split(",")] for texts in (level, quantiles))
    problems = [f"--level: must be whole percent, got {text!r}" for text in levels if not text.isdecimal()]
    problems += [f"--quantiles: must be numbers between 0 and 1, got {text!r}" for text in shares if not _number(text)]
    if problems:
        raise InputError(problems)
    return sorted({int(text) for text in levels}), sorted({float(text) for text in shares})


def _number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
