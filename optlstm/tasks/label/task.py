"""The tasks of classification: labelled sequences or texts that were read, checked and split."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from optlstm.data.labels import (
    LabelledSamples,
    LabelledSplit,
    are_measured,
    check_classes,
    check_split,
    check_test_classes,
    group_codes,
    split_labels,
)
from optlstm.errors import InputError
from optlstm.tasks.base import Metrics
from optlstm.tasks.label.data import FOCAL, LabelledData, class_codes
from optlstm.tasks.label.scores import METRICS, OF_DECISIONS, OF_RANKS
from optlstm.tasks.options import FORM, DataConfig
from optlstm.training.metric import DEFAULT_GOAL, Goal, Metric
from optlstm.util.arrays import Integers
from optlstm.util.format import first_few, quoted

if TYPE_CHECKING:
    from optlstm.tasks.label.evaluate import LabelEvaluator
    from optlstm.tasks.label.predict import SequenceSection, TextSection

LABEL_KEYS = ("path", "validation_path", "test_path", "label", "group", "splits", "folds", "class_weights", *FORM)
_SMALL = 500  # samples below which a single validation part is too small
_SMALL_FOLDS = 5


@dataclass(frozen=True)
class LabelTask(ABC):
    """Labelled samples; last those of a validation file, then of a test file.

    Its two kinds differ in reading files and making arrays.
    """

    name: ClassVar[str]
    keys: ClassVar[tuple[str, ...]]
    noun: ClassVar[str]  # what the samples are called
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    losses: ClassVar[Mapping[str, str]] = {"cross_entropy": "log_loss", FOCAL: "log_loss"}
    problem: ClassVar[str] = "optlstm.tasks.label.problem:make_problem"

    samples: LabelledSamples
    classes: tuple[str, ...]
    codes: Integers  # [n]
    split: LabelledSplit
    options: DataConfig
    notes: tuple[str, ...]

    @classmethod
    def read(cls, data: DataConfig) -> Self:
        """Raises InputError with every problem of the files and their split."""
        path, apart = _paths(data, cls.name)
        samples: LabelledSamples = cls.read_file(path, data)
        n, label = len(samples.labels), data.label or "label"
        classes, training, counts = check_classes(samples.labels, path.name, label), samples, [0, 0]
        _check_weights(data.class_weights, classes, path.name)
        for i, other in enumerate(apart):
            if other is not None:
                more = cls.read_file(other, data, like=training)
                check_test_classes(classes, more.labels, other.name)
                samples, counts[i] = samples.joined(more), len(more.labels)
        validations_apart, tests_apart = counts
        codes = class_codes(samples.labels, classes)
        split = split_labels(
            codes,
            group_codes(samples.groups),
            data.splits,
            validations_apart=validations_apart,
            tests_apart=tests_apart,
            folds=_folds(data, codes[:n]),
        )
        tested = not tests_apart and data.splits[2] > 0
        check_split(codes[:n], classes, split, label, data.group, tested=tested)
        return cls(samples, classes, codes, split, data, _notes(data, codes[:n], classes))

    @classmethod
    @abstractmethod
    def read_file(cls, path: Path, data: DataConfig, like: Any = None) -> Any:
        """The samples of a file; `like`: those of the training file, which a test file must fit."""

    @abstractmethod
    def data(self) -> LabelledData:
        """What workers need."""

    @abstractmethod
    def section(self, data: LabelledData) -> SequenceSection | TextSection:
        """The task's part of the card."""

    @abstractmethod
    def baselines(self, data: LabelledData, train: Integers) -> dict[str, Metrics | None]:
        """Scores by name on the test samples; None where a baseline would take too much memory."""

    @abstractmethod
    def _record(self) -> Mapping[str, Any]:
        """The part of the record for this kind of samples."""

    @property
    def warnings(self) -> Sequence[str]:
        """What was left out of the files or looks odd, and classes too small for folds."""
        return (*self.samples.notes, *self.notes)

    @property
    def undefined(self) -> Mapping[str, str]:
        """Metrics of ranks, where validation samples are all of one class."""
        single = any(len(np.unique(self.codes[fold.validation])) < 2 for fold in self.split.folds)
        why = f"validation {self.noun} of one fold are all of one class" if len(self.split.folds) > 1 else ""
        return dict.fromkeys(OF_RANKS, why or f"all validation {self.noun} are of one class") if single else {}

    @property
    def class_weights(self) -> bool | Mapping[str, float]:
        """By class; True: each weighs the same, False: by its samples."""
        weights = self.options.class_weights
        return (
            {name: weights.get(name, 1.0) for name in self.classes} if isinstance(weights, Mapping) else bool(weights)
        )

    @property
    def fitted_on(self) -> Integers:
        """Positions of the samples for scale or vocabulary: of a cross-validation all outside the test."""
        fold = self.split.folds[0]
        return np.union1d(fold.train, fold.validation) if len(self.split.folds) > 1 else fold.train

    def describe(self) -> str:
        """`ItalyPowerDemand, 1096 sequences (67 in 5 folds, 1029 test), 2 classes`."""
        folds, fold = len(self.split.folds), self.split.folds[0]
        train, validation = len(fold.train), len(fold.validation)
        parts = f"{train + validation} in {folds} folds" if folds > 1 else f"{train} train, {validation} validation"
        total = f"{self.samples.name}, {len(self.codes)} {self.noun}"
        return f"{total} ({parts}, {len(self.split.test)} test), {len(self.classes)} classes"

    def record(self) -> dict[str, Any]:
        """Fingerprint, classes, the part of this kind of samples, and the sizes of the split's parts."""
        folds, fold = len(self.split.folds), self.split.folds[0]
        return {
            "fingerprint": self.samples.fingerprint,
            self.noun: len(self.codes),
            "classes": list(self.classes),
            **self._record(),
            "folds": folds if folds > 1 else 0,
            "splits": [len(fold.train), len(fold.validation), len(self.split.test)],
        }

    def labelled_data(self, values: npt.NDArray[Any], starts: Integers, **more: Any) -> LabelledData:
        """The samples as arrays, with their classes and folds."""
        split, given = self.split, self.class_weights
        weights = tuple(given.values()) if isinstance(given, Mapping) else given
        return LabelledData(values, starts, self.codes, self.classes, split.folds, split.test, weights, **more)

    def evaluator(self, goal: Goal = DEFAULT_GOAL) -> LabelEvaluator:
        """See `Task.evaluator`."""
        from optlstm.tasks.label.evaluate import LabelEvaluator

        goal = replace(goal, threshold=_threshold(goal.threshold, self.classes))
        data = self.data()
        return LabelEvaluator(data, self.split.folds[0], self.section(data), self.baselines, goal)


