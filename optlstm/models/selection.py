"""The trials of a study that become the model, their schedules, and the study's data read again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from optlstm.data.splits import are_counts
from optlstm.errors import InputError, Problem
from optlstm.run.plan import Plan, stored_plan
from optlstm.run.stored import check_data_place, stored_config
from optlstm.run.task_space import hyperparameters
from optlstm.study.lineage import Segment, schedule
from optlstm.study.pareto import KNEE, picked
from optlstm.study.record import has_grown
from optlstm.study.results import StudyResults, is_paused, study_record
from optlstm.util.format import as_stored

_TOP = 3  # trials of an ensemble: as many as a study keeps the weights of by default
_SEEDS = 3  # networks of labels


@dataclass(frozen=True)
class Choice:
    """A trial of a study, and the schedule of hyperparameters that led to its best epoch."""

    study: optuna.Study
    trial: FrozenTrial
    segments: list[Segment]
    best_epoch: int

    def until(self, epoch: int) -> list[Segment]:
        """The schedule up to an epoch of the trial itself."""
        return [*self.segments[:-1], replace(self.segments[-1], last=epoch)]

    def values(self, segments: Sequence[Segment]) -> list[float]:
        """The study's validation value of every epoch of a schedule."""
        trials = self.study.get_trials(deepcopy=False)
        return [trials[s.trial].intermediate_values[e] for s in segments for e in range(s.first, s.last + 1)]


def choose(study: optuna.Study, number: int | None, top: int = 1, pick: str | None = None) -> list[Choice]:
    """The trial of this number, or the best `top`, the best first; each with its schedule up to its best epoch.

    Where no trial is complete, the best is a paused one.

    Args:
        pick: The trial of a Pareto front to take: see `optlstm.study.pareto.picked`; None: its knee.

    Raises:
        InputError: optlstm did not make the study, there is no such trial, it has no finished epoch, or is being
            trained.
    """
    if not study_record(study):
        raise InputError(f"study {study.study_name!r} was not made by optlstm; it holds nothing to refit")
    if study_record(study).get("task") == "own":
        raise InputError(f"study {study.study_name!r} has a custom objective, which makes no optlstm model")
    if number is not None:
        return [_choice(study, number)]
    results = StudyResults(study)
    ranking = results.ranking or results.paused[:1]
    if not ranking:
        name = study.study_name
        raise InputError(f"study {name!r} has no complete trial yet; run more, or name another with --trial")
    names = tuple(study_record(study).get("objectives") or ())
    if pick not in (None, KNEE) and not names:
        raise InputError(f"--pick: study {study.study_name!r} has one objective, so the best is known; leave it out")
    if names and top > 1:
        raise InputError("--top: of several objectives one trial is picked; leave it out, or give --seeds")
    if names:
        return [_choice(study, picked(ranking, names, pick or KNEE).number)]
    if len(ranking) < top:
        raise InputError(f"--top: study {study.study_name!r} has {len(ranking)} complete trials, not {top}")
    return [_choice(study, trial.number) for trial in ranking[:top]]


def default_networks(study: optuna.Study, retrain: bool) -> tuple[int, int]:
    """How many trials make a model that is told no number, and how many networks of each.

    The best `_TOP` of forecasts, which the ensemble weights; of labels the best one, from `_SEEDS` seeds
    (docs/accuracy.md has the figures).

    retrain: without, no more than the study keeps the weights of.
    """
    record = study_record(study)
    if record.get("task") != "forecast":
        return 1, _SEEDS if retrain else 1
    if record.get("objectives"):
        return 1, 1
    most = _TOP if retrain else min(_TOP, int(stored_config(study).get("keep", _TOP)))
    return max(1, min(most, len(StudyResults(study).ranking))), 1


def _choice(study: optuna.Study, number: int) -> Choice:
    trials = study.get_trials(deepcopy=False)
    segments = schedule(trials, number)
    trial, last = trials[number], segments[-1]
    refitted = trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or is_paused(trial)
    if not refitted or last.trial != number:
        state = {"RUNNING": "is being trained", "FAIL": "failed"}.get(trial.state.name, "has trained no epoch")
        raise InputError(f"--trial: trial {number} {state}; choose a complete, pruned or paused one")
    values = {epoch: trial.intermediate_values[epoch] for epoch in range(last.first, last.last + 1)}
    # Of several objectives the epochs' values are those of the metric that decides, which is minimised.
    sign = -1 if study.directions == [StudyDirection.MAXIMIZE] else 1
    best = min(values, key=lambda epoch: (sign * values[epoch], epoch))
    return Choice(study, trial, segments, best)


def refit_schedule(chosen: Choice, plan: Plan, averaging: float | None = None) -> list[Segment]:
    """The schedule to train again: to the best epoch, or to the end where the learning rate falls to 0 there.

    A trial that early stopping let live to the end of an annealed schedule had its best epoch among the last ones, and
    which of them is mostly chance; a schedule that is finished is a little better (docs/accuracy.md has the figures).

    averaging: as of `refit`.
    """
    training, last = plan.config.training, chosen.segments[-1]
    hp = hyperparameters(plan.space, last.params)
    annealed = hp.lr_schedule in ("one_cycle", "cosine")
    patient = plan.config.scheduler != "pbt" and training.epochs - chosen.best_epoch < training.patience
    finished = last.last == training.epochs
    segments = chosen.until(training.epochs if annealed and patient and finished else chosen.best_epoch)
    given = {} if averaging is None else {"averaging": averaging}
    return [replace(segment, params={**segment.params, **given}) for segment in segments]


def study_plan(study: optuna.Study, data: str | None, factory: str | None = None) -> tuple[Plan, dict[str, Any]]:
    """The plan of a study, with its data read again; and what the study's record says otherwise of the data.

    Args:
        data: where it is now, or a file that it has grown to: of the same columns, with a later end (more samples);
            None: where the study read it.
        factory: of custom networks, as the command names it.

    Raises:
        InputError: the file is missing, or its data has changed; or as `stored_plan`.
    """
    source = dict(stored_config(study).get("data") or {})
    if data is not None:
        source["path"] = str(Path(data).expanduser().absolute())
    else:
        check_data_place(source.get("path"))
    known = study_record(study)["data"]
    plan = stored_plan(study, factory, data=source)
    now = plan.record.stored()["data"]
    if known["fingerprint"] == now["fingerprint"]:
        return plan, {}
    changed = {key: known[key] for key in known if known[key] != now.get(key)}
    grown = has_grown(known, now)
    if grown and data is not None:
        splits = source.get("splits") or ()
        if splits and are_counts(splits):  # in the same shares: counts would end where the old rows ended
            source["splits"] = [count / sum(splits) for count in splits]
            plan = stored_plan(study, factory, data=source)
        return plan, changed
    file = Path(source.get("path") or "the bundled series").name
    lines = [
        f"  {key}: the study has {as_stored(value)}, it has {as_stored(now.get(key))}" for key, value in changed.items()
    ]
    line = f"data: {file} is not what the study was made with:"
    if grown:
        lines.append("  if it has grown, give it with --data: its params are trained on all of it")
        raise InputError([Problem(line, {"--data": str(source["path"])}), *lines])
    raise InputError([line, *lines])
