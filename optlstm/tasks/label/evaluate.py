"""Classification after the search: what a refit trains on, and the evaluation on the test samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from optlstm.data.labels import Fold
from optlstm.errors import InputError
from optlstm.tasks.base import Evaluation, Metrics
from optlstm.tasks.label.baselines import majority
from optlstm.tasks.label.data import LabelledData
from optlstm.tasks.label.predict import LabelPredictor, SequenceSection, TextSection
from optlstm.tasks.label.scores import classification_scores
from optlstm.training.metric import Metric
from optlstm.util.arrays import Integers


@dataclass(frozen=True)
class LabelEvaluator:
    """The `Evaluator` of labelled sequences or texts.

    Args:
        data: all samples.
        fold: training and validation samples of the study; of a cross-validation the first fold.
        section: the task's part of the card.
        baselines: scores on the test samples by name, from (data, positions of the samples to learn from).
    """

    data: LabelledData
    fold: Fold
    section: SequenceSection | TextSection
    baselines: Callable[[LabelledData, Integers], dict[str, Metrics | None]]

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
        return {"class shares": metric.value(classification_scores(np.tile(shares, (len(codes), 1)), codes))}

    def held_out(self, *_: object) -> None:
        """None: probabilities are not calibrated."""

    def check_rivals(self) -> None:
        """Raises InputError: there are none."""
        raise InputError("--rivals: these are forecasts of series, and the study has labels; leave it out")

    def evaluate(
        self, predictor: LabelPredictor, joined: bool, rivals: bool = False, held_out: None = None
    ) -> Evaluation:
        """Score the test samples, once, beside baselines that learn from what the model was trained on."""
        data, train = self.data, self._train(joined)
        codes, probabilities = data.codes[data.test], predictor.probabilities(data, data.test)
        baselines = {"majority_class": majority(data, train), **self.baselines(data, train)}
        return Evaluation(
            test=dict(classification_scores(probabilities.mean(axis=0), codes)),
            members=[dict(classification_scores(member, codes)) for member in probabilities],
            baselines={name: scores for name, scores in baselines.items() if scores is not None},
            lower_is_better={"accuracy": False, "log_loss": True},
        )

    def _train(self, joined: bool) -> Integers:
        return np.union1d(self.fold.train, self.fold.validation) if joined else self.fold.train