def _paths(data: DataConfig, task: str) -> tuple[Path, list[Path | None]]:
    """The data file; the validation file and the test file.

    Raises:
        InputError: no file is named, the label column is used twice, or validation rows are asked for in two ways.
    """
    if not data.path:
        raise InputError(f"data: --task {task} needs a file: --data FILE")
    label = data.label or "label"
    others = {"text": data.text, "series": data.series, "time": data.time, "group": data.group}
    twice = [f"data.{key}: '{label}' is the label column; name another" for key in others if others[key] == label]
    if twice:
        raise InputError(twice)
    if data.validation_path and data.folds:
        raise InputError("data.folds: --validation-data has the validation rows; leave one of the two out")
    apart = [Path(file).expanduser() if file else None for file in (data.validation_path, data.test_path)]
    return Path(data.path).expanduser(), apart


def _check_weights(weights: bool | str | Mapping[str, float], classes: Sequence[str], file: str) -> None:
    """Raises InputError where weights are given for classes that the file does not have."""
    unknown = sorted(set(weights) - set(classes)) if isinstance(weights, Mapping) else []
    if unknown:
        known, named = first_few([quoted(name) for name in classes]), first_few([quoted(name) for name in unknown])
        raise InputError(f"data.class_weights: {named} is no class of {file} (classes: {known})")


def _threshold(threshold: str | float | None, classes: Sequence[str]) -> str | float | None:
    """A metric, or a number. Raises InputError where these classes cannot have such a threshold."""
    if threshold is None:
        return None
    if len(classes) != 2:
        raise InputError(f"--threshold: is for two classes, and the study has {len(classes)}; leave it out")
    if threshold in OF_DECISIONS:
        return threshold
    with suppress(ValueError):
        if 0 < (number := float(threshold)) < 1:
            return number
    raise InputError(f"--threshold: must be {', '.join(OF_DECISIONS)} or a number between 0 and 1, got {threshold!r}")


def _folds(data: DataConfig, codes: Integers) -> int:
    """The folds asked for; by default a cross-validation where there are few samples. codes: of the data file."""
    if data.folds is not None or data.validation_path:
        return data.folds or 0
    rarest = int(np.bincount(codes).min())
    return min(_SMALL_FOLDS, rarest) if len(codes) < _SMALL and rarest > 1 else 0


def _notes(data: DataConfig, codes: Integers, classes: Sequence[str]) -> tuple[str, ...]:
    """Lines where labels are measured numbers, and where classes of one sample are why there is no cross-validation.

    codes: of the data file.
    """
    notes = []
    if are_measured(classes):
        notes.append(f"data: the labels are {len(classes)} numbers; each is a class, whichever numbers are near it")
    single = np.flatnonzero(np.bincount(codes) == 1)
    if data.folds is None and not data.validation_path and len(codes) < _SMALL and len(single):
        named = first_few([quoted(classes[i]) for i in single.tolist()])
        reason = f"{len(single)} class(es) have a single sequence ({named}), so there is no cross-validation"
        notes.append(f"data: {reason}; leave such rows out, or set data.folds")
    return tuple(notes)
