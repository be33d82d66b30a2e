"""Labelled sequences: reading, and standardised arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from optlstm.data.scaling import Standardizer
from optlstm.errors import InputError
from optlstm.tasks.base import Bounds, FormCard, Metrics
from optlstm.tasks.label.baselines import nearest_neighbour, window_of_steps
from optlstm.tasks.label.data import LabelledData, rows_of
from optlstm.tasks.label.task import LABEL_KEYS, LabelTask
from optlstm.tasks.options import DataConfig
from optlstm.tasks.space import sequence_space, step_space
from optlstm.util.arrays import Integers

if TYPE_CHECKING:
    from optlstm.data.sequences import Sequences
    from optlstm.tasks.label.predict import SequenceSection


@dataclass(frozen=True)
class SequenceTask(LabelTask):
    """Sequences of numbers, one or several channels at each step."""

    name: ClassVar[str] = "sequence"
    keys: ClassVar[tuple[str, ...]] = (*LABEL_KEYS, "series", "time", "channels", "per_step", "causal")
    noun: ClassVar[str] = "sequences"

    samples: Sequences

    @classmethod
    def read_file(cls, path: Path, data: DataConfig, like: Sequences | None = None) -> Sequences:
        from optlstm.data.sequences import SequenceColumns, read_sequences

        if data.causal and not data.per_step:
            raise InputError("data.causal: is for a label of every step; give data.per_step = true, or leave it out")
        columns = SequenceColumns(
            data.label, data.series, data.time, data.group, data.channels, options=data.form, per_step=data.per_step
        )
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
        if self.options.per_step:
            return self.used_of(step_space(self.options.causal))
        return self.used_of(sequence_space(int(self._lengths.max()), len(self.split.folds[0].train)))

    def check_space(self, space: Bounds) -> None:
        """Sequences of any length feed any configuration. Raises InputError where they cannot be standardised."""
        self._scaler()
        if self.options.per_step:
            norms = [norm for norm in ("last", "mean_std") if space.allows(window_norm=norm)]
            problems = [
                f"space.window_norm: {norm} is of a whole sequence; a label of every step has none" for norm in norms
            ]
            if self.options.causal:
                problems += ["space.bidirectional: reads later steps; with data.causal false"] * space.allows(
                    bidirectional=True
                )
                later = (space.largest("patch") or 1) > 1
                problems += ["space.patch: a patch has later steps; with data.causal 1"] * later
            if problems:
                raise InputError(problems)

    def _scaler(self) -> Standardizer:
        values, starts = self.samples.values, self.samples.starts
        return Standardizer.fit(values[rows_of(starts, self.fitted_on)], "a channel")

    def data(self) -> LabelledData:
        """The values standardised by `fitted_on`; a fold standardises them again by its training sequences."""
        values, starts, scaler = self.samples.values, self.samples.starts, self._scaler()
        steps = {"per_step": self.options.per_step, "causal": self.options.causal}
        return self.labelled_data(scaler.transform(values).astype(np.float32), starts, scaler=scaler, **steps)

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
            per_step=self.options.per_step,
            causal=self.options.causal,
        )

    def baselines(self, data: LabelledData, train: Integers) -> dict[str, Metrics | None]:
        """The label of the nearest training sequence; of steps a linear model of those around each."""
        if data.per_step:
            return {"window_of_steps": window_of_steps(data, train)}
        return {"nearest_neighbour": nearest_neighbour(data, train)}

    def describe(self) -> str:
        """Also how many steps and channels: `..., 2 classes, 24 steps`."""
        shortest, longest = int(self._lengths.min()), int(self._lengths.max())
        steps = f"{longest} steps" if shortest == longest else f"{shortest} to {longest} steps"
        channels = len(self.samples.channels)
        steps = f"a label for each of {steps}" if self.options.per_step else steps
        return f"{super().describe()}, {steps}" + (f" of {channels} channels" if channels > 1 else "")

    @property
    def _lengths(self) -> Integers:
        return np.diff(self.samples.starts)

    def _record(self) -> Mapping[str, Any]:
        record: dict[str, Any] = {"channels": list(self.samples.channels)}
        return record | ({"per_step": True, "causal": self.options.causal} if self.options.per_step else {})
