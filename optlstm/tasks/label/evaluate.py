"""Labels after the search: what a refit trains on, and the evaluation on the test samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from optlstm.data.labels import Fold
from optlstm.errors import InputError
from optlstm.tasks.base import Evaluation, Metrics, TunedNetwork
from optlstm.tasks.label.baselines import constant_outputs
from optlstm.tasks.label.data import LabelledData
from optlstm.tasks.label.predict import LabelPredictor, LabelSection, SequenceSection, TextSection
from optlstm.tasks.label.problem import fold_problem
from optlstm.tasks.label.target import Target
from optlstm.training.folds import fold_of
from optlstm.training.hparams import Hyperparameters
from optlstm.training.metric import DEFAULT_GOAL, Goal, Metric
from optlstm.util.arrays import Floats, Integers


@dataclass(frozen=True)
class LabelEvaluator:
    """The `Evaluator` of labelled sequences or texts.

    Args:
        data: all samples.
        fold: training and validation samples of the study; of a cross-validation the first fold.
        section: the task's part of the card.
        baselines: scores on the test samples by name, from (data, positions of the samples to learn from, the window).
        goal: of the study; its threshold may be the refit's.
    """

    data: LabelledData
    fold: Fold
    section: SequenceSection | TextSection
    baselines: Callable[[LabelledData, Integers, int], dict[str, Metrics | None]]
    goal: Goal = DEFAULT_GOAL

    def training_data(self, joined: bool) -> LabelledData:
        """One split: all but the test's to train on, or the first fold's training samples."""
        return replace(self.data, folds=(Fold(self._train(joined), np.arange(0)),))

    def card_section(self) -> SequenceSection | TextSection:
        """The task's part of the card."""
        return self.section

    def blend(self, *_: object) -> None:
        """None: the model is the mean of its networks."""

    def validation_baselines(self, metric: Metric, _window: int) -> dict[str, float]:
        """The baselines that know the training labels alone, in the study's first fold."""
        data, held_out = self.data, self.fold.validation
        return {
            name.replace("_", " "): metric.value(data.target.goal_scores(output, data.truth_of(held_out), self.goal))
            for name, output in constant_outputs(data, self.fold.train, held_out).items()
        }

    def held_out(self, tuned: Callable[[], Sequence[TunedNetwork]], _blend: None = None) -> Target:
        """The target, with what suits the validation samples."""
        target = self.data.target
        if not target.looks_back:
            return target
        samples = np.concatenate([fold.validation for fold in self.data.folds])
        wanted = self.data.labels_of(samples)
        output = np.mean([self._unseen(*pair) for pair in tuned()], axis=0)[wanted]
        return target.held_out(output, self.data.truth[wanted], self.goal, self.data.owners_of(samples))

    @torch.no_grad()
    def _unseen(self, hp: Hyperparameters, network: nn.Module) -> Floats:
        """[n, width] of the validation samples, each by the network that was not trained on it; others are NaN."""
        out = np.full((len(self.data.truth), self.data.target.width), np.nan)
        for i, fold in enumerate(self.data.folds):
            problem, member = fold_problem(self.data, fold, torch.device("cpu")), fold_of(network, i)
            out[self.data.labels_of(fold.validation)] = problem.outputs(member.cpu().eval(), fold.validation, hp)
        return out

    def check_rivals(self) -> None:
        """Raises InputError: there are none."""
        raise InputError("--rivals: these are forecasts of series, and the study has labels; leave it out")

    def evaluate(
        self, predictor: LabelPredictor, joined: bool, rivals: bool = False, held_out: Target | None = None
    ) -> Evaluation:
        """Score the test samples, once, beside baselines that learn from what the model was trained on."""
        data, train, target, goal = self.data, self._train(joined), held_out or self.data.target, self.goal
        if not len(data.test):
            return Evaluation.of_nothing(card_updates=LabelSection.of(target))
        truth, outputs = data.truth_of(data.test), predictor.outputs(data, data.test)
        constant = constant_outputs(data, train, data.test)
        baselines = {name: data.target.all_scores(output, truth, goal) for name, output in constant.items()}
        others = self.baselines(data, train, predictor.hps[0].window)
        baselines |= {name: scores for name, scores in others.items() if scores is not None}
        return Evaluation(
            test=target.all_scores(target.final(outputs.mean(axis=0)), truth, goal),
            members=[target.all_scores(target.final(member), truth, goal) for member in outputs],
            baselines=baselines,
            lower_is_better=target.lower_is_better(self.goal),
            card_updates=LabelSection.of(target),
        )

    def _train(self, joined: bool) -> Integers:
        return np.union1d(self.fold.train, self.fold.validation) if joined else self.fold.train
