"""`explain`: what a model's forecasts follow from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from optlstm.cli.common import VerifyOption
from optlstm.util.format import many
from optlstm.util.output_file import OutputFile

_SHOWN = 5


def explain(
    model: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="a model's folder")],
    data: Annotated[Path, typer.Option("--data", metavar="FILE", help="whose known rows are forecast")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE.html", help="the pictures (default: explain.html)")
    ] = None,
    verify: VerifyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the result as JSON")] = False,
) -> int:
    """Measure which inputs and which lags a model's forecasts follow from, and draw it."""
    from optlstm.console.progress import make_console
    from optlstm.models.explain import explain as explained
    from optlstm.models.model import Model
    from optlstm.report.figures.explanation import explanation_figures
    from optlstm.report.html import Page, render

    file = OutputFile(out or Path("explain.html"), ".html")
    file.check({data.expanduser(): "the data"})
    result = explained(Model.load(model, verify=verify), data.expanduser())
    season = f"a season of {many(result.season, 'row')}" if result.season > 1 else "no season"
    lines = [
        f"mean absolute error {result.error:.4g} (standardised scale) over {many(result.windows, 'forecast')}; {season}"
    ]
    for shares, heading in ((result.inputs, "inputs"), (result.lags, "own past")):
        lines.append(f"{heading}: how much the error grows where they are permuted; gradient times input")
        lines += [
            f"  {share.name:<24}{100 * share.increase:6.1f} % ± {100 * share.spread:.1f}{100 * share.gradient:10.1f} %"
            for share in shares[:_SHOWN]
        ]
    page = Page(
        f"{model} on {data.name}",
        "Explanation",
        (),
        lines[:1],
        explanation_figures(result),
        kind="explanation",
        source="a model and a file of data",
    )
    file.write(render(page).encode())
    if as_json:
        print(json.dumps(result.stored()))
        return 0
    console = make_console(results=True)
    for line in [*lines, f"pictures: {file.path}"]:
        console.print(line, soft_wrap=True, markup=False)
    return 0
