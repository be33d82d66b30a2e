"""`update` and `check`: a model and the rows that came since."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from optlstm.cli.common import FactoryOption, VerifyOption
from optlstm.util.format import many, told_apart, without_midnight

Newer = Annotated[
    Path, typer.Option("--data", metavar="NEWER", help="the series to their new end, in the same columns")
]
ModelFolder = Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="a model's folder")]
AsJson = Annotated[bool, typer.Option("--json", help="print the result as JSON")]


def update(
    model: ModelFolder,
    data: Newer,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="NEW_DIR", help="folder for the model; its own too")],
    mode: Annotated[
        str, typer.Option("--mode", metavar="auto|continue|refit", help="from its weights, anew, or what is better")
    ] = "auto",
    factory: FactoryOption = None,
    verify: VerifyOption = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="print the result only")] = False,
) -> int:
    """Train a model on newer rows, keep it where it was better, make its intervals anew."""
    from optlstm.console.progress import Epochs, make_console
    from optlstm.console.scores import blank_lines, interval_lines, score_tables
    from optlstm.models.folder import check_target
    from optlstm.models.model import Model
    from optlstm.models.update import update as updated

    check_target(out)
    loaded = Model.load(model, factory, verify=verify)
    with Epochs(make_console(quiet)) as display:
        newer = updated(loaded, data.expanduser(), mode, display.on_epoch)
    newer.save(out)
    step = newer.card.history[-1]
    if as_json:
        print(json.dumps({**step.model_dump(), "test": newer.card.test.metrics, "model": str(out)}))
        return 0
    console = make_console(results=True)
    scores = {name: metrics["mse"] or 0.0 for name, metrics in step.scores.items()}
    named = {"keep": "as it was", "continue": "trained on", "refit": "trained anew"}
    shown = zip(scores, told_apart(*scores.values()), strict=True)
    compared = ", ".join(f"{named[name]} {value}" for name, value in shown)
    splits = newer.card.data["splits"]
    console.print(f"mse on the newest {many(splits[2], 'row')}: {compared}", soft_wrap=True, markup=False)
    kept = "; the model as it was is the better one and was kept" if step.how == "keep" else ""
    console.print(f"{named[step.how]}, to {without_midnight([step.last])[0]}{kept}", soft_wrap=True, markup=False)
    for table in score_tables(newer.card.test):
        console.print(table)
    for line in (*blank_lines(newer.card.test), *interval_lines(newer.card.intervals)):
        console.print(line, soft_wrap=True, markup=False)
    console.print(f"saved: {out}", soft_wrap=True, markup=False)
    return 0


def check(
    model: ModelFolder,
    data: Newer,
    factory: FactoryOption = None,
    verify: VerifyOption = None,
    as_json: AsJson = False,
) -> int:
    """Hold a model's forecasts of the rows since against its test: exit 1 where error, intervals or inputs are off."""
    from optlstm.console.progress import make_console
    from optlstm.models.check import as_json as stored
    from optlstm.models.check import check as checked
    from optlstm.models.model import Model

    result = checked(Model.load(model, factory, verify=verify), data.expanduser())
    if as_json:
        print(json.dumps(stored(result)))
    else:
        console = make_console(results=True)
        error, coverage = result.error, result.coverage
        lines = [
            f"{many(result.rows, 'row')} since, {many(result.windows, 'forecast')}: mean absolute error"
            f" {error['since']:.4g} (test {error['promised']:.4g}, in bounds up to {error['limit']:.4g};"
            " standardised scale)"
        ]
        if coverage is not None:
            least = coverage["limit"]
            bound = "" if least is None else f", in bounds from {100 * least:.0f} % on"
            lines.append(f"90 % interval: {100 * (coverage['since'] or 0.0):.0f} % inside{bound}")
        lines += [f"not judged: {line}" for line in result.unjudged]
        for line in [*lines, *(result.problems or ["in bounds"])]:
            console.print(line, soft_wrap=True, markup=False)
    return 1 if result.problems else 0
