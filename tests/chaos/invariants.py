"""What must hold after a round: a table of checks, each a function from a round to its problems."""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from optlstm.maintenance.doctor import examine
from optlstm.study.database.connection import open_database
from optlstm.study.record import FOLDER_KEY
from optlstm.study.results import StudyResults, load_study
from optlstm.training.checkpoints import newest_checkpoint
from optlstm.util.files import trial_name
from tests.chaos.driver import MARK, Driver, marked
from tests.chaos.studies import KEEP, is_beginning, rows

if TYPE_CHECKING:
    from tests.chaos.round import Round

ORPHANS_S = 60.0  # for what a killed driver has started to notice it
ONE_LINE = re.compile(r"^[^\s:][^:]{0,300}: \S.*$")


def _numbers(round_: Round) -> Iterator[str]:
    """None lost, none doubled."""
    numbers = [trial.number for trial in round_.trials]
    if numbers != [*range(len(numbers))]:
        yield f"the trials' numbers are {numbers}"
    if not round_.kind.population and len(numbers) != round_.kind.trials:
        yield f"{len(numbers)} trials, not {round_.kind.trials}"


def _states(round_: Round) -> Iterator[str]:
    for trial in round_.trials:
        if trial.state.name not in ("COMPLETE", "PRUNED"):
            yield f"trial {trial.number} is {trial.state.name}: {trial.user_attrs.get('reason')}"


def _histories(round_: Round) -> Iterator[str]:
    """Every number as in a study that nobody disturbed."""
    trials, calm = round_.trials, round_.calm.trials(round_.kind_name)
    if round_.kind.exact:
        wrong = [row[0] for row, expected in zip(rows(trials), rows(calm), strict=False) if row != expected]
        if len(trials) != len(calm):
            yield f"{len(trials)} trials, undisturbed {len(calm)}"
    else:
        wrong = [t.number for t, whole in zip(trials, calm, strict=False) if not is_beginning(t, whole)]
    for number in wrong:
        yield f"trial {number} is {rows(trials)[number][1:]}, undisturbed {rows(calm)[number][1:]}"


def _weights(round_: Round) -> Iterator[str]:
    """The best have weights that load, and nothing else has any."""
    database = open_database(round_.url)
    study = StudyResults(load_study(database, round_.name))
    best = {trial_name(trial.number): trial for trial in study.ranking[:KEEP]}
    folder = Path(study.attrs[FOLDER_KEY])
    database.close()
    there = {path.name for path in folder.glob("trial-*")}
    if there - best.keys():
        yield f"checkpoints of {', '.join(sorted(there - best.keys()))}, which are not among the best {KEEP}"
    for name, trial in best.items():
        newest = newest_checkpoint(folder / name)
        if newest is None or newest[0] != trial.last_step:
            yield f"{name}, among the best {KEEP}: its newest checkpoint is of epoch {newest and newest[0]}"


def _repeats(round_: Round) -> Iterator[str]:
    """Each disturbance costs an epoch or two of what was being trained, and no more."""
    log = round_.folder / "steps"
    taken = Counter(log.read_text().splitlines()) if log.exists() else Counter[str]()
    again = taken.total() - len(taken)
    most = 4 * len(round_.backends) * (round_.report.events.total() + 1)
    if again > most:
        yield f"{again} epochs were trained again, in {round_.report.events.total()} disturbances"


def _exits(round_: Round) -> Iterator[str]:
    for driver in round_.ended:
        if driver.exit_code not in driver.expected and not (driver.exit_code == 1 and _has_no_best(driver)):
            yield f"{driver.log.name}: exit code {driver.exit_code}, not {driver.expected}: {_end_of(driver.log)}"
    if round_.ended[-1].exit_code != 0:
        yield f"the last command: exit code {round_.ended[-1].exit_code}: {_end_of(round_.ended[-1].log)}"


def _messages(round_: Round) -> Iterator[str]:
    for driver in round_.ended:
        text = driver.log.read_text(errors="replace") if driver.log.exists() else ""
        if _has_traceback(text):
            yield f"{driver.log.name}: a traceback that ends in: {_end_of(driver.log)}"
        elif driver.exit_code in (1, 2) and not (ONE_LINE.match(_end_of(driver.log)) or _has_no_best(driver)):
            yield f"{driver.log.name}: exit code {driver.exit_code}, and no line that says why: {_end_of(driver.log)}"


def _has_traceback(text: str) -> bool:
    """But for those that Python writes where Ctrl-C meets its own housekeeping, before a study is open."""
    lines = ["", *text.splitlines()]
    return any(
        line.startswith("Traceback (most recent call last)") and not before.startswith("Exception ignored in")
        for before, line in pairwise(lines)
    )


def _has_no_best(driver: Driver) -> bool:
    """It left trials to another driver, before any was complete."""
    return "no trial is complete (" in driver.log.read_text(errors="replace")


def _end_of(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else "(nothing)"


def _processes(round_: Round) -> Iterator[str]:
    deadline = time.monotonic() + ORPHANS_S
    while (left := list(marked(round_.environment[MARK]))) and time.monotonic() < deadline:
        time.sleep(0.2)
    for process in left:
        with contextlib.suppress(psutil.Error):
            yield f"process {process.pid} is still there: {' '.join(process.cmdline())[:120]}"


def _files(round_: Round) -> Iterator[str]:
    for path in sorted((round_.folder / "tmp").rglob("*")):
        if path.name.startswith(("optlstm-", "session_2")):
            yield f"left in the temporary folder: {path.relative_to(round_.folder / 'tmp')}"
    for path in sorted((round_.folder / "disk").rglob("*.partial*")):
        yield f"left: {path.relative_to(round_.folder)}"


def _doctor(round_: Round) -> Iterator[str]:
    """The product's own check of the study finds nothing either."""
    for finding in examine(round_.url, round_.name, round_.folder / "disk/runs", None):
        if finding.subject.startswith("study") and finding.state != "ok":
            yield f"{finding.subject}: {finding.message}"


INVARIANTS: dict[str, Callable[[Round], Iterator[str]]] = {
    "numbers": _numbers,
    "states": _states,
    "histories": _histories,
    "repeats": _repeats,
    "weights": _weights,
    "exit codes": _exits,
    "messages": _messages,
    "processes": _processes,
    "files": _files,
    "doctor": _doctor,
}
