"""A trial again, outside its study: trained anew, debugged, or its best weights read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from optlstm.backends.trial import (
    Completed,
    Decision,
    Diverged,
    Failed,
    Suggested,
    WorkerTrial,
    decode,
    encode,
    run_trial,
)
from optlstm.config.schema import TrainingConfig
from optlstm.errors import ArtifactError, InputError, OptlstmError, did_you_mean
from optlstm.run.custom_checkpoint import Checkpoint, Saved
from optlstm.run.custom_objective import KEY, make_custom_objective
from optlstm.run.plan import stored_plan
from optlstm.study.define_by_run import middle
from optlstm.study.events import Assignment
from optlstm.study.lineage import Segment
from optlstm.study.results import StudyResults, best_epoch
from optlstm.study.seeds import derive_seed
from optlstm.study.space import Param
from optlstm.util.files import Location, trial_folder
from optlstm.util.user_code import UserFile


@dataclass(frozen=True)
class Replay:
    """What came of a trial that was trained again.

    Attributes:
        values: One for each objective; empty where it failed.
        reports: What it reported after each epoch.
        problem: Why it failed; empty: it did not.
    """

    values: tuple[float, ...]
    reports: Mapping[int, float]
    problem: str = ""

    def is_as(self, trial: FrozenTrial) -> bool:
        """Whether it is the study's trial, to the last bit; of one that was pruned, as far as that came."""
        known = trial.intermediate_values
        ended = tuple(trial.values or ()) == self.values if trial.state.name == "COMPLETE" else not self.problem
        return ended and all(self.reports.get(epoch) == value for epoch, value in known.items())


def replay(study: optuna.Study, number: int, seeds: int = 1, factory: str | None = None) -> Iterator[Replay]:
    """Train a trial's params again, from scratch and to the end: with its own seed, then with others.

    Args:
        factory: Of custom networks, as the command names it.

    Raises:
        InputError: There is no such trial, or it is a copy in a population; the study's data or code is not there.
    """
    trial = trial_of(study, number)
    if trial.user_attrs.get("parent") is not None:
        raise InputError(f"trial {number} began with weights of another: schedule {study.study_name} {number} --replay")
    plan = stored_plan(study, factory, custom=True)
    job = plan.job("")
    objective: Any = job.make_objective(job.data)
    assignment = Assignment(number, {**plan.space.fixed, **trial.params}, 0)
    for k in range(seeds):
        seed = plan.config.seed if k == 0 else derive_seed("replay", plan.config.seed, k)
        yield _replayed(replace(objective, seed=seed), assignment)


def _replayed(objective: Any, assignment: Assignment) -> Replay:
    reports: dict[int, float] = {}

    def report(epoch: int, value: float) -> Decision:
        reports.setdefault(epoch, value)
        return Decision.CONTINUE

    match run_trial(objective, assignment, report):
        case Completed(value):
            return Replay(tuple(value) if isinstance(value, tuple) else (float(value),), reports)  # type: ignore[arg-type]
        case Diverged(reason) | Failed(reason):
            return Replay((), reports, reason)
        case outcome:
            return Replay((), reports, type(outcome).__name__.lower())


def replayed_schedule(study: optuna.Study, segments: Sequence[Segment], factory: str | None = None) -> float:
    """Train a schedule of a study from scratch, with the config the study was made with; the best value of its end.

    Args:
        factory: Of custom networks, as the command names it.
    """
    job = stored_plan(study, factory).job("")
    objective: Any = job.make_objective(job.data)
    return float(objective.replay(segments))


def _check_asked(given: Mapping[str, Any], asked: Collection[str]) -> None:
    """Raises InputError for params that an objective did not ask for."""
    known = f" (asked for: {', '.join(sorted(asked)) or 'none'})"
    unknown = [name for name in given if name not in asked]
    if unknown:
        raise InputError([f"params: {name!r} was not asked for{did_you_mean(name, asked)}{known}" for name in unknown])


def debug_trial(
    objective: str | Path,
    params: Mapping[str, Any] | None = None,
    *,
    epochs: int = TrainingConfig.model_fields["epochs"].default,
    seed: int = 0,
    number: int = 0,
) -> Any:
    """Run a custom objective once, in this process and without a study: under a debugger, say.

    It prints where this process does, its errors are raised, nothing prunes it, nothing is saved.

    Args:
        objective: Its file.
        params: Those that it is to have; others are the middle of their range, or the first choice.
        seed: Of the study whose trial `number` it stands for.

    Returns:
        What the objective returns.

    Raises:
        InputError: The file cannot be used, or asks for no such param.
        ValueError: A param has no such value.
    """
    from optlstm.training.runtime import unchanged_process

    given, asked = dict(params or {}), set[str]()

    def suggest(text: str) -> str:
        param: Param = decode(text)
        asked.add(param.name)
        try:
            distribution = param.distribution()
            value = given[param.name] if param.name in given else middle(param)
            inside = distribution._contains(distribution.to_internal_repr(value))
        except ValueError as error:  # Optuna's
            return encode(Suggested(problem=str(error)))
        return encode(Suggested(value) if inside else Suggested(problem=f"{value!r} is not in {distribution}"))

    file = UserFile.read(KEY, str(objective))
    with unchanged_process():
        made = make_custom_objective(None, file=file, captured=False, seed=seed, epochs=epochs, checkpoints=None)
        made = replace(made, on_params=lambda: _check_asked(given, asked))
        value = made(WorkerTrial(Assignment(number, {}, 0), lambda *_: Decision.CONTINUE, suggest))
    _check_asked(given, asked)
    return value


def best_checkpoint(study: optuna.Study, checkpoints: Location, number: int | None = None) -> Checkpoint:
    """What a custom objective has kept of a trial's best epoch.

    Args:
        checkpoints: The study's folder.
        number: None: the best trial.

    Raises:
        InputError: There is no such trial, or nothing of that epoch is kept.
    """
    from optlstm.training.checkpoints import read_checkpoint

    trial = trial_of(study, number)
    folder = trial_folder(checkpoints, trial.number)
    best = best_epoch(trial, StudyResults(study).directions[0])
    try:
        saved = Saved.newest(folder) if best is None else Saved.of(best, *read_checkpoint(folder, best))
    except OptlstmError as error:
        if not isinstance(error, ArtifactError):
            raise InputError(f"trial {trial.number}: {error}") from error
        saved = None
    if saved is None:
        raise InputError(
            f"trial {trial.number}: of its best epoch there is no checkpoint in {folder}: what an objective gives to "
            "track(...) or save_checkpoint is kept, of the best trials (keep)"
        )
    return replace(saved.shown(), epoch=saved.epoch)  # as the study counts


def trial_of(study: optuna.Study, number: int | None) -> FrozenTrial:
    """The trial of a number, or the best. Raises InputError."""
    results = StudyResults(study)
    if number is None:
        if results.best is None:
            raise InputError(f"study '{study.study_name}' has no complete trial")
        return results.best
    if not 0 <= number < len(results.trials):
        raise InputError(f"trial {number} is not in this study (trials: 0 to {len(results.trials) - 1})")
    return results.trials[number]
