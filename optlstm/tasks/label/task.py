"""The tasks with labels: sequences or texts that were read, checked and split."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from optlstm.data.labels import LabelledSamples, LabelledSplit, group_codes, label_columns, split_labels
from optlstm.data.splits import are_counts
from optlstm.errors import InputError
from optlstm.tasks.base import Goals, Metrics
from optlstm.tasks.label.data import LabelledData
from optlstm.tasks.label.kinds import KINDS, read_target, undefined
from optlstm.tasks.label.target import LabelColumn, Target, Truth
from optlstm.tasks.options import FORM, DataConfig
from optlstm.training.metric import DEFAULT_GOAL, Goal
from optlstm.util.arrays import Integers

if TYPE_CHECKING:
    from optlstm.tasks.label.evaluate import LabelEvaluator
    from optlstm.tasks.label.predict import SequenceSection, TextSection

LABEL_KEYS = (
    *("path", "validation_path", "test_path", "label", "group", "splits", "folds", *FORM),
    *("kind", "class_weights", "cap", "quantiles"),
)
_SMALL = 500  # samples below which a single validation part is too small
_SMALL_FOLDS = 5
_FEW_UNITS = 50  # as `_SMALL`, of sequences with a label for every step


@dataclass(frozen=True)
class LabelTask(ABC):
    """Labelled samples; last those of a validation file, then of a test file.

    Its two kinds differ in reading files and making arrays.
    """

    name: ClassVar[str]
    keys: ClassVar[tuple[str, ...]]
    noun: ClassVar[str]  # what the samples are called
    goals: ClassVar[Mapping[str, Goals]] = {
        name: Goals(kind.losses, kind.metrics, custom=True) for name, kind in KINDS.items()
    }
    problem: ClassVar[str] = "optlstm.tasks.label.problem:make_problem"

    samples: LabelledSamples
    target: Target
    truth: Truth  # [n]
    split: LabelledSplit
    options: DataConfig
    notes: tuple[str, ...]

    @classmethod
    def read(cls, data: DataConfig) -> Self:
        """Raises InputError with every problem of the files and their split."""
        path, apart = _paths(data, cls.name)
        samples: LabelledSamples = cls.read_file(path, data)
        n, label = len(samples.labels), data.label or "label"
        column, training, counts = LabelColumn(path.name, label), samples, [0, 0]
        target, chosen = read_target(samples, column, data)
        parts = [target.truth(samples.labels, column)]
        for i, other in enumerate(apart):
            if other is not None:
                more = cls.read_file(other, data, like=training)
                parts.append(target.truth(more.labels, LabelColumn(other.name, label)))
                samples, counts[i] = samples.joined(more), len(more.labels)
        validations_apart, tests_apart = counts
        truth, owners, groups = np.concatenate(parts), samples.owners, group_codes(samples.groups)
        if owners is not None:  # a sequence is on one side, with all its labels
            groups = owners if groups is None else groups[owners]
            _check_shares(data)
        strata = np.concatenate([target.strata(part) for part in parts])
        if (owners is not None or samples.of_steps) and target.kind != "classes":
            strata[:] = 0  # a sequence has labels of many sizes; of so many strata a small part would get none
        split = split_labels(
            strata,
            groups,
            data.splits,
            validations_apart=validations_apart,
            tests_apart=tests_apart,
            folds=_folds(data, strata[:n], None if owners is None or groups is None else len(np.unique(groups[:n]))),
        )
        tested = not tests_apart and data.splits[2] > 0
        target.check_split(truth[:n], split, column, data.group, tested=tested, noun=cls.noun)
        target = target.fitted(truth[_fitted_on(split)])
        notes = (*chosen, *target.notes(truth[:n], owners is None and _folded(data, n, _SMALL), cls.noun))
        notes += target.split_notes(truth, split, cls.noun)
        split = split if owners is None else split.of_samples(owners)
        return cls(samples, target, truth, split, data, notes)

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
    def baselines(self, data: LabelledData, train: Integers, window: int) -> dict[str, Metrics | None]:
        """Scores by name on the test samples; None where a baseline would take too much memory.

        window: of the model, where samples are windows.
        """

    @abstractmethod
    def _record(self) -> Mapping[str, Any]:
        """The part of the record for this kind of samples."""

    @property
    def warnings(self) -> Sequence[str]:
        """What was left out of the files or looks odd, and classes too small for folds."""
        return (*self.samples.notes, *self.notes)

    @property
    def kind(self) -> str:
        """Of the labels."""
        return self.target.kind

    @property
    def samples_noun(self) -> str:
        """What its samples are called."""
        return "windows" if self.samples.of_steps else self.noun

    @property
    def undefined(self) -> Mapping[str, str]:
        """The losses and metrics of labels of another kind, and those that the validation samples do not define."""
        parts = [self.truth_of(fold.validation) for fold in self.split.folds]
        return {**undefined(self.target), **self.target.undefined_on(parts)}

    @property
    def fitted_on(self) -> Integers:
        """Positions of the samples for scale or vocabulary: of a cross-validation all outside the test."""
        return _fitted_on(self.split)

    def truth_of(self, samples: Integers) -> Truth:
        """The labels of some samples, by position."""
        owners = self.samples.owners
        return self.truth[samples if owners is None else np.isin(owners, samples)]

    @property
    def count(self) -> int:
        """The number of samples."""
        owners = self.samples.owners
        return len(self.truth) if owners is None else int(owners[-1]) + 1

    def used_of(self, space: dict[str, object]) -> dict[str, object]:
        """A space without the hyperparameters that these labels have no use for."""
        return {name: values for name, values in space.items() if name not in self.target.unused}

    def describe(self) -> str:
        """`ItalyPowerDemand, 1096 sequences (67 in 5 folds, 1029 test), 2 classes`."""
        folds, fold = len(self.split.folds), self.split.folds[0]
        train, validation = len(fold.train), len(fold.validation)
        parts = f"{train + validation} in {folds} folds" if folds > 1 else f"{train} train, {validation} validation"
        total = f"{self.samples.name}, {self.count} {self.samples_noun}"
        return f"{total} ({parts}, {len(self.split.test)} test), {self.target.describe()}"

    def record(self) -> dict[str, Any]:
        """Fingerprint, labels, the part of this kind of samples, and the sizes of the split's parts."""
        folds, fold = len(self.split.folds), self.split.folds[0]
        return {
            "fingerprint": self.samples.fingerprint,
            self.samples_noun: self.count,
            **self.target.record(),
            **self._record(),
            "folds": folds if folds > 1 else 0,
            "splits": [len(fold.train), len(fold.validation), len(self.split.test)],
        }

    def labelled_data(self, values: npt.NDArray[Any], starts: Integers, **more: Any) -> LabelledData:
        """The samples as arrays, with their labels and folds."""
        return LabelledData(values, starts, self.truth, self.target, self.split.folds, self.split.test, **more)

    def evaluator(self, goal: Goal = DEFAULT_GOAL) -> LabelEvaluator:
        """See `Task.evaluator`."""
        from optlstm.tasks.label.evaluate import LabelEvaluator

        data, goal = self.data(), self.target.checked(goal)
        data = replace(data, target=data.target.trained_for(goal), goal=goal)
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
    columns = (label, *label_columns(label))
    twice = [
        f"data.{key}: '{name}' is the label column; name another" for key, name in others.items() if name in columns
    ]
    if twice:
        raise InputError(twice)
    if data.validation_path and data.folds:
        raise InputError("data.folds: --validation-data has the validation rows; leave one of the two out")
    apart = [Path(file).expanduser() if file else None for file in (data.validation_path, data.test_path)]
    return Path(data.path).expanduser(), apart


def _fitted_on(split: LabelledSplit) -> Integers:
    fold = split.folds[0]
    return np.union1d(fold.train, fold.validation) if len(split.folds) > 1 else fold.train


def _check_shares(data: DataConfig) -> None:
    """Raises InputError for splits that count rows, where a sequence has many."""
    if are_counts(data.splits):
        raise InputError(f"data.splits: with data.per_step they are shares, got {list(data.splits)}")


def _folded(data: DataConfig, samples: int, few: int) -> bool:
    """Whether a cross-validation is the default, as there are few samples."""
    return data.folds is None and not data.validation_path and samples < few


def _folds(data: DataConfig, strata: Integers, units: int | None) -> int:
    """The folds asked for, or those of the default.

    Args:
        strata: of the data file.
        units: sequences or groups with a label for every step; None: each sample has one.
    """
    if units is not None and _folded(data, units, _FEW_UNITS):
        return min(_SMALL_FOLDS, units // 4) if units >= 8 else 0
    if units is not None or not _folded(data, len(strata), _SMALL):
        return 0 if data.validation_path else data.folds or 0
    rarest = int(np.bincount(strata).min())
    return min(_SMALL_FOLDS, rarest) if rarest > 1 else 0
