"""Series as a network reads them: scaled, with numbered categories, and split. No torch: workers get arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from optlstm.data.scaling import Standardizer, check_deviation
from optlstm.errors import InputError
from optlstm.tasks.base import CardPart, Positive, Text
from optlstm.tasks.forecast.losses import QUANTILES, HeadSpec
from optlstm.training.factory import InputSizes, Shape
from optlstm.training.hparams import Hyperparameters
from optlstm.training.metric import DEFAULT_GOAL, Goal
from optlstm.util.arrays import Floats, Integers

if TYPE_CHECKING:  # it brings pandas, which a worker has no use for
    from optlstm.data.panel import Column, Panel


class Feature(CardPart):
    """A covariate of the training rows: its categories, or the scale of its numbers."""

    name: Text
    categories: list[Text] | None = None
    mean: float = 0.0
    std: Positive = 1.0

    @property
    def size(self) -> int:
        """As in `InputSizes`."""
        return len(self.categories or ())

    def encoded(self, column: Column) -> NDArray[np.float32]:
        """Numbers on the training rows' scale, 0 where missing; or a category's number from 1, 0 if unseen."""
        if isinstance(column, np.ndarray):
            return np.nan_to_num((column - self.mean) / self.std, nan=0.0).astype(np.float32)
        numbers = {name: i + 1 for i, name in enumerate(self.categories or ())}
        table = np.array([*(numbers.get(name, 0) for name in column.names), 0], dtype=np.float32)
        return table[column.codes]  # -1, none, is the last

    def unseen(self, column: Column) -> list[str]:
        """The categories that are not in the training rows."""
        if isinstance(column, np.ndarray):
            return []
        present = {column.names[code] for code in np.unique(column.codes) if code >= 0}
        return sorted(present - set(self.categories or ()))


class Inputs(CardPart):
    """Every covariate, in the order in which a network reads them: calendar, future, past; and the static ones.

    masked: behind each column of numbers stands whether one is missing, 0 or 1; the last past column is of the target.
    """

    calendar: list[str] = Field(default_factory=list)
    future: list[Feature] = Field(default_factory=list)
    past: list[Feature] = Field(default_factory=list)
    static: list[Feature] = Field(default_factory=list)
    masked: bool = False

    @property
    def sizes(self) -> InputSizes:
        """The sizes of a network's inputs."""
        return InputSizes(
            future=(0,) * (2 * len(self.calendar)) + self._widths(self.future),
            past=self._widths(self.past) + (0,) * self.masked,
            static=tuple(feature.size for feature in self.static),
        )

    def _widths(self, features: Sequence[Feature]) -> tuple[int, ...]:
        """The sizes of these columns, each beside that of whether it is missing."""
        numbers = (0,) * self.masked
        return tuple(size for f in features for size in (f.size, *(numbers if f.categories is None else ())))

    @classmethod
    def fit(
        cls,
        panel: Panel,
        cuts: Integers,
        calendar: Sequence[str],
        future: Sequence[str],
        past: Sequence[str],
        masked: bool = False,
    ) -> Inputs:
        """Scales and categories of the training rows alone; those of static columns of all series."""
        train = np.zeros(int(panel.starts[-1]), dtype=bool)
        for start, stop in cuts[:, :2].tolist():
            train[start:stop] = True
        return cls(
            calendar=list(calendar),
            future=[_feature(name, panel.covariates[name], train) for name in future],
            past=[_feature(name, panel.covariates[name], train) for name in past],
            static=[_feature(name, column, None) for name, column in panel.static.items()],
            masked=masked,
        )

    def by_row(self, panel: Panel) -> NDArray[np.float32]:
        """[rows, calendar + future + past], without the target's."""
        import pandas as pd

        from optlstm.data.calendar import features

        sizes = self.sizes
        out = np.empty((int(panel.starts[-1]), len(sizes.future) + len(sizes.past) - self.masked), np.float32)
        if self.calendar:
            assert isinstance(panel.time, pd.DatetimeIndex)
            out[:, : 2 * len(self.calendar)] = features(panel.time, self.calendar)
        i = 2 * len(self.calendar)
        for feature in (*self.future, *self.past):
            column = panel.covariates[feature.name]
            out[:, i], i = feature.encoded(column), i + 1
            if self.masked and isinstance(column, np.ndarray):
                out[:, i], i = np.isnan(column), i + 1
        return out

    def by_series(self, panel: Panel) -> NDArray[np.float32]:
        """[series, static]."""
        out = np.empty((len(panel.ids), len(self.static)), dtype=np.float32)
        for i, feature in enumerate(self.static):
            out[:, i] = feature.encoded(panel.static[feature.name])
        return out

    def unseen(self, panel: Panel) -> Mapping[str, list[str]]:
        """For each column that has any, the categories that are not in the training rows."""
        columns = {**panel.covariates, **panel.static}
        unseen = {f.name: f.unseen(columns[f.name]) for f in [*self.future, *self.past, *self.static]}
        return {name: categories for name, categories in unseen.items() if categories}


