"""A model and newer rows of its series: trained on from its weights, or anew, whichever is better on the newest.

The newest rows stay a test, in the share that they were at the refit: they choose, and the intervals are made of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from optlstm.errors import InputError
from optlstm.models.card import Card, Update
from optlstm.models.folder import network_with, pack
from optlstm.models.model import Model
from optlstm.models.networks import Listener
from optlstm.models.refit import as_test
from optlstm.study.seeds import derive_seed
from optlstm.tasks.forecast.known_rows import known_rows
from optlstm.tasks.forecast.newer import NewerSeries, evaluator_of, mixture_of, newer_series
from optlstm.tasks.forecast.predictor import ForecastPredictor, ForecastSection
from optlstm.tasks.forecast.problem import ForecastProblem
from optlstm.training.factory import Factory
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import fit
from optlstm.training.metric import Goal
from optlstm.training.runtime import prepare
from optlstm.util.format import many, without_midnight

_log = logging.getLogger(__name__)
MODES = ("auto", "continue", "refit")
_EPOCHS, _RATE = 2, 0.1  # of a training that goes on: passes, and times the learning rate of tuning
_OLD = 3  # old windows for each new one, against forgetting
_DECIDES = "mse"
Members = Sequence[Mapping[str, Tensor]]


def update(
    model: Model,
    data: Path,
    mode: str = "auto",
    on_epoch: Listener = lambda member, members, epoch, epochs: None,
) -> Model:
    """The model with newer rows, not saved yet. The same model, file and mode give the same one, bit for bit.

    Args:
        data: The series to their new end; of the rows that the model knows, as many as there still are.
        mode: `continue`: train on from its weights, on the new windows and as many times `_OLD` older ones; `refit`:
            train its params anew on all rows before the newest; `auto`: both.

    Raises:
        InputError: The model is not of forecasts, the file does not fit it, has no newer rows, or too few for training.
    """
    if mode not in MODES:
        raise InputError(f"mode: must be one of {', '.join(MODES)}, got {mode!r}")
    predictor = model.predictor
    if not isinstance(predictor, ForecastPredictor):
        raise InputError("update: is for forecasts, and this model classifies")
    name = model.card.factory  # the command has named it too: the model is loaded
    factory = None if name is None else Factory.read(name)
    prepare(1)
    series = newer_series(predictor, model.card.data, data)
    _check_rows(series, predictor.forecaster.window)
    candidates = {
        "keep": _Candidate(
            model.card, series, predictor, _weights(predictor, model.card), solved=False, factory=factory
        )
    }
    for how in MODES[1:] if mode == "auto" else (mode,):
        trained = _trained(model.card, predictor, series, how, factory, on_epoch)
        candidates[how] = _Candidate(model.card, series, predictor, trained, solved=True, factory=factory)
    scores = {how: candidate.scores for how, candidate in candidates.items()}
    best = min(scores, key=lambda how: _deciding(scores[how]))  # of equal ones the model as it is
    return candidates[best].model(best, scores)


def _check_rows(series: NewerSeries, window: int) -> None:
    """Raises InputError where the rows before the test are too few to train on; says so where the older ones are gone.

    Windows of many series are padded, but not all rows of one.
    """
    panel, horizon, longest = series.panel, series.horizon, int(series.panel.known.argmax())
    test = int(series.cuts[longest, 3] - series.cuts[longest, 2])
    rows = int(panel.known[longest])
    if rows - test < window + (0 if len(panel.ids) > 1 else horizon):
        raise InputError(
            f"data: {panel.file} has {many(rows, 'row')}{' in its longest series' * (len(panel.ids) > 1)}, {test} of"
            f" them the new test, and the model reads {window} and forecasts {horizon}; give it a longer file"
        )
    if series.first is not None:
        begins, before = without_midnight([str(panel.time.min()), series.first])
        _log.warning(
            "data: %s begins at %s, and the model's rows at %s: it is trained and tested on the file's rows alone",
            *(panel.file, begins, before),
        )


def _deciding(scores: Mapping[str, float | None]) -> float:
    value = scores.get(_DECIDES)
    return float("inf") if value is None else value


class _Candidate:
    """A model that the updated one may be, on the series' test rows.

    Args:
        solved: whether the linear forecasts are solved anew; otherwise they are the model's.
        factory: of custom networks.
    """

    def __init__(
        self,
        card: Card,
        series: NewerSeries,
        old: ForecastPredictor,
        members: Members,
        *,
        solved: bool,
        factory: Factory | None,
    ) -> None:
        self.card, self.series, self.members, self.old = card, series, members, old
        self.evaluator = evaluator_of(old, series)
        self.extras: dict[str, Tensor] = {}
        section: Any = old.section
        mixture = mixture_of(old, len(card.trials)) if solved else None
        if mixture is not None:
            blend = mixture.blend(self.evaluator.training_data(joined=True), 1)
            self.extras = dict(blend.extras)
            section = section.model_copy(update={"linear_window": blend.card_updates["linear_window"]})
        elif section.linear_window:
            linear = old.forecaster.networks[-1].state_dict()
            self.extras = {f"linear.{name}": tensor for name, tensor in linear.items()}
        self.section: ForecastSection = section.model_copy(
            update={"calibrated": 0, "local_scale": None, "known": known_rows(series.panel)}
        )
        hps = card.hyperparameters()
        networks = [network_with(self.section, hp, member, factory) for hp, member in zip(hps, members, strict=True)]
        self.predictor = self.section.predictor(networks, hps, self.extras)

    @property
    def scores(self) -> dict[str, float | None]:
        return self.evaluator.scores(self.predictor)

    def model(self, how: Any, scores: Mapping[str, Mapping[str, float | None]]) -> Model:
        """The model with its intervals tested and made anew, and what became of it in its card."""
        evaluation = self.evaluator.evaluate(self.predictor, joined=True, before=self.old)
        extras, panel = {**self.extras, **evaluation.extras}, self.series.panel
        blob, sums = pack(self.members, extras)
        cuts = self.series.cuts
        data = {
            **self.card.data,
            "rows": int(panel.known.sum()),
            "first": str(panel.time.min()),
            "last": str(panel.time[: int(panel.known[0])].max() if not panel.series else panel.time.max()),
            "fingerprint": panel.fingerprint,
            "splits": [int((cuts[:, 2] - cuts[:, 0]).sum()), 0, int((cuts[:, 3] - cuts[:, 2]).sum())],
        }
        step = Update(
            parent=self.card.digest,
            how=how,
            rows=data["rows"],
            first=data["first"],
            last=data["last"],
            scores={name: dict(values) for name, values in scores.items()},
        )
        card = self.card.model_copy(
            update={
                "task": self.section.model_copy(update=evaluation.card_updates),
                "data": data,
                "test": as_test(evaluation),
                "intervals": evaluation.intervals,
                "weights": sums,
                "history": [*self.card.history, step],
            }
        )
        return Model(card, blob, self.predictor.forecaster.networks[: self.card.members], extras)


def _weights(predictor: ForecastPredictor, card: Card) -> Members:
    """Of every network."""
    return [network.state_dict() for network in predictor.forecaster.networks[: card.members]]


def _trained(
    card: Card,
    predictor: ForecastPredictor,
    series: NewerSeries,
    how: str,
    factory: Factory | None,
    on_epoch: Listener,
) -> list[dict[str, Tensor]]:
    """Every network after the training that `how` names, on the rows before the test."""
    goal, members = Goal(predictor.section.head.loss), list[dict[str, Tensor]]()
    data = evaluator_of(predictor, series).training_data(joined=True)
    lasts = [trained.schedule[-1].last for trained in card.trials for _ in trained.seeds]
    seeds = [seed for trained in card.trials for seed in trained.seeds]
    for i, (hp, weights) in enumerate(zip(card.hyperparameters(), _weights(predictor, card), strict=True)):
        problem: Any = ForecastProblem(data, torch.device("cpu"), factory, goal)
        if how == "continue":
            problem, epochs, last = _Continued(problem, weights, series), _EPOCHS, _EPOCHS
            hp = replace(
                hp,
                learning_rate=_RATE * hp.learning_rate,
                lr_schedule="cosine",
                warmup=0.0,
                averaging=0.0,
            )
        else:
            problem, epochs, last = _Unvalidated(problem), card.training.epochs, lasts[i]
        seed = derive_seed("update", seeds[i], series.panel.fingerprint)
        state = weights
        for epoch in fit(problem, hp, epochs=epochs, patience=0, seed=seed) if last else ():
            state = epoch.state.weights
            on_epoch(i + 1, card.members, epoch.epoch, last)
            if epoch.epoch == last:
                break
        members.append(dict(state))
    return members


class _Unvalidated:
    """A problem whose validation rows are none: nothing is decided by them."""

    def __init__(self, problem: ForecastProblem) -> None:
        self._problem = problem
        self.device, self.network, self.loss = problem.device, problem.network, problem.loss
        self.steps_per_epoch: Callable[[Hyperparameters], int] = problem.steps_per_epoch
        self.batches: Callable[[Hyperparameters, torch.Generator], Iterator[tuple[Tensor, ...]]] = problem.batches

    def validate(self, network: nn.Module, hp: Hyperparameters) -> dict[str, float]:
        return {"none": 0.0}


class _Continued(_Unvalidated):
    """From given weights on, on the windows with new targets and some of the others.

    Args:
        weights: that a network begins with.
    """

    def __init__(self, problem: ForecastProblem, weights: Mapping[str, Tensor], series: NewerSeries) -> None:
        super().__init__(problem)
        self._weights, self._series = weights, series
        self.network, self.steps_per_epoch, self.batches = self._network, self._steps, self._batches

    def _network(self, hp: Hyperparameters) -> nn.Module:
        network = self._problem.network(hp)
        network.load_state_dict(self._weights)
        return network

    def _new(self, hp: Hyperparameters) -> Tensor:
        """The numbers of the windows that have new targets."""
        windows = self._problem.training_windows(hp)
        parts = []
        for part in torch.split(torch.arange(len(windows)), 65_536):
            first, series = windows.where(part)
            at = series.numpy()
            begun = self._series.cuts[at, 2] - self._series.new[at] - self._series.horizon  # type: ignore[index]
            parts.append(part[(first + hp.window).numpy() > begun])
        return torch.cat(parts)

    def _count(self, hp: Hyperparameters) -> tuple[Tensor, int]:
        new = self._new(hp)
        return new, min(len(new) * (1 + _OLD), len(self._problem.training_windows(hp)))

    def _steps(self, hp: Hyperparameters) -> int:
        return max(1, -(-self._count(hp)[1] // hp.batch_size))

    def _batches(self, hp: Hyperparameters, generator: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
        new, count = self._count(hp)
        windows = self._problem.training_windows(hp)
        others = torch.randint(len(windows), (count - len(new),), generator=generator)
        numbers = torch.cat([new, others])
        order = numbers[torch.randperm(len(numbers), generator=generator)]
        for index in torch.split(order, hp.batch_size):
            yield self._problem.batch(windows, index)
