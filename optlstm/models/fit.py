"""A model in limited time: a study's refit as far as the time allows, or the best baseline where it had none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import torch
from torch import Tensor, nn

from optlstm.errors import InputError
from optlstm.models.card import Trained
from optlstm.models.model import Model
from optlstm.models.networks import Listener, Networks
from optlstm.models.refit import evaluated, refit
from optlstm.run.budget import Budget
from optlstm.run.concurrency import local_workers
from optlstm.run.custom_objective import CustomTask
from optlstm.run.objective import Objective
from optlstm.run.session import Session
from optlstm.study.database.connection import Database
from optlstm.study.lineage import Segment
from optlstm.tasks.base import TunedNetwork
from optlstm.tasks.forecast.mixture import without_networks
from optlstm.training.folds import one_of
from optlstm.training.hparams import NO_PARAMS, Hyperparameters

MORE_TIME = "there was no time for a trial: the model is linear; give more --minutes and another --name"


def finished(
    session: Session,
    database: Database,
    budget: Budget,
    on_epoch: Listener = lambda member, members, epoch, epochs: None,
    on_unweighted: Callable[[int], None] = lambda trial: None,
) -> Model:
    """The model of a study whose search has ended, not saved yet. Arguments and errors as of `refit`."""
    budget.save()
    options = budget.refit_options()
    if options is None:
        return _baseline(session)
    config = session.plan.config
    return refit(
        database,
        session.ledger.name,
        storage_path=config.storage_path,
        factory=config.model.factory,
        workers=local_workers(config),
        on_epoch=on_epoch,
        on_unweighted=on_unweighted,
        **options,
    )


def _baseline(session: Session) -> Model:
    """An ensemble of the linear forecasts, weighted on the validation rows; of labels the classes' shares.

    A model has a network: here one whose weights are all 0. It repeats a window's last value, and has no weight.
    """
    plan = session.plan
    if isinstance(plan.task, CustomTask) or plan.factory is not None:
        raise InputError("minutes: there was no time for a trial of custom networks; give more --minutes")
    evaluator = plan.task.evaluator()
    params = {**plan.space.fixed, **plan.space.defaults(), "linear_skip": False}
    params |= {"window_norm": "last"} if "window" in params else {}
    hp = Hyperparameters.from_params(params)
    objective = plan.job("").make_objective(evaluator.training_data(joined=True))
    assert isinstance(objective, Objective)
    weights = _zeros(one_of(objective.problem.network(hp)))
    network = one_of(objective.problem.network(hp))
    network.load_state_dict(weights)

    def tuned() -> list[TunedNetwork]:
        return [(hp, network.eval())]

    blend = evaluator.blend(tuned, [hp.window], 1, True, plan.metric.name)
    if blend is not None:
        blend = without_networks(blend.mixture).blend(evaluator.training_data(joined=True), 1)
    params = {key: value for key, value in asdict(hp).items() if key not in NO_PARAMS}
    trained = Trained(
        trial=0,
        value=None,
        params=params,
        grown_layers=0,
        pooled_width=hp.pooled_width,
        schedule=[Segment(0, 1, 0, params)],
        seeds=[plan.config.seed],
    )
    held_out = evaluator.held_out(tuned, blend)
    return evaluated(evaluator, plan, [Networks(trained, hp, [weights])], True, blend=blend, held_out=held_out)


def _zeros(network: nn.Module) -> dict[str, Tensor]:
    return {name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()}
