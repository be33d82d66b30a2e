"""Labelled sequences or texts for workers: arrays, and the folds to train on. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from optlstm.data.labels import Fold
from optlstm.data.scaling import Standardizer
from optlstm.training.factory import Shape
from optlstm.training.hparams import Hyperparameters
from optlstm.training.metric import DEFAULT_GOAL, Goal
from optlstm.util.arrays import Integers, row_ranges

FOCAL = "focal"  # the loss


@dataclass(frozen=True, eq=False)
class LabelledData:
    """Sequences one after the other, their classes, and the folds to train on.

    values: float32 [rows, channels], standardised, or int32 [rows] of token numbers. starts [n + 1]; codes [n].
    class_weights: of each class in the loss; True: the same in all; False: by their samples.
    """

    values: npt.NDArray[Any]
    starts: Integers
    codes: Integers
    classes: tuple[str, ...]
    folds: tuple[Fold, ...]
    test: Integers
    class_weights: bool | tuple[float, ...]
    vocabulary: int = 0  # token numbers; 0: sequences of numbers
    min_count: int = 1
    vectors: npt.NDArray[np.float32] | None = None  # [vocabulary, dim]
    scaler: Standardizer | None = None

    def shape(self, hp: Hyperparameters, goal: Goal = DEFAULT_GOAL) -> Shape:
        """The networks' shape; every loss has the same."""
        if self.vocabulary:
            return Shape({"vocabulary": self.vocabulary}, len(self.classes))
        return Shape({"channels": int(self.values.shape[1])}, len(self.classes))


def class_codes(labels: Sequence[str], classes: Sequence[str]) -> Integers:
    """Each label's number [n]. Raises KeyError for a label that is no class."""
    numbers = {name: i for i, name in enumerate(classes)}
    return np.array([numbers[label] for label in labels], dtype=np.int64)


def rows_of(starts: Integers, sequences: Integers) -> Integers:
    """The rows of some sequences, one sequence after the other. starts [n + 1]."""
    return row_ranges(starts[sequences], np.diff(starts)[sequences])[0]
