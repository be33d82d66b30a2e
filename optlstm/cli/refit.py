"""`refit`: from a study to a tested model."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optlstm.cli.common import (
    DEFAULT_STORAGE_PATH,
    FactoryOption,
    StorageOption,
    StoragePathOption,
    given_database,
)
from optlstm.util.format import visible
from optlstm.util.program import program

if TYPE_CHECKING:
    from rich.console import Console

    from optlstm.models.card import Card


def refit(
    name: Annotated[str, typer.Argument(metavar="NAME", help="the study's name")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="MODEL_DIR", help="folder for the model")],
    trial: Annotated[int | None, typer.Option("--trial", metavar="N", help="the trial of this number alone")] = None,
    pick: Annotated[
        str | None,
        typer.Option(
            "--pick", metavar="RULE", help="of several objectives: knee (default), or a bound: parameters<=20000"
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option("--top", metavar="K", help="the best K trials (default: 3 of forecasts, the best one of labels)"),
    ] = None,
    no_ensemble: Annotated[
        bool,
        typer.Option(
            "--no-ensemble", help="no linear forecasts, no weights: the mean of networks, by default the best trial's"
        ),
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", metavar="K", help="K networks of each trial (default: 1, labels: 3)"),
    ] = None,
    averaging: Annotated[
        float | None,
        typer.Option("--averaging", metavar="SHARE", help="average the weights over this share of the training, to 1"),
    ] = None,
    no_refit: Annotated[bool, typer.Option("--no-refit", help="keep the weights of tuning, train nothing")] = False,
    rivals: Annotated[
        bool, typer.Option("--rivals", help="test exponential smoothing and Theta too (needs statsmodels)")
    ] = False,
    threshold: Annotated[
        str | None,
        typer.Option(
            "--threshold", metavar="METRIC|SHARE", help="two classes: when to predict the second, by a metric, or as .3"
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="FILE", help="where the study's data is now, or a longer file")
    ] = None,
    factory: FactoryOption = None,
    workers: Annotated[
        str,
        typer.Option("--workers", metavar="N|auto", help="networks at a time; auto: one per core where it pays"),
    ] = "auto",
    sign: Annotated[
        Path | None,
        typer.Option("--sign", metavar="KEY.pem", help="sign the folder with this Ed25519 key, for predict --verify"),
    ] = None,
    steps: Annotated[bool, typer.Option("--steps", help="print every metric by horizon step too")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the result as JSON")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="print the result only")] = False,
    storage: StorageOption = None,
    storage_path: StoragePathOption = DEFAULT_STORAGE_PATH,
) -> int:
    """Train a study's best params on training and validation rows, score the test rows once, save the model."""
    from optlstm.console.progress import Epochs, make_console
    from optlstm.console.scores import outcome
    from optlstm.models.folder import check_target, described
    from optlstm.models.refit import refit as make_model
    from optlstm.models.signature import read_private_key
    from optlstm.run.stored import stored_config
    from optlstm.study.results import load_study

    check_target(out)
    if sign is not None:
        read_private_key(sign)  # before the training
    database, unweighted = given_database(storage), list[int]()
    with Epochs(make_console(quiet)) as display:
        model = make_model(
            database, name, trial=trial, pick=pick, top=top, seeds=seeds, ensemble=not no_ensemble, averaging=averaging,
            retrain=not no_refit, rivals=rivals, threshold=threshold, data=data,
            storage_path=storage_path, factory=factory, workers=int(workers) if workers.isdecimal() else workers,
            on_epoch=display.on_epoch, on_unweighted=unweighted.append,
        )  # fmt: skip
    replaced = described(out)
    model.save(out, sign=sign)
    if as_json:
        print(json.dumps(outcome(model.card, str(out))))
    else:
        file = data or stored_config(load_study(database, name)).get("data", {}).get("path") or "FILE"
        print_result(make_console(results=True), model.card, out, steps, unweighted, file, replaced)
    return 0


def print_result(
    console: Console, card: Card, out: Path, steps: bool, unweighted: Sequence[int], file: str, replaced: str
) -> None:
    from optlstm.console.scores import (
        blank_lines,
        ensemble_line,
        grown_line,
        heading,
        in_words,
        interval_lines,
        score_tables,
        step_table,
    )

    test = card.test
    console.print(heading(card))
    if line := grown_line(card):
        console.print(line, markup=False)
    for table in score_tables(test):
        console.print()
        console.print(table)
    if steps:
        for metric in test.steps:
            console.print()
            console.print(step_table(test, metric))
    console.print()
    if card.ensemble:
        console.print(ensemble_line(card, unweighted), markup=False)
    for line in in_words(test):
        console.print(line, style="yellow", markup=False)
    for line in (*blank_lines(test), *interval_lines(card.intervals), *card.task.lines()):
        console.print(line, markup=False)
    instead = f", in place of {replaced}" if replaced else ""
    console.print(f"saved: {out}{instead}", soft_wrap=True, markup=False)
    factory = f" --factory {shlex.quote(card.factory)}" if card.factory else ""
    command = f"{program()} predict {shlex.quote(str(out))} --data {shlex.quote(file)} -o OUT.csv{factory}"
    console.print("\nnext", style="bold")
    console.print(visible(f"  {command}"), markup=False, soft_wrap=True)
