"""Labelled sequences: reading, and standardised arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from optlstm.data.scaling import Standardizer
from optlstm.tasks.base import Bounds, FormCard, Metrics
from optlstm.tasks.label.baselines import nearest_neighbour
from optlstm.tasks.label.data import LabelledData, rows_of
from optlstm.tasks.label.task import LABEL_KEYS, LabelTask
from optlstm.tasks.options import DataConfig
from optlstm.tasks.space import sequence_space
from optlstm.util.arrays import Integers

if TYPE_CHECKING:
    from optlstm.data.sequences import Sequences
    from optlstm.tasks.label.predict import SequenceSection


@dataclass(frozen=True)
class SequenceTask(LabelTask):
    """Sequences of numbers, one or several channels at each step."""

    name: ClassVar[str] = "sequence"
    keys: ClassVar[tuple[str, ...]] = (*LABEL_KEYS, "series", "time", "channels")
    noun: ClassVar[str] = "sequences"

    samples: Sequences

    @classmethod
    def read_file(cls, path: Path, data: DataConfig, like: Sequences | None = None) -> Sequences:
        from optlstm.data.sequences import SequenceColumns, read_sequences

        columns = SequenceColumns(data.label, data.series, data.time, data.group, data.channels, options=data.form)
        if like is not None:
            columns = replace(
                columns,
                series=like.series,
                time=like.time,
                channels=like.columns,
                wide=like.series is None,
                like=None if data.channels else Path(str(data.path)).name,
            )
        return read_sequences(path, columns)

    @classmethod
    def generic_space(cls) -> dict[str, object]:
        """That of a thousand sequences of 100 steps."""
        return sequence_space(steps=100, sequences=1000)

    def default_space(self) -> dict[str, object]:
        """See `tasks.space`."""
        return self.used_of(sequence_space(int(self._lengths.max()), len(self.split.folds[0].train)))

    def check_space(self, space: Bounds) -> None:
        """Sequences of any length feed any configuration. Raises InputError where they cannot be standardised."""
        self._scaler()

    def _scaler(self) -> Standardizer:
        values, starts = self.samples.values, self.samples.starts
        return Standardizer.fit(values[rows_of(starts, self.fitted_on)], "a channel")

    def data(self) -> LabelledData:
        """The values standardised by `fitted_on`; a fold standardises them again by its training sequences."""
        values, starts, scaler = self.samples.values, self.samples.starts, self._scaler()
        return self.labelled_data(scaler.transform(values).astype(np.float32), starts, scaler=scaler)

    def section(self, data: LabelledData) -> SequenceSection:
        """The task's part of the card."""
        from optlstm.tasks.label.predict import SequenceSection

        assert data.scaler is not None
        return SequenceSection(
            **SequenceSection.of(data.target),
            label=self.options.label or "label",
            form=FormCard.of(self.options.form),
            series=self.samples.series,
            time=self.samples.time,
            columns=list(self.samples.columns),
            mean=data.scaler.mean.tolist(),
            std=data.scaler.std.tolist(),
        )

    def baselines(self, data: LabelledData, train: Integers) -> dict[str, Metrics | None]:
        """The label of the nearest training sequence."""
        return {"nearest_neighbour": nearest_neighbour(data, train)}

    def describe(self) -> str:
        """Also how many steps and channels: `..., 2 classes, 24 steps`."""
        shortest, longest = int(self._lengths.min()), int(self._lengths.max())
        steps = f"{longest} steps" if shortest == longest else f"{shortest} to {longest} steps"
        channels = len(self.samples.channels)
        return f"{super().describe()}, {steps}" + (f" of {channels} channels" if channels > 1 else "")

    @property
    def _lengths(self) -> Integers:
        return np.diff(self.samples.starts)

    def _record(self) -> Mapping[str, Any]:
        return {"channels": list(self.samples.channels)}
