"""`explain`: what a model's forecasts follow from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from optlstm.cli.common import FactoryOption, VerifyOption
from optlstm.util.format import many
from optlstm.util.output_file import OutputFile

if TYPE_CHECKING:
    from optlstm.models.explain import Share
    from optlstm.models.model import Model
    from optlstm.report.figures.figure import Figure

_SHOWN = 5


def explain(
    model: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="a model's folder")],
    data: Annotated[
        Path, typer.Option("--data", metavar="FILE", help="whose known rows are forecast; of labels, one with them")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE.html", help="the pictures (default: explain.html)")
    ] = None,
    factory: FactoryOption = None,
    verify: VerifyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the result as JSON")] = False,
) -> int:
    """Measure what a model's output follows from, and draw it: inputs and lags; of labels words, channels and steps."""
    from optlstm.console.progress import make_console
    from optlstm.models.model import Model
    from optlstm.report.html import Page, render

    file = OutputFile(out or Path("explain.html"), ".html")
    file.check({data.expanduser(): "the data"})
    loaded = Model.load(model, factory, verify=verify)
    explained = _forecasts if hasattr(loaded.predictor, "forecaster") else _labels
    stored, figures, first, parts, grows = explained(loaded, data.expanduser())
    lines = [first]
    for heading, shares in parts.items():
        lines.append(f"{heading}: {grows}; gradient times input")
        lines += [
            f"  {share.name:<24}{100 * share.increase:6.1f} % ± {100 * share.spread:.1f}{100 * share.gradient:10.1f} %"
            for share in shares[:_SHOWN]
        ]
    page = Page(
        f"{model} on {data.name}",
        "Explanation",
        (),
        lines[:1],
        figures,
        kind="explanation",
        source="a model and a file of data",
    )
    file.write(render(page).encode())
    if as_json:
        print(json.dumps(stored))
        return 0
    console = make_console(results=True)
    for line in [*lines, f"pictures: {file.path}"]:
        console.print(line, soft_wrap=True, markup=False)
    return 0


class _Explained(NamedTuple):
    stored: dict[str, Any]
    figures: Sequence[Figure]
    first: str  # line
    parts: Mapping[str, Sequence[Share]]
    grows: str  # what the numbers are


def _forecasts(model: Model, data: Path) -> _Explained:
    from optlstm.models.explain import explain as explained
    from optlstm.report.figures.explanation import explanation_figures

    result = explained(model, data)
    season = f"a season of {many(result.season, 'row')}" if result.season > 1 else "no season"
    over = f"over {many(result.windows, 'forecast')}; {season}"
    return _Explained(
        result.stored(),
        explanation_figures(result),
        f"mean absolute error {result.error:.4g} (standardised scale) {over}",
        {"inputs": result.inputs, "own past": result.lags},
        "how much the error grows where they are permuted",
    )


def _labels(model: Model, data: Path) -> _Explained:
    from optlstm.models.explain_labels import explain_labels
    from optlstm.report.figures.explanation import label_figures

    result = explain_labels(model, data)
    return _Explained(
        result.stored(),
        label_figures(result),
        f"{result.metric.replace('_', ' ')} {result.loss:.4g} over {many(result.samples, 'sample')}",
        result.parts,
        "how much is lost without it, of all that there is to lose",
    )
