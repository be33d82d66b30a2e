"""Labelled sequences or texts for workers: arrays, and the folds to train on. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from optlstm.data.labels import Fold
from optlstm.data.scaling import Standardizer
from optlstm.tasks.label.target import Target, Truth
from optlstm.training.factory import Shape
from optlstm.training.hparams import Hyperparameters
from optlstm.training.metric import DEFAULT_GOAL, Goal
from optlstm.util.arrays import Floats, Integers, row_ranges


@dataclass(frozen=True, eq=False)
class LabelledData:
    """Sequences one after the other, their labels, and the folds to train on.

    values: float32 [rows, channels], standardised, or int32 [rows] of token numbers. starts [sequences + 1]; truth [n].
    per_step: a label is of a step, truth [rows]; causal: predicted from the steps up to it.
    ends: [n], where samples are windows of sequences: the row behind each one's last. None: the sequences are.
    """

    values: npt.NDArray[Any]
    starts: Integers
    truth: Truth
    target: Target
    folds: tuple[Fold, ...]
    test: Integers
    vocabulary: int = 0  # token numbers; 0: sequences of numbers
    min_count: int = 1
    vectors: npt.NDArray[np.float32] | None = None  # [vocabulary, dim]
    scaler: Standardizer | None = None
    per_step: bool = False
    causal: bool = False
    ends: Integers | None = None
    goal: Goal = DEFAULT_GOAL  # of baselines' scores

    def labels_of(self, samples: Integers) -> Integers:
        """Positions in `truth` of the labels of some samples, one sample's after the other's."""
        return rows_of(self.starts, samples) if self.per_step else samples

    def truth_of(self, samples: Integers) -> Truth:
        """The labels of some samples, one sample's after the other's."""
        return self.truth[self.labels_of(samples)]

    def owners_of(self, samples: Integers) -> Integers:
        """The sequence of each of these labels."""
        if self.per_step:
            return np.repeat(samples, np.diff(self.starts)[samples])
        return samples if self.ends is None else sequences_of(self.starts, self.ends[samples])

    @property
    def n(self) -> int:
        """Samples."""
        return len(self.starts) - 1 if self.ends is None else len(self.ends)

    def spans(self, window: int) -> tuple[Integers, Integers]:
        """(first row, rows) of every sample: a whole sequence, or as much of the window before its end as there is."""
        if self.ends is None:
            return self.starts[:-1], np.diff(self.starts)
        first = np.maximum(self.starts[sequences_of(self.starts, self.ends)], self.ends - window)
        return first, self.ends - first

    def rows(self, samples: Integers) -> Integers:
        """The rows of the sequences that some samples are, or are windows of, one sequence after the other."""
        sequences = samples if self.ends is None else np.unique(sequences_of(self.starts, self.ends[samples]))
        return rows_of(self.starts, sequences)

    def shape(self, hp: Hyperparameters, goal: Goal = DEFAULT_GOAL) -> Shape:
        """The networks' shape, as a training with this goal needs them."""
        outputs = self.target.trained_for(goal).outputs
        if self.vocabulary:
            return Shape({"vocabulary": self.vocabulary}, outputs)
        return sequence_shape(int(self.values.shape[1]), outputs, self.per_step)


def scaled(values: Floats, scaler: Standardizer) -> npt.NDArray[np.float32]:
    """Standardised values [rows, channels]; a gap that could not be filled is the mean."""
    return np.nan_to_num(scaler.transform(values), nan=0.0).astype(np.float32)


def sequence_shape(channels: int, outputs: int, per_step: bool) -> Shape:
    """Of networks that read sequences."""
    return Shape({"channels": channels, **({"per_step": 1} if per_step else {})}, outputs)


def sequences_of(starts: Integers, ends: Integers) -> Integers:
    """The sequence that each of these rows is behind a row of. starts [sequences + 1]."""
    return np.searchsorted(starts, ends, side="left") - 1


def rows_of(starts: Integers, sequences: Integers) -> Integers:
    """The rows of some sequences, one sequence after the other. starts [n + 1]."""
    return row_ranges(starts[sequences], np.diff(starts)[sequences])[0]
