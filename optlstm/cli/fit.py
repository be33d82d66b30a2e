"""`fit`: a tested model in a limited time."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optlstm.cli.common import DEFAULT_STORAGE
from optlstm.cli.databases import existing, open_study_database
from optlstm.cli.flags import AsJson, Overrides, Quiet, config_flags, read_config
from optlstm.cli.refit import print_result
from optlstm.cli.session import run_session
from optlstm.config.schema import StudyConfig
from optlstm.config.validate import attempt
from optlstm.study.record import MODEL_KEY
from optlstm.util.format import duration, model_folder
from optlstm.util.interrupts import Interrupted
from optlstm.util.program import program

if TYPE_CHECKING:
    from optlstm.models.card import Card
    from optlstm.run.budget import Budget
    from optlstm.run.session import Session


@config_flags("fit")
def fit(
    study_file: Annotated[Path | None, typer.Argument(metavar="STUDY.toml", help="a study file")] = None,
    *,
    minutes: Annotated[
        float, typer.Option("--minutes", metavar="M", help="time for all of it; the study's total")
    ] = 10.0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="MODEL_DIR", help="folder for the model (default: NAME-model)"),
    ] = None,
    flags: dict[str, Any],
    overrides: Overrides = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Search, refit and test inside a time limit, and save the model. Stopped, the same command continues it."""
    began = time.monotonic()
    from optlstm.console.progress import make_console
    from optlstm.run.budget import SUFFIX, Budget, config_problems
    from optlstm.run.study_config import names_of, study_name

    raw, problems = read_config(study_file, overrides, flags)
    problems += config_problems(raw, minutes)
    raw |= {"timeout": max(1e-9, 60.0 * minutes), "artifacts": raw.get("artifacts", 0)}
    budget, name = Budget(60 * minutes, began), study_name(raw, study_file)
    if not raw.get("name"):
        database = attempt(problems, lambda: existing(str(raw.get("storage") or DEFAULT_STORAGE)))
        names = names_of(raw, f"{name}{SUFFIX}")
        name = raw["name"] = next(name for name in names if not budget.outgrows(database, name))
    folder = out or Path(model_folder(name))
    budget.command = f"fit --name {shlex.quote(name)} --minutes {minutes:g} -o {shlex.quote(str(folder))}"
    attempt(problems, lambda: _check_target(folder))
    session, code = run_session(
        raw, problems, None, quiet, budget, is_over=lambda session: _stored(session, budget, folder) is not None
    )
    if code >= 128:  # interrupted; what resumes it is this command
        return code
    if card := _stored(session, budget, folder):
        make_console(quiet).print(
            f"nothing to do: the study has ended, and {folder} holds its model; to search on give more --minutes, for"
            " another model another --name and -o",
            markup=False,
            soft_wrap=True,
        )
        _show(session, card, folder, as_json)
        return 0
    return _make_model(session, budget, folder, raw, quiet, as_json)


def _check_target(folder: Path) -> None:
    from optlstm.models.folder import check_target

    check_target(folder)


def _stored(session: Session, budget: Budget, folder: Path) -> Card | None:
    """The card of a model that the study has ended with, in as much time or more, where the folder holds it."""
    from optlstm.models.folder import kept

    enough = [digest for digest, seconds in _models(session).items() if seconds >= budget.seconds]
    return kept(folder, enough) if enough else None


def _models(session: Session) -> dict[str, float]:
    """The seconds that the study's models had, by the SHA-256 of their cards."""
    made = session.ledger.attrs.get(MODEL_KEY, {})
    return {made["sha256"]: made["seconds"]} if "sha256" in made else dict(made)


def _make_model(session: Session, budget: Budget, folder: Path, raw: dict[str, Any], quiet: bool, as_json: bool) -> int:
    from optlstm.console.progress import PAUSED, Epochs, make_console
    from optlstm.console.study_table import counts_in_words
    from optlstm.models.fit import finished
    from optlstm.models.folder import described

    url = str(raw.get("storage") or StudyConfig.model_fields["storage"].default)
    unweighted = list[int]()
    console = make_console(quiet)
    console.print(f"the search has ended ({counts_in_words(session.ledger.counts, PAUSED)}); training the model")
    models = _models(session)
    if any(seconds >= budget.seconds for seconds in models.values()):
        again = f"{program()} refit {shlex.quote(session.ledger.name)} -o {shlex.quote(str(folder))}"
        console.print(
            f"the time of study {session.ledger.name} was used for an earlier model; this one is trained in the"
            f" {duration(budget.refit_seconds_left)} left; a fuller one: more --minutes, or {again}",
            markup=False,
            soft_wrap=True,
        )
    with Epochs(console) as display:
        database = open_study_database(url, create=False)
        try:
            model = finished(session, database, budget, display.on_epoch, unweighted.append)
        except (Interrupted, KeyboardInterrupt):
            console.print("stopped while the model was being trained; the search is saved, and this trains the model:")
            console.print(f"  {program()} {budget.command}", markup=False, soft_wrap=True)
            raise
    replaced = described(folder)
    model.save(folder)
    session.ledger.set_attrs({MODEL_KEY: models | {model.card.digest: budget.seconds}})
    _show(session, model.card, folder, as_json, unweighted, replaced)
    used = duration(budget.seconds - budget.seconds_left)
    console.print(f"done in {used} of {duration(budget.seconds)}")
    return 0


def _show(
    session: Session, card: Card, folder: Path, as_json: bool, unweighted: Sequence[int] = (), replaced: str = ""
) -> None:
    from optlstm.console.progress import make_console
    from optlstm.console.scores import outcome
    from optlstm.models.fit import MORE_TIME

    if as_json:
        print(json.dumps({**outcome(card, str(folder)), "counts": dict(session.ledger.counts)}))
        return
    results = make_console(results=True)
    if not card.trained:
        results.print(MORE_TIME, markup=False)
    print_result(results, card, folder, False, unweighted, session.plan.config.data.path or "FILE", replaced)
    results.print(f"  {program()} show {shlex.quote(session.ledger.name)}", markup=False, soft_wrap=True)
