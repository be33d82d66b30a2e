"""Labelled sequences: reading, and standardised arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from optlstm.data.scaling import Standardizer
from optlstm.data.step_columns import span
from optlstm.errors import InputError
from optlstm.tasks.base import Bounds, FormCard, Metrics
from optlstm.tasks.label.baselines import nearest_neighbour, on_features, window_of_steps
from optlstm.tasks.label.data import LabelledData, scaled
from optlstm.tasks.label.task import LABEL_KEYS, LabelTask
from optlstm.tasks.options import DataConfig
from optlstm.tasks.space import sequence_space, step_space, window_space, with_convolutions
from optlstm.util.arrays import Integers
from optlstm.util.format import many

if TYPE_CHECKING:
    from optlstm.data.sequences import Sequences
    from optlstm.tasks.label.predict import SequenceSection


@dataclass(frozen=True)
class SequenceTask(LabelTask):
    """Sequences of numbers, one or several channels at each step."""

    name: ClassVar[str] = "sequence"
    keys: ClassVar[tuple[str, ...]] = (*LABEL_KEYS, "series", "time", "channels", "per_step", "causal", "every", "gaps")
    noun: ClassVar[str] = "sequences"

    samples: Sequences

    @classmethod
    def read_file(cls, path: Path, data: DataConfig, like: Sequences | None = None) -> Sequences:
        from optlstm.data.sequence_columns import SequenceColumns
        from optlstm.data.sequence_reader import read_sequences

        if data.causal and not data.per_step:
            raise InputError("data.causal: is for a label of every step; give data.per_step = true, or leave it out")
        if data.every is not None and data.per_step:
            raise InputError("data.every: is for windows, and data.per_step for every step; leave one of the two out")
        if data.gaps == "mask":
            raise InputError("data.gaps: mask is for forecasts; sequences have refuse or interpolate")
        by_step = True if data.every is not None else False if data.kind == "classes" else None
        columns = SequenceColumns(
            data.label,
            data.series,
            data.time,
            data.group,
            data.channels,
            options=data.form,
            per_step=data.per_step,
            by_step=by_step,
            every=data.every or 1,
            numbers=data.kind == "number",
            gaps=data.gaps == "interpolate",
            causal=data.causal,
        )
        if like is not None:
            columns = replace(
                columns,
                series=like.series,
                time=like.time,
                channels=like.columns,
                wide=like.series is None,
                by_step=like.ends is not None,
                like=None if data.channels else Path(str(data.path)).name,
            )
        return read_sequences(path, columns)

    @classmethod
    def generic_space(cls) -> dict[str, object]:
        """That of a thousand sequences of 100 steps."""
        return sequence_space(steps=100, sequences=1000)

    def default_space(self) -> dict[str, object]:
        """See `tasks.space`."""
        train = len(self.split.folds[0].train)
        if self.options.per_step:
            return self.used_of(step_space(self.options.causal))
        if self.samples.ends is not None:
            return self.used_of(window_space(int(np.median(self._lengths)), train))
        steps = int(self._lengths.max())
        return self.used_of(with_convolutions(sequence_space(steps, train), steps))

    def check_space(self, space: Bounds) -> None:
        """Raises InputError where sequences cannot be standardised, or there is a window of none."""
        if self.samples.ends is None and space.largest("window") is not None:
            raise InputError(
                "space.window: a sample is a whole sequence (windows are of labels that change within one)"
            )
        self._scaler()
        if self.options.per_step:
            norms = [norm for norm in ("last", "mean_std") if space.allows(window_norm=norm)]
            problems = [
                f"space.window_norm: {norm} is of a whole sequence; a label of every step has none" for norm in norms
            ]
            if space.largest("conv_filters"):
                problems.append(
                    "space.conv_filters: convolutions are of a whole sequence; a label of every step has none"
                )
            if self.options.causal:
                problems += ["space.bidirectional: reads later steps; with data.causal false"] * space.allows(
                    bidirectional=True
                )
                later = (space.largest("patch") or 1) > 1
                problems += ["space.patch: a patch has later steps; with data.causal 1"] * later
            if problems:
                raise InputError(problems)

    def _scaler(self) -> Standardizer:
        rows = self.labelled_data(self.samples.values, self.samples.starts, ends=self.samples.ends).rows(self.fitted_on)
        return Standardizer.fit(self.samples.values[rows], "a channel")

    def data(self) -> LabelledData:
        """The values standardised by `fitted_on`; a fold standardises them again by its training sequences."""
        values, starts, scaler = self.samples.values, self.samples.starts, self._scaler()
        steps = {"per_step": self.options.per_step, "causal": self.options.causal, "ends": self.samples.ends}
        return self.labelled_data(scaled(values, scaler), starts, scaler=scaler, **steps)

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
            windows=True if self.samples.ends is not None else None,
            gaps="interpolate" if self.options.gaps == "interpolate" else None,
        )

    def baselines(self, data: LabelledData, train: Integers, window: int) -> dict[str, Metrics | None]:
        """The label of the nearest training sequence, and of numbers linear models of its features; of steps a linear
        model of those around each.
        """
        if data.per_step:
            return {"window_of_steps": window_of_steps(data, train)}
        linear = on_features(data, train, window) if data.target.on_features else {}
        return {"nearest_neighbour": nearest_neighbour(data, train, window), **linear}

    def describe(self) -> str:
        """Also how many steps and channels, and which: `..., 2 classes, 24 steps (t0 to t23)`."""
        shortest, longest = int(self._lengths.min()), int(self._lengths.max())
        steps = f"{longest} steps" if shortest == longest else f"{shortest} to {longest} steps"
        channels, names = len(self.samples.channels), span(self.samples.columns)
        steps += f" ({names})" if self.samples.series is None else ""
        steps = f"a label for each of {steps}" if self.options.per_step else steps
        if self.samples.ends is not None:
            steps = f"{len(self._lengths)} sequences of {steps}"
        of_channels = f" of {many(channels, 'channel')} ({names})" if self.samples.series else ""
        return f"{super().describe()}, {steps}{of_channels}"

    @property
    def _lengths(self) -> Integers:
        return np.diff(self.samples.starts)

    def _record(self) -> Mapping[str, Any]:
        record: dict[str, Any] = {"channels": list(self.samples.channels)}
        if self.samples.ends is not None:
            record |= {"sequences": len(self._lengths), "every": self.options.every or 1}
        return record | ({"per_step": True, "causal": self.options.causal} if self.options.per_step else {})
