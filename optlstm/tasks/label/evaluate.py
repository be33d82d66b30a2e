"""Classification after the search: what a refit trains on, and the evaluation on the test samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from optlstm.data.labels import Fold
from optlstm.errors import InputError
from optlstm.tasks.base import Evaluation, Metrics, TunedNetwork
from optlstm.tasks.label.baselines import majority
from optlstm.tasks.label.calibrate import Temperature, Threshold, choose_threshold, fit_temperature, tempered
from optlstm.tasks.label.data import LabelledData
from optlstm.tasks.label.predict import LabelPredictor, SequenceSection, TextSection
from optlstm.tasks.label.problem import ClassifyProblem
from optlstm.tasks.label.scores import METRICS, OF_DECISIONS, classification_scores
from optlstm.training.folds import fold_of
from optlstm.training.metric import DEFAULT_GOAL, Goal, Metric
from optlstm.util.arrays import Floats, Integers


@dataclass(frozen=True)
class Decision:
    """What the validation samples say of a model's probabilities; None: nothing."""

    temperature: Temperature | None = None
    threshold: Threshold | None = None

    def card_updates(self) -> dict[str, Any]:
        return {"temperature": self.temperature, "threshold": self.threshold}


@dataclass(frozen=True)
class LabelEvaluator:
    """The `Evaluator` of labelled sequences or texts.

    Args:
        data: all samples.
        fold: training and validation samples of the study; of a cross-validation the first fold.
        section: the task's part of the card.
        baselines: scores on the test samples by name, from (data, positions of the samples to learn from).
        goal: of the study; its threshold may be the refit's.
    """

    data: LabelledData
    fold: Fold
    section: SequenceSection | TextSection
    baselines: Callable[[LabelledData, Integers], dict[str, Metrics | None]]
    goal: Goal = DEFAULT_GOAL

    def training_data(self, joined: bool) -> LabelledData:
        """One split: all but the test's to train on, or the first fold's training samples."""
        if not len(self.data.test):
            raise InputError("data.splits: no sequence is left to test on; give a test share, or --test-data FILE")
        return replace(self.data, folds=(Fold(self._train(joined), np.arange(0)),))

    def card_section(self) -> SequenceSection | TextSection:
        """The task's part of the card."""
        return self.section

    def blend(self, *_: object) -> None:
        """None: the model is the mean of its networks."""

    def validation_baselines(self, metric: Metric, _window: int) -> dict[str, float]:
        """The classes' shares as probabilities, in the study's first fold."""
        shares = np.bincount(self.data.codes[self.fold.train], minlength=len(self.data.classes)) / len(self.fold.train)
        codes = self.data.codes[self.fold.validation]
        scores = classification_scores(np.tile(shares, (len(codes), 1)), codes, (metric.name,))
        return {"class shares": metric.value(scores)}

    def held_out(self, tuned: Callable[[], Sequence[TunedNetwork]], _blend: None = None) -> Decision:
        """The temperature and the threshold that suit the validation samples."""
        if not len(self.data.test):
            return Decision()  # `training_data` refuses it
        wanted = np.concatenate([fold.validation for fold in self.data.folds])
        probabilities = np.mean([self._unseen(network) for _, network in tuned()], axis=0)[wanted]
        codes = self.data.codes[wanted]
        temperature = fit_temperature(probabilities, codes)
        if temperature is not None:
            probabilities = tempered(probabilities, temperature.value)
        return Decision(temperature, self._threshold(probabilities, codes))

    @torch.no_grad()
    def _unseen(self, network: nn.Module) -> Floats:
        """[n, classes] of the validation samples, each by the network that was not trained on it; others are NaN."""
        out = np.full((len(self.data.codes), len(self.data.classes)), np.nan)
        for i, fold in enumerate(self.data.folds):
            problem, member = ClassifyProblem(self.data, fold, torch.device("cpu")), fold_of(network, i)
            out[fold.validation] = problem.probabilities(member.cpu().eval(), fold.validation)
        return out

    def _threshold(self, probabilities: Floats, codes: Integers) -> Threshold | None:
        """The threshold that was asked for, or that the deciding metric asks for."""
        wanted = self.goal.threshold
        if isinstance(wanted, float):
            return Threshold(value=wanted)
        metric = wanted or next(iter(self.goal.metrics), "")
        two = len(self.data.classes) == 2 and metric in OF_DECISIONS
        return choose_threshold(probabilities, codes, metric) if two else None

    def check_rivals(self) -> None:
        """Raises InputError: there are none."""
        raise InputError("--rivals: these are forecasts of series, and the study has labels; leave it out")

    def evaluate(
        self, predictor: LabelPredictor, joined: bool, rivals: bool = False, held_out: Decision | None = None
    ) -> Evaluation:
        """Score the test samples, once, beside baselines that learn from what the model was trained on."""
        data, train, updates = self.data, self._train(joined), (held_out or Decision()).card_updates()
        section = self.section.model_copy(update=updates)
        codes, probabilities = data.codes[data.test], predictor.probabilities(data, data.test)
        baselines = {"majority_class": majority(data, train), **self.baselines(data, train)}
        decides = {metric.name: not metric.higher for metric in METRICS if metric.name in self.goal.metrics}
        return Evaluation(
            test=section.scores(probabilities.mean(axis=0), codes),
            members=[section.scores(member, codes) for member in probabilities],
            baselines={name: scores for name, scores in baselines.items() if scores is not None},
            lower_is_better={"accuracy": False, "log_loss": True} | decides,
            card_updates=updates,
        )

    def _train(self, joined: bool) -> Integers:
        return np.union1d(self.fold.train, self.fold.validation) if joined else self.fold.train
