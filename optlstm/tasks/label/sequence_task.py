"""Labelled sequences, as the rest of the program sees them: read, checked and split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from optlstm.tasks.base import Bounds
from optlstm.tasks.label.scores import METRICS
from optlstm.tasks.options import DataConfig
from optlstm.tasks.space import sequence_space
from optlstm.training.metric import Metric

if TYPE_CHECKING:
    from optlstm.data.labels import Integers, LabelledSplit
    from optlstm.data.sequences import Sequences
    from optlstm.tasks.label.data import LabelledData
    from optlstm.tasks.label.evaluate import LabelEvaluator

LABEL_KEYS = ("path", "test_path", "label", "group", "splits", "folds", "class_weights")


@dataclass(frozen=True)
class SequenceTask:
    """Labelled sequences; where the test rows are a file of their own, they are the last ones."""

    name: ClassVar[str] = "sequence"
    keys: ClassVar[tuple[str, ...]] = (*LABEL_KEYS, "series", "time", "channels")
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    problem: ClassVar[str] = "optlstm.tasks.label.problem:make_problem"

    sequences: Sequences
    classes: tuple[str, ...]
    codes: Integers  # [n]
    split: LabelledSplit
    class_weights: bool
    label: str  # the column
    notes: tuple[str, ...]

    @classmethod
    def read(cls, data: DataConfig) -> SequenceTask:
        """Raises InputError with every problem of the files and their split."""
        from optlstm.data.labels import check_split, split_labels
        from optlstm.data.sequences import SequenceColumns, check_classes, read_sequences
        from optlstm.tasks.label.data import check_test_classes, coded, files, folds_wanted, group_codes, single_notes

        path, test_path = files(data, cls.name)
        columns = SequenceColumns(data.label, data.series, data.time, data.group, data.channels)
        sequences = read_sequences(path, columns)
        n = len(sequences.labels)
        classes = check_classes(sequences.labels, path.name, data.label or "label")
        apart = 0
        if test_path:
            columns = replace(
                columns,
                series=sequences.series,
                time=sequences.time,
                channels=sequences.columns,
                wide=sequences.series is None,
                like=None if data.channels else path.name,
            )
            test = read_sequences(test_path, columns)
            check_test_classes(classes, test.labels, test_path.name)
            sequences, apart = sequences.joined(test), len(test.labels)
        codes = coded(sequences.labels, classes)
        groups = group_codes(sequences.groups)
        folds = folds_wanted(data, codes[:n], n)
        split = split_labels(codes, groups, data.splits, tests_apart=apart, folds=folds)
        tested = not apart and data.splits[2] > 0
        check_split(codes[:n], classes, split, data.label or "label", data.group, tested=tested)
        notes = (*sequences.notes, *single_notes(data, codes[:n], classes))
        return cls(sequences, classes, codes, split, data.class_weights, data.label or "label", notes)

    @classmethod
    def generic_space(cls) -> dict[str, object]:
        """That of a thousand sequences of 100 steps."""
        return sequence_space(steps=100, sequences=1000)

    @property
    def warnings(self) -> Sequence[str]:
        """Columns that are not read, and classes too small for folds."""
        return self.notes

    def default_space(self) -> dict[str, object]:
        """See `tasks.space`."""
        return sequence_space(int((self.sequences.starts[1:] - self.sequences.starts[:-1]).max()), self._trained)

    @property
    def _trained(self) -> int:
        return len(self.split.folds[0].train)

    def check_space(self, space: Bounds) -> None:
        """Sequences of any length feed any configuration."""

    def describe(self) -> str:
        """`ItalyPowerDemand, 1096 sequences (67 in 5 folds, 1029 test), 2 classes, 24 steps`."""
        from optlstm.tasks.label.data import describe_split

        data = self.sequences
        lengths = data.starts[1:] - data.starts[:-1]
        least, most = int(lengths.min()), int(lengths.max())
        steps = f"{most} steps" if least == most else f"{least} to {most} steps"
        channels = len(data.channels)
        wide = f" of {channels} channels" if channels > 1 else ""
        return f"{data.name}, {len(self.codes)} sequences {describe_split(self.split, self.classes)}, {steps}{wide}"

    def record(self) -> dict[str, Any]:
        """Fingerprint, classes, channels and the split."""
        from optlstm.tasks.label.data import record_split

        return {
            "fingerprint": self.sequences.fingerprint,
            "sequences": len(self.codes),
            "classes": list(self.classes),
            "channels": list(self.sequences.channels),
            "class_weights": self.class_weights,
            **record_split(self.split),
        }

    def data(self) -> LabelledData:
        """The values standardised by the sequences outside the test; each fold then by its own training sequences."""
        import numpy as np

        from optlstm.data.scaling import Standardizer
        from optlstm.tasks.label.data import LabelledData

        data, fold = self.sequences, self.split.folds[0]
        seen = np.union1d(fold.train, fold.validation) if len(self.split.folds) > 1 else fold.train
        scaler = Standardizer.fit(data.values[rows_of(data.starts, seen)])
        values = scaler.transform(data.values).astype(np.float32)
        split = self.split
        return LabelledData(
            values, data.starts, self.codes, self.classes, split.folds, split.test, self.class_weights, scaler=scaler
        )

    def evaluator(self) -> LabelEvaluator:
        """The test part, and what a refit trains on."""
        from optlstm.tasks.label.evaluate import LabelEvaluator

        return LabelEvaluator(self)


def rows_of(starts: Integers, sequences: Integers) -> Integers:
    """The rows of some sequences, one after the other."""
    import numpy as np

    lengths = starts[1:] - starts[:-1]
    mine = lengths[sequences]
    first = np.repeat(starts[sequences] - np.concatenate([[0], np.cumsum(mine)[:-1]]), mine)
    return np.asarray(first + np.arange(mine.sum()), dtype=np.int64)
