"""The tasks with labels when their search is over: what a refit trains on, and how the test sequences judge it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from optlstm.data.labels import Fold, Integers
from optlstm.errors import InputError
from optlstm.tasks.base import Evaluation, Metrics
from optlstm.tasks.label.baselines import bag_of_words, majority, nearest_neighbour
from optlstm.tasks.label.data import LabelledData
from optlstm.tasks.label.predict import LabelPredictor, SequenceSection, TextSection
from optlstm.tasks.label.scores import classification_scores
from optlstm.tasks.label.sequence_task import SequenceTask
from optlstm.tasks.label.text_task import TextTask

_DECIDES = {"accuracy": False, "log_loss": True}  # whether less is better


@dataclass(frozen=True)
class LabelEvaluator:
    """Labelled sequences or texts whose search is over (`tasks.base.Evaluator`)."""

    task: SequenceTask | TextTask

    def training_data(self, joined: bool) -> LabelledData:
        """One split: all but the test's to train on, or the first fold's training sequences."""
        prepared = self.task.data()
        if not len(prepared.test):
            raise InputError("data.splits: no sequence is left to test on; give a test share, or --test-data FILE")
        return replace(prepared, folds=(Fold(self._learnt(joined), np.arange(0)),))

    def card_section(self) -> SequenceSection | TextSection:
        """The task's part of the card."""
        task = self.task
        if isinstance(task, TextTask):
            options = task.options
            return TextSection(
                classes=list(task.classes),
                label=options.label or "label",
                text=options.text or "text",
                level=options.level,
                lowercase=options.lowercase,
                max_tokens=options.max_tokens,
                vocabulary=list(task.vocabulary.tokens),
            )
        data, scaler = task.sequences, task.data().scaler
        assert scaler is not None
        return SequenceSection(
            classes=list(task.classes),
            label=task.label,
            series=data.series,
            time=data.time,
            columns=list(data.columns),
            mean=scaler.mean.tolist(),
            std=scaler.std.tolist(),
        )

    def evaluate(self, predictor: LabelPredictor, joined: bool) -> Evaluation:
        """Score the test sequences, once, beside baselines that learn from what the model learnt from."""
        data = self.task.data()
        each = predictor.probabilities(data, data.test)
        codes, learnt, classes = data.codes, self._learnt(joined), len(data.classes)
        rivals: dict[str, Metrics | None] = {"majority_class": majority(codes, learnt, data.test, classes)}
        if isinstance(self.task, TextTask):
            texts = list(self.task.texts.texts)
            found = bag_of_words(texts, self.task.tokenizer, codes, learnt, data.test, classes)
            rivals["bag_of_words"] = found
        else:
            known = nearest_neighbour(data.values, data.starts, codes, learnt, data.test, classes)
            rivals["nearest_neighbour"] = known
        return Evaluation(
            test=dict(classification_scores(each.mean(axis=0), codes[data.test])),
            members=[dict(classification_scores(one, codes[data.test])) for one in each],
            baselines={name: scores for name, scores in rivals.items() if scores is not None},
            lower_is_better=_DECIDES,
        )

    def _learnt(self, joined: bool) -> Integers:
        fold = self.task.split.folds[0]
        return np.union1d(fold.train, fold.validation) if joined else fold.train
