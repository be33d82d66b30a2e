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
from optlstm.util.arrays import Integers, row_ranges


@dataclass(frozen=True, eq=False)
class LabelledData:
    """Sequences one after the other, their labels, and the folds to train on.

    values: float32 [rows, channels], standardised, or int32 [rows] of token numbers. starts [n + 1]; truth [n].
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

    def shape(self, hp: Hyperparameters, goal: Goal = DEFAULT_GOAL) -> Shape:
        """The networks' shape, as a training with this goal needs them."""
        outputs = self.target.trained_for(goal).outputs
        if self.vocabulary:
            return Shape({"vocabulary": self.vocabulary}, outputs)
        return Shape({"channels": int(self.values.shape[1])}, outputs)


def rows_of(starts: Integers, sequences: Integers) -> Integers:
    """The rows of some sequences, one sequence after the other. starts [n + 1]."""
    return row_ranges(starts[sequences], np.diff(starts)[sequences])[0]