@dataclass(frozen=True, eq=False)
class ForecastData:
    """Series one after the other.

    values: float32 [rows, columns], standardised. covariates: float32 [rows, columns]; static: float32 [n, columns].
    starts: each series' first row, [n]. mean, std: of each series, [n, targets].
    cuts: as `panel_rows.panel_cuts` gives them.
    epoch_windows: the most windows to train on in an epoch, and to validate on; None: all.
    naive: what `mase` divides by, [n, targets]; needed where it is a loss or a metric that decides.
    missing: [rows, targets], where a value was not given: what stands in `values` is read, but counts in no loss and no
        metric; None: nowhere. masked: networks read it too.
    levels: of the quantiles that are trained, and of which metrics are means. positive: no value is below zero.
    """

    values: NDArray[np.float32]
    covariates: NDArray[np.float32]
    static: NDArray[np.float32]
    sizes: InputSizes
    ids: tuple[str, ...]
    columns: tuple[str, ...]
    starts: Integers
    mean: Floats
    std: Floats
    cuts: Integers
    horizon: int
    epoch_windows: int | None = None
    epoch_steps: int = 1
    folds: tuple[Integers, ...] = ()  # the cuts of a rolling-origin validation; without them `cuts` alone
    naive: Floats | None = None
    missing: NDArray[np.bool_] | None = None
    masked: bool = False
    levels: tuple[float, ...] = QUANTILES
    positive: bool = False

    @classmethod
    def of(cls, panel: Panel, inputs: Inputs, scales: tuple[Floats, Floats], **split: Any) -> ForecastData:
        """A panel by these inputs and scales (mean, std); NaN where it has no targets. split: the other fields."""
        mean, std = scales
        values = np.empty(panel.values.shape, dtype=np.float32)
        for i, (start, stop) in enumerate(pairwise(panel.starts.tolist())):
            with np.errstate(over="ignore"):  # infinity is noticed in the forecasts
                values[start:stop] = (panel.inputs[start:stop] - mean[i]) / std[i]
        if panel.filled is not None:
            values[np.isnan(values)] = 0.0  # before a series' first value: the mean
            split |= {"missing": np.isnan(panel.values), "masked": inputs.masked}
        covariates, static = inputs.by_row(panel), inputs.by_series(panel)
        names, starts = (panel.ids, panel.columns), panel.starts[:-1]
        return cls(values, covariates, static, inputs.sizes, *names, starts, mean, std, **split)

    @property
    def validation_step(self) -> int:
        """Rows from one validation window to the next: 1, or more where they are too many for an epoch."""
        windows = int(np.maximum(0, self.cuts[:, 2] - self.cuts[:, 1] - self.horizon + 1).sum())
        return max(1, -(-windows // self.epoch_windows)) if self.epoch_windows else 1

    def shape(self, hp: Hyperparameters, goal: Goal = DEFAULT_GOAL) -> Shape:
        """The networks' shape: each column of each series is a sequence by itself."""
        outputs = HeadSpec.of(goal, self.levels, self.positive).head().outputs
        return covariate_shape(hp, self.horizon, self.sizes, outputs)


def covariate_shape(hp: Hyperparameters, horizon: int, sizes: InputSizes, outputs: int = 1) -> Shape:
    """A window to a horizon of so many numbers for each step, beside covariates where there are any."""
    inputs = {"window": hp.window}
    if sizes:
        future = len(sizes.future)
        inputs |= {"covariates": future + len(sizes.past), "future": future, "static": len(sizes.static)}
    return Shape(inputs, horizon * outputs, horizon)


def scales(panel: Panel, cuts: Integers, scaling: str) -> tuple[Floats, Floats]:
    """(mean, std) of the training rows, [n, targets] each: of every series, or of all of them together."""
    mean, std = np.empty((2, len(panel.ids), len(panel.columns)))
    if scaling == "series" or len(panel.ids) == 1:
        for i, (start, stop) in enumerate(cuts[:, :2].tolist()):
            subject = f"series {panel.named([i])}" if panel.series else panel.file
            scaler = Standardizer.fit(panel.values[start:stop], subject)
            mean[i], std[i] = scaler.mean, scaler.std
        return mean, std
    rows = [panel.values[start:stop] for start, stop in cuts[:, :2].tolist()]
    if panel.filled is not None:
        scaler = Standardizer.fit(np.concatenate(rows), panel.file)
        mean[:], std[:] = scaler.mean, scaler.std
        return mean, std
    count = sum(len(part) for part in rows)
    mean[:] = np.sum([part.sum(axis=0) for part in rows], axis=0) / count
    spread = np.sqrt(np.sum([np.square(part - mean[0]).sum(axis=0) for part in rows], axis=0) / count)
    check_deviation(spread, np.concatenate(rows), panel.file)
    std[:] = np.where(spread > 0, spread, 1.0)
    return mean, std


def _feature(name: str, column: Column, train: NDArray[np.bool_] | None) -> Feature:
    if not isinstance(column, np.ndarray):
        codes = column.codes if train is None else column.codes[train]
        return Feature(name=name, categories=sorted({column.names[code] for code in np.unique(codes) if code >= 0}))
    rows = column if train is None else column[train]
    if np.isnan(rows).all():
        raise InputError(f"data: column '{name}' has no value in the training rows; leave it out")
    std = float(np.nanstd(rows))
    check_deviation(np.array([std]), rows[:, None], f"column '{name}'")
    return Feature(name=name, mean=float(np.nanmean(rows)), std=std if std > 0 else 1.0)
