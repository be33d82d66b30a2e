"""The report as one HTML file that loads nothing.

The page's policy lets two scripts run, told by their hashes, and no other: a name that found its way into the page as
markup could still neither run nor load anything.
"""

from __future__ import annotations

import base64
import datetime
import functools
import gzip
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import optuna

from optlstm import __version__
from optlstm.report import summary_text
from optlstm.report.command import command_of
from optlstm.report.figures import best_network, curves, lineage, search_space
from optlstm.report.figures.comparison import Comparison, compare
from optlstm.report.figures.figure import Figure
from optlstm.report.figures.palette import DARK, LIGHT
from optlstm.report.plotly import plotly_panels
from optlstm.report.summary_text import KeyNumber
from optlstm.report.view import StudyView
from optlstm.run.trial_log import last_lines
from optlstm.study.record import ENVIRONMENT_KEY
from optlstm.util.files import Location
from optlstm.util.format import moment, visible_lines

FAILED_LOGS, LOG_LINES = 3, 30  # failed trials whose prints are shown, and lines of each


@dataclass(frozen=True)
class Page:
    """The parts of an HTML file from top to bottom; what is empty is left out.

    Args:
        missing: Why something could not be drawn.
        best_trials: Title, heading and rows of the table of the best trials.
        logs: What the best trial and failed ones have printed last, each with its title.
        command: The one that runs the study again; `repeat_note` says what it needs.
        environment: What the study was run in, by name.
        kind, source: What the page is, for its title, and what it was made from.
    """

    name: str
    subtitle: str
    key_numbers: Sequence[KeyNumber]
    summary: Sequence[str]
    figures: Sequence[Figure]
    comparison: Comparison | None = None
    missing: str = ""
    best_trials: tuple[str, Sequence[str], Sequence[Sequence[str]]] = ("", (), ())
    logs: Sequence[tuple[str, str]] = ()
    command: str = ""
    repeat_note: str = ""
    environment: Sequence[tuple[str, str]] = ()
    kind: str = "study report"
    source: str = "the study's database"


def make_report(study: optuna.Study, checkpoints: Location | None, others: Sequence[optuna.Study] = ()) -> Page:
    """Read a study and make its report.

    Args:
        checkpoints: The study's folder of checkpoints; None: it is not known.
        others: Studies to compare it with.
    """
    view = StudyView(study)
    network = best_network.network(view, checkpoints)
    comparison = compare([view, *map(StudyView, others)]) if others else None
    figures = [
        *(comparison.figures if comparison else ()),
        lineage.pareto(view),
        curves.history(view),
        *network.figures,
        curves.learning_curves(view),
        lineage.lineage(view),
        lineage.schedules(view),
        search_space.importance_figure(view),
        search_space.parallel(view),
        search_space.slices(view),
        search_space.contour(view),
        curves.distribution(view),
        curves.timeline(view),
    ]
    return Page(
        name=view.name,
        subtitle=summary_text.subtitle(view, network.spans),
        key_numbers=summary_text.key_numbers(view),
        summary=summary_text.summary(view, network.baselines),
        figures=[figure for figure in figures if figure is not None],
        comparison=comparison,
        missing=network.missing,
        best_trials=summary_text.best_trials_table(view),
        logs=_logs(view, checkpoints) if checkpoints is not None else (),
        command=command_of(view.config, view.name) if view.config else "",
        repeat_note=_repeat_note(view),
        environment=_environment(view),
    )


def _logs(view: StudyView, checkpoints: Location) -> list[tuple[str, str]]:
    best = view.best
    chosen = [] if best is None else [(best.number, "the best")]
    chosen += [(t.number, "failed") for t in view.trials if t.state.name == "FAIL"][:FAILED_LOGS]
    logs = ((number, how, last_lines(checkpoints, number, LOG_LINES)) for number, how in chosen)
    return [(f"trial {number}, {how}", "\n".join(lines)) for number, how, lines in logs if lines]


def render(page: Page) -> str:
    """The page as HTML."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    templates = resources.files("optlstm.report").joinpath("templates")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    environment.filters["seen"] = visible_lines
    plotly, packed = _plotly()
    script = templates.joinpath("report.js").read_text(encoding="utf-8")
    panels = {"panels": plotly_panels(page.figures), "light": dict(LIGHT), "dark": dict(DARK)}
    template = environment.from_string(templates.joinpath("report.html").read_text(encoding="utf-8"))
    return template.render(
        vars(page),
        policy=_policy(plotly, script),
        css=Markup(templates.joinpath("report.css").read_text(encoding="utf-8")),
        js=Markup(script),
        plotly=Markup(packed),
        data=Markup(_embedded(panels)),
        light=LIGHT,
        dark=DARK,
        version=__version__,
        made=moment(datetime.datetime.now()),
    )


@functools.cache
def _plotly() -> tuple[str, str]:
    """The library's text, and the same compressed: 2 MB in place of 4.8. The page's script unpacks it."""
    text = resources.files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")
    return text, base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _policy(*scripts: str) -> str:
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:;"
        " base-uri 'none'; form-action 'none'"
    )


def _embedded(content: Mapping[str, Any]) -> str:
    """JSON that no HTML parser takes for anything else."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _repeat_note(view: StudyView) -> str:
    note = "The data file must be the same; the study is refused under its name where anything differs."
    if view.epochs is not None:
        note += " With --workers=1 and the environment below it makes the same trials."
    return note


def _environment(view: StudyView) -> list[tuple[str, str]]:
    """The environment the study has recorded; the versions installed now need not be those."""
    stored = view.attrs.get(ENVIRONMENT_KEY)
    if not isinstance(stored, Mapping):
        return [("optuna", f"{importlib.metadata.version('optuna')} (when this report was made)")]
    return [(str(name), str(value)) for name, value in stored.items()]
