"""`lr-search`: random learning rates on a log axis, in rounds that narrow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optlstm.cli.flags import AsJson, Overrides, Quiet, config_flags, read_config
from optlstm.cli.session import run_session
from optlstm.config.schema import LrSearchConfig
from optlstm.config.sources import layer, read_override
from optlstm.config.validate import attempt, check_lr_search
from optlstm.study.record import flatten
from optlstm.util.format import many
from optlstm.util.output_file import OutputFile

if TYPE_CHECKING:
    from optlstm.run.session import Session
    from optlstm.study.narrowing import Recommendation

# The keys that `_as_study` sets, and what to do instead of setting them.
DECIDED = {
    "trials": "give --rounds and --draws",
    "sampler": "leave it out",
    "pruner": "leave it out",
    "training.epochs": "give --epochs",
    "training.patience": "leave it out",
    "defaults_first": "leave it out",
    "diverged": "leave it out",
    "space.only": "leave it out",
    "space.learning_rate": "give --low and --high",
}


@config_flags("lr-search")
def lr_search(
    study_file: Annotated[Path | None, typer.Argument(metavar="STUDY.toml", help="a study file")] = None,
    *,
    flags: dict[str, Any],
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE.html", help="the picture (default: NAME-lr.html)", rich_help_panel="Output"
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Search the learning rate alone: short trainings at random rates, round after round in a narrower range."""
    raw, problems = read_config(study_file, overrides, flags)
    options = check_lr_search(raw, problems)
    problems += _decided_already(overrides or ())
    config = layer(raw, _as_study(options))
    from optlstm.run.retention import file_name
    from optlstm.run.study_config import study_name
    from optlstm.study.narrowing import recommend

    config["name"] = raw.get("name") or f"{study_name(raw, study_file)}-lr"
    picture = OutputFile(out or Path(f"{file_name(str(config['name']))}.html"), ".html")
    attempt(problems, picture.check)
    session, code = run_session(config, problems, None, quiet)
    ledger, drawn = session.ledger, max(1, session.ledger.ended // options.draws)
    recommended = recommend(ledger.trials, options.draws, options.keep, drawn)
    picture.write(_page(session, options.draws, recommended).encode())
    if as_json:
        print(json.dumps(_result(ledger.name, recommended, picture.path)))
    else:
        _print_result(recommended, picture.path)
    return code if recommended is not None else max(code, 1)


def _decided_already(overrides: Sequence[str]) -> list[str]:
    """Keys of `--set` that lr-search decides. A study file may have them: it serves `study` too."""
    tables = [attempt([], partial(read_override, text)) for text in overrides]  # None: read_config has reported it
    keys = [key for table in tables if table is not None for key in flatten(table)]
    return [
        f"{key}: lr-search decides it; {remedy}"
        for key in keys
        for decided, remedy in DECIDED.items()
        if key == decided or key.startswith(f"{decided}.")
    ]


def _as_study(options: LrSearchConfig) -> dict[str, Any]:
    """The study that an lr-search is."""
    return {
        "trials": options.rounds * options.draws,
        "sampler": {"name": "narrowing", "draws": options.draws, "keep": options.keep},
        "pruner": {"name": "none"},
        "training": {"epochs": options.epochs, "patience": 0},
        "defaults_first": False,
        "diverged": "prune",
        "space": {"only": ["learning_rate"], "learning_rate": {"low": options.low, "high": options.high, "log": True}},
    }


def _page(session: Session, draws: int, recommended: Recommendation | None) -> str:
    from optlstm.report.figures.learning_rate import learning_rates
    from optlstm.report.html import Page, render
    from optlstm.report.summary_text import KeyNumber

    ledger, label = session.ledger, session.plan.metric.label
    key_numbers, summary = [], ["Every draw diverged: there is no learning rate to recommend."]
    if recommended is not None:
        key_numbers = [
            KeyNumber("learning rate", f"{recommended.value:.2g}", "to use without a search"),
            KeyNumber("range to search", f"{recommended.low:.2g} to {recommended.high:.2g}", "on a log axis"),
        ]
        summary = [f"For [space] in a study file: {recommended.space_line()}"]
    return render(
        Page(
            name=ledger.name,
            subtitle=f"Learning-rate search: {many(len(ledger.trials), 'draw')}, {draws} a round",
            key_numbers=key_numbers,
            summary=summary,
            figures=[learning_rates(ledger.trials, draws, label, recommended)],
        )
    )


def _result(name: str, recommended: Recommendation | None, picture: Path) -> dict[str, Any]:
    """For --json."""
    result: dict[str, Any] = {"name": name, "value": None, "low": None, "high": None, "picture": str(picture)}
    return result if recommended is None else {**result, **vars(recommended), "space": recommended.space_line()}


def _print_result(recommended: Recommendation | None, picture: Path) -> None:
    from optlstm.console.progress import make_console

    console = make_console(results=True)
    if recommended is None:
        console.print("every draw diverged: there is no learning rate to recommend", markup=False)
    else:
        console.print(f"\nlearning rate      {recommended.value:.2g}", markup=False)
        console.print(f"range to search    {recommended.low:.2g} to {recommended.high:.2g}", markup=False)
        console.print(f"\n[space]\n{recommended.space_line()}\n", markup=False, soft_wrap=True)
    console.print(f"picture            {picture}", markup=False, soft_wrap=True)
