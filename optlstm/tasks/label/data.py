"""What the tasks with labels share: which folds, what is recorded of a split, what workers need. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from optlstm.data.labels import Fold, Integers, LabelledSplit
from optlstm.data.scaling import Standardizer
from optlstm.errors import InputError
from optlstm.tasks.options import DataConfig
from optlstm.training.factory import Shape
from optlstm.training.hparams import Hyperparameters

SMALL = 500  # sequences below which a single validation part says too little
SMALL_FOLDS = 5


@dataclass(frozen=True, eq=False)
class LabelledData:
    """Sequences one after the other, their classes, and the folds to train on.

    values: float32 [rows, channels], standardised, or int32 [rows] of token numbers. starts [n + 1]; codes [n].
    """

    values: npt.NDArray[Any]
    starts: Integers
    codes: Integers
    classes: tuple[str, ...]
    folds: tuple[Fold, ...]
    test: Integers
    class_weights: bool
    vocabulary: int = 0  # token numbers; 0: sequences of numbers
    min_count: int = 1
    vectors: npt.NDArray[np.float32] | None = None  # [vocabulary, dim]
    scaler: Standardizer | None = None

    def shape(self, hp: Hyperparameters) -> Shape:
        """Of the networks."""
        if self.vocabulary:
            return Shape({"vocabulary": self.vocabulary}, len(self.classes))
        return Shape({"channels": int(self.values.shape[1])}, len(self.classes))


def folds_wanted(data: DataConfig, codes: Integers, outside_test: int) -> int:
    """The folds asked for; by default a cross-validation where there are few sequences."""
    if data.folds is not None:
        return data.folds
    rarest = int(np.bincount(codes).min())
    return min(SMALL_FOLDS, rarest) if outside_test < SMALL and rarest > 1 else 0


def single_notes(data: DataConfig, codes: Integers, classes: Sequence[str]) -> tuple[str, ...]:
    """A line where classes of one sequence are why there is no cross-validation. codes: outside a test file."""
    single = np.flatnonzero(np.bincount(codes) == 1)
    if data.folds is not None or len(codes) >= SMALL or not len(single):
        return ()
    shown = ", ".join(f"'{classes[i]}'" for i in single[:3]) + (", ..." if len(single) > 3 else "")
    what = f"data: {len(single)} class(es) have a single sequence ({shown}), so there is no cross-validation"
    return (f"{what}; leave such rows out, or set data.folds",)


def describe_split(split: LabelledSplit, classes: Sequence[str]) -> str:
    """`60 train, 7 validation, 1029 test), 2 classes`."""
    test = f"{len(split.test)} test"
    if len(split.folds) > 1:
        rest = len(split.folds[0].train) + len(split.folds[0].validation)
        parts = f"{rest} in {len(split.folds)} folds, {test}"
    else:
        (fold,) = split.folds
        parts = f"{len(fold.train)} train, {len(fold.validation)} validation, {test}"
    return f"({parts}), {len(classes)} classes"


def record_split(split: LabelledSplit) -> dict[str, Any]:
    """How many sequences each part has."""
    return {
        "folds": len(split.folds) if len(split.folds) > 1 else 0,
        "splits": [len(split.folds[0].train), len(split.folds[0].validation), len(split.test)],
    }


def coded(labels: Sequence[str], classes: Sequence[str]) -> Integers:
    """Each label's number. Raises KeyError for a label that is no class."""
    numbers = {name: i for i, name in enumerate(classes)}
    return np.array([numbers[label] for label in labels], dtype=np.int64)


def group_codes(groups: Sequence[str] | None) -> Integers | None:
    """Each group's number, in order of first appearance."""
    if groups is None:
        return None
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)


def files(data: DataConfig, task: str) -> tuple[Path, Path | None]:
    """The data file and the test file. Raises InputError where no file is named, or one column for two things."""
    if not data.path:
        raise InputError(f"data: --task {task} needs a file: --data FILE")
    label = data.label or "label"
    others = {"text": data.text, "series": data.series, "time": data.time, "group": data.group}
    twice = [f"data.{key}: '{label}' is the label column; name another" for key in others if others[key] == label]
    if twice:
        raise InputError(twice)
    return Path(data.path).expanduser(), Path(data.test_path).expanduser() if data.test_path else None


def check_test_classes(classes: Sequence[str], test_labels: Sequence[str], file: str) -> None:
    """Raises InputError where the test file has a class that the training file lacks."""
    unknown = sorted(set(test_labels) - set(classes))
    if unknown:
        named = ", ".join(f"'{name}'" for name in unknown[:3]) + (", ..." if len(unknown) > 3 else "")
        raise InputError(
            f"data: {len(unknown)} class(es) of {file} are not in the training file ({named}); no model can learn them"
        )
