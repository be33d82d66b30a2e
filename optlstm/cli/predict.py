"""`predict`: a model's forecasts or classes for a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from optlstm.cli.common import FactoryOption, VerifyOption
from optlstm.errors import InputError
from optlstm.tasks.options import READING
from optlstm.util.output_file import OutputFile
from optlstm.util.program import program


def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="a model's folder")],
    data: Annotated[Path, typer.Option("--data", metavar="FILE", help="CSV (.gz too), Parquet, .ts or .tsf")],
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
    gaps: Annotated[
        str | None,
        typer.Option("--gaps", metavar="refuse|interpolate|mask", help="missing rows and values (default: as tuned)"),
    ] = None,
    short: Annotated[
        str | None, typer.Option("--short", metavar="omit|refuse", help="series that are too short (default: omit)")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="data.KEY=VALUE", help=f"how this file is read: {', '.join(READING)}"),
    ] = None,
    factory: FactoryOption = None,
    verify: VerifyOption = None,
    more_levels: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
) -> int:
    """Forecasts in the data's units, from the end of the data on or from anywhere in it; or classes."""
    from optlstm.config.validate import with_reading
    from optlstm.console.progress import make_console
    from optlstm.console.scores import unmeasured_lines
    from optlstm.models.model import Model

    OutputFile(out, ".csv").check({data.expanduser(): "the data"})
    options: dict[str, Any] = {"start": start, "levels": _levels(level or [], more_levels or [])}
    options |= {key: value for key, value in (("gaps", gaps), ("short", short)) if value is not None}
    if backtest is not None:
        if backtest < 1:
            raise InputError(f"--backtest: must be a whole number of at least 1, got {backtest}")
        options["backtest"] = backtest
    options |= _reading(overrides or [])
    loaded, console = Model.load(model, factory, verify=verify), make_console()
    rows = loaded.predictor.write_csv(data.expanduser(), out, **with_reading(options))
    if options["levels"]:
        for line in unmeasured_lines(loaded.card.intervals):
            console.print(line, soft_wrap=True, markup=False)
    console.print(f"{rows:,} rows in {out}", soft_wrap=True, markup=False)
    return 0


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


def _levels(first: list[str], more: list[str]) -> list[int]:
    """`--level 80 90`: typer gives the option one value, and takes the others for arguments."""
    if more and not first:
        raise InputError(f"unexpected argument {more[0]!r}; see {program()} predict --help")
    texts = [part.strip() for text in (*first, *more) for part in text.split(",")]
    wrong = [text for text in texts if not text.isdecimal()]
    if wrong:
        raise InputError([f"--level: must be whole percent, got {text!r}" for text in wrong])
    return sorted({int(text) for text in texts})
