"""From a study to a model: the best params trained again on training and validation rows, and the test rows scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch

from optlstm import __version__
from optlstm.errors import InputError
from optlstm.models.card import Card, Origin, Test, Training
from optlstm.models.folder import network_with, pack
from optlstm.models.model import Model
from optlstm.models.networks import Listener, More, Networks, trainer
from optlstm.models.selection import Choice, choose, default_networks, study_plan
from optlstm.run.budget import MOST_SEEDS
from optlstm.run.custom_objective import CustomTask
from optlstm.run.plan import Plan
from optlstm.run.retention import study_folder
from optlstm.run.task_space import hyperparameters
from optlstm.study.database.connection import Database
from optlstm.study.record import UID_KEY
from optlstm.study.results import load_study
from optlstm.study.seeds import derive_seed
from optlstm.tasks.base import Blend, Evaluation, Evaluator
from optlstm.tasks.forecast.errors import mean_and_spread
from optlstm.training.checkpoints import newest_checkpoint
from optlstm.training.hparams import validate_value
from optlstm.training.loop import State
from optlstm.training.morph import with_growth
from optlstm.training.runtime import use_threads
from optlstm.util.files import Location, absolute, trial_folder


def refit(
    database: Database,
    name: str,
    *,
    trial: int | None = None,
    pick: str | None = None,
    top: int | None = None,
    seeds: int | None = None,
    ensemble: bool = True,
    more: More | None = None,
    averaging: float | None = None,
    retrain: bool = True,
    rivals: bool = False,
    threshold: str | float | None = None,
    data: str | None = None,
    storage_path: Location,
    factory: str | None = None,
    workers: int | str = "auto",
    on_epoch: Listener = lambda member, members, epoch, epochs: None,
    on_unweighted: Callable[[int], None] = lambda trial: None,
) -> Model:
    """A study's model, tested on the rows that tuning never saw. It is not saved yet.

    The same study, data and arguments give the same model, bit for bit (on the same kind of processor).

    Args:
        trial: its number; None: the best one.
        pick: the trial of a Pareto front to take: see `optlstm.study.pareto.picked`; None: its knee.
        top: how many of the best trials, each with its params; None: three for an ensemble of forecasts, else one.
        ensemble: weight the trials' forecasts, and linear ones, by their errors on the validation rows
            (`optlstm.tasks.forecast.mixture`); otherwise, and of other tasks, the model is the mean of all networks.
        seeds: how many networks to train of each trial, from as many seeds; None: of labels three, else one; one
            without `ensemble`.
        more: in place of `seeds`: how many more networks of each trial there is time for, asked with those that there
            are and the seconds that the last of each took, side by side.
        averaging: memory of the weights' moving average as a share of all steps, in place of the trials' value: where a
            series drifts, a longer one may be better than the validation rows of the study show (docs/accuracy.md).
        retrain: train again on training and validation rows; otherwise the weights that tuning kept are the model.
        rivals: test exponential smoothing and the Theta method too (the extra `rivals`).
        threshold: of two classes: the metric (accuracy, balanced_accuracy or macro_f1) by which the validation rows
            choose the probability from which on the second is predicted, or that probability. None: the metric that
            decides the study, where it is one of these; else the likeliest class is predicted.
        data: where the data file is now, or a longer one of the same columns: the params are trained on all of it, in
            the study's shares of training, validation and test rows. None: where the study read it.
        storage_path: where the study's checkpoints are; of an ensemble, networks that are gone are trained again.
        factory: `module:function` of custom networks; None: the study's, where an earlier command of yours ran it here.
        workers: networks that are trained at a time, each in a process; with one, in this process. auto: as many as
            `study` trains, but one where all of them take seconds. The model is the same.
        on_epoch: called after every epoch.
        on_unweighted: called with the number of each trial that has no weight in the ensemble, and so is not in it.

    Raises:
        InputError: there is no such study or trial, the data differs from the study's, or the weights were not kept.
        OptlstmError: the training diverged, or one of its processes died.
    """
    _check(trial, pick, top, seeds, averaging, retrain, workers)
    study = load_study(database, name)
    trials, networks = default_networks(study, retrain) if ensemble else (1, 1)
    if top is None:
        top = trials if trial is None and pick is None else 1
    seeds = 1 if more else networks if seeds is None else seeds
    chosen = choose(study, trial, top, pick)
    plan, tuned_on = study_plan(study, data, factory)
    assert not isinstance(plan.task, CustomTask)  # `choose` refuses it
    evaluator = plan.task.evaluator(plan.goal if threshold is None else replace(plan.goal, threshold=threshold))
    if rivals:
        evaluator.check_rivals()
    folder = study_folder(absolute(storage_path), name, str(study.user_attrs[UID_KEY]))
    kept = [] if retrain else _all_kept(plan, chosen, folder, tuned_on)
    with trainer(plan, chosen, MOST_SEEDS if more else seeds, workers if retrain else 1) as train:
        # What tuning kept is on the scale of its data.
        tuned = cache(partial(train.tuned, chosen, "" if tuned_on else folder))
        blend = evaluator.blend(tuned, _windows(plan), seeds, retrain, plan.metric.name) if ensemble else None
        held_out = evaluator.held_out(tuned, blend)
        positions = blend.trials if blend else range(len(chosen))
        for i in sorted(set(range(len(chosen))) - set(positions)):
            on_unweighted(chosen[i].trial.number)
        if retrain:
            joined = evaluator.training_data(joined=True)
            weights = train.refitted([chosen[i] for i in positions], joined, seeds, more, averaging, on_epoch)
            blend = _with_networks(blend, len(weights[0].members)) if blend and more else blend
        else:
            weights = [kept[i] for i in positions]
    return evaluated(
        evaluator, plan, weights, retrain, rivals=rivals, blend=blend, held_out=held_out, tuned_on=tuned_on
    )


def _windows(plan: Plan) -> list[int]:
    """The window lengths that a study of forecasts chooses from; none of other tasks."""
    return sorted({int(value) for param in plan.space.params if param.name == "window" for value in param.choices})


def _with_networks(blend: Blend, networks: int) -> Blend:
    """The same for so many networks of each trial, where it was made for one."""
    weights, trials = blend.card_updates.get("weights", []), len(blend.trials)
    spread = [weight / networks for weight in weights[:trials] for _ in range(networks)]
    return replace(blend, card_updates={**blend.card_updates, "weights": [*spread, *weights[trials:]]})


def _check(
    trial: int | None,
    pick: str | None,
    top: int | None,
    seeds: int | None,
    averaging: float | None,
    retrain: bool,
    workers: int | str,
) -> None:
    """Raises InputError with every invalid argument, and those that exclude each other."""
    counts = {"--top": 1 if top is None else top, "--seeds": 1 if seeds is None else seeds}
    problems = [f"{flag}: must be at least 1, got {count}" for flag, count in counts.items() if count < 1]
    if trial is not None and (top or 1) > 1:
        problems.append("--top: takes the best trials, and --trial another; leave out one of them")
    if trial is not None and pick is not None:
        problems.append("--pick: selects a trial, and so does --trial; leave out one of them")
    if (seeds or 1) > 1 and not retrain:
        problems.append("--seeds: the weights that tuning kept are of one seed; leave out --no-refit")
    if averaging is not None and (wrong := validate_value("averaging", averaging)):
        problems.append(f"--averaging: {wrong}")
    if averaging is not None and not retrain:
        problems.append("--averaging: the weights that tuning kept cannot be averaged again; leave out --no-refit")
    if workers != "auto" and not (isinstance(workers, int) and workers > 0):
        problems.append(f"--workers: must be a whole number of at least 1 or 'auto', got {workers!r}")
    if problems:
        raise InputError(problems)


def evaluated(
    evaluator: Evaluator,
    plan: Plan,
    weights: Sequence[Networks],
    retrain: bool,
    *,
    rivals: bool = False,
    blend: Blend | None = None,
    held_out: Any = None,
    tuned_on: Mapping[str, Any] = {},
) -> Model:
    """Score the test rows with the networks as they will be saved, and write the card."""
    use_threads(plan.config.training.threads)  # the number changes the last bits of the scores
    section = evaluator.card_section()
    pairs = [(w.hp, member) for w in weights for member in w.members]
    networks = [network_with(section, hp, member, plan.factory) for hp, member in pairs]
    extras = blend.extras if blend else {}
    if blend:
        section = section.model_copy(update=blend.card_updates)
    predictor = section.predictor(networks, [hp for hp, _ in pairs], extras)
    evaluation = evaluator.evaluate(predictor, retrain, rivals, held_out)
    extras = {**extras, **evaluation.extras}
    blob, sums = pack([member for _, member in pairs], extras)
    card = Card(
        trials=[w.trained for w in weights],
        task=section.model_copy(update=evaluation.card_updates),
        training=Training(
            refit=retrain,
            trained_on=["train", "validation"] if retrain else ["train"],
            epochs=plan.config.training.epochs,
            tuned_on=dict(tuned_on) or None,
        ),
        study=_origin(plan, str(plan.config.name)),
        data=dict(plan.record.task["data"]),
        test=as_test(evaluation),
        intervals=evaluation.intervals,
        versions={"optlstm": __version__, "torch": torch.__version__},
        weights=sums,
        factory=plan.config.model.factory,
    )
    return Model(card, blob, networks, extras)


def _all_kept(plan: Plan, chosen: Sequence[Choice], folder: Location, tuned_on: Mapping[str, Any]) -> list[Networks]:
    """The networks that tuning kept of these trials."""
    if plan.record.task.get("data", {}).get("folds"):
        raise InputError(
            "--no-refit: a trial of a cross-validation is several networks, each of a part; "
            "leave it out, or tune with data.folds=0"
        )
    if tuned_on:
        raise InputError(
            "--no-refit: the weights that tuning kept are of the study's rows, not of --data; leave one out"
        )
    return [_kept(plan, choice, folder) for choice in chosen]


def _kept(plan: Plan, chosen: Choice, folder: Location) -> Networks:
    """The best epoch's weights from the trial's checkpoint."""
    number = chosen.trial.number
    newest = newest_checkpoint(trial_folder(folder, number))
    state = State(*newest[1:]) if newest else None
    if state is None or state.meta["best_epoch"] != chosen.best_epoch or not state.part("best"):
        raise InputError(
            f"--no-refit: the weights of trial {number} are not in {folder} (the best {plan.config.keep} trials keep "
            "theirs); give the study's --storage-path, another --trial, or leave out --no-refit to train it again"
        )
    best = state.part("best")
    hp = with_growth(hyperparameters(plan.space, chosen.trial.params), best)
    seeds = [derive_seed("train", plan.config.seed, number)]
    return Networks.of(chosen, hp, [best], seeds, chosen.until(chosen.best_epoch))


def _origin(plan: Plan, name: str) -> Origin:
    record: Mapping[str, Any] = plan.record.stored()
    return Origin(name=name, seed=plan.config.seed, **{k: record[k] for k in ("sampler", "pruner", "scheduler")})


def as_test(evaluation: Evaluation) -> Test:
    """An evaluation as a card has it."""
    return Test(
        metrics=evaluation.test,
        members=evaluation.members,
        spread=mean_and_spread(evaluation.members) if len(evaluation.members) > 1 else {},
        steps=evaluation.steps,
        baselines=evaluation.baselines,
        baseline_steps=evaluation.baseline_steps,
        beaten_by=evaluation.beaten_by(),
    )
