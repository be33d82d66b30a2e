"""The card of a trained forecaster: columns, times, covariates, and the scale of each series."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator
from torch import nn

from optlstm.data.calendar import PERIODS
from optlstm.data.panel import Panel
from optlstm.data.panel_reader import PanelColumns
from optlstm.data.panel_time import RowRules
from optlstm.data.scaling import Standardizer
from optlstm.data.time_column import TimeReading
from optlstm.tasks.base import CardPart, FormCard, Positive, Text
from optlstm.tasks.forecast.calibrate import Method
from optlstm.tasks.forecast.conformal import LEVELS
from optlstm.tasks.forecast.data import ForecastData, Inputs, covariate_shape
from optlstm.tasks.forecast.known_rows import KnownRow
from optlstm.tasks.forecast.local_scale import LocalScale
from optlstm.tasks.forecast.losses import HeadSpec
from optlstm.tasks.forecast.problem import make_network
from optlstm.tasks.options import DataConfig, Gaps
from optlstm.training.factory import Shape
from optlstm.training.hparams import Hyperparameters
from optlstm.util.arrays import Floats
from optlstm.util.format import quoted
from optlstm.util.time_formats import INTEGER, STEP, is_format

LONGEST_WINDOW = 10_000_000  # rows
_ROUNDING = 1e-6  # of weights that sum to 1
_Share = Annotated[float, Field(ge=0, le=1)]
_Count = Annotated[int, Field(ge=0, le=2**53)]
_log = logging.getLogger(__name__)


class ForecastCard(CardPart):
    """The task's part of a card."""

    kind: Literal["forecast"] = "forecast"
    series: Text | None  # column of the series' names; None: one series
    time: Text
    time_format: Annotated[str, Field(max_length=100)] | None = None  # of its cells: see `data.time_format`
    columns: Annotated[list[Text], Field(min_length=1)]
    horizon: Annotated[int, Field(ge=1)]
    freq: Annotated[str, Field(max_length=32)] | None  # pandas alias; None for whole-numbered times
    step: _Count | None = None  # between whole-numbered times
    season: Annotated[int, Field(ge=1, le=2**31)]
    scaling: Literal["series", "global"]
    sort: bool = False
    repeated: Literal["refuse", "last", "mean"] = "refuse"
    resample: Annotated[str, Field(pattern=f"^{STEP}$")] | None = None
    resample_sum: list[Text] = Field(default_factory=list)
    gaps: Gaps
    inputs: Inputs
    ids: Annotated[list[Text], Field(min_length=1)]
    mean: list[list[float]]  # by series and column, of the training rows
    std: list[list[Positive]]
    naive: list[list[float | None]]  # mean absolute error of the seasonal naive forecast of the training rows
    weights: list[_Share] = Field(default_factory=list)  # of the networks, then of the linear forecast; none: the mean
    linear: dict[Text, _Share] = Field(default_factory=dict)  # what the linear forecast is the sum of, and the weights
    linear_window: Annotated[int, Field(ge=0, le=LONGEST_WINDOW)] = 0  # rows that it reads; 0: there is none
    form: FormCard = FormCard()  # of the files
    head: HeadSpec = HeadSpec()  # what the networks give
    calibrated: _Count = 0  # windows behind the intervals' radii; 0: there are none
    calibration: Method = "constant"
    local_scale: LocalScale | None = None
    known: list[KnownRow] = Field(default_factory=list)  # by which a file of another series is told
    paths: _Count = 0  # whose ranks samples are drawn by; 0: there are none

    @field_validator("time_format")
    @classmethod
    def _is_a_format(cls, value: str | None) -> str | None:
        if value is not None and not is_format(value):
            raise ValueError(f"{value!r} is no format of times")
        return value

    @field_validator("freq")
    @classmethod
    def _pandas_knows_it(cls, value: str | None) -> str | None:
        from pandas.tseries.frequencies import to_offset

        try:
            if value is not None:
                to_offset(value)
        except Exception as error:  # pandas raises errors of many kinds
            raise ValueError(f"{value!r} is no frequency") from error
        return value

    @model_validator(mode="after")
    def _every_series_has_its_scale(self) -> ForecastCard:
        tables = (self.mean, self.std, self.naive)
        if any(len(table) != len(self.ids) for table in tables) or len(set(self.ids)) < len(self.ids):
            raise ValueError("ids, mean, std and naive are not of one length, or a series is named twice")
        if any(len(row) != len(self.columns) for table in tables for row in table):
            raise ValueError("columns and the rows of mean, std and naive are not of one length")
        if len(set(self.columns)) < len(self.columns):
            raise ValueError("a column is named twice")
        if set(self.inputs.calendar) - set(PERIODS):
            raise ValueError("an unknown calendar feature")
        return self

    @model_validator(mode="after")
    def _every_column_has_its_local_scale(self) -> ForecastCard:
        local = self.local_scale
        if (self.calibration == "local") != (local is not None):
            raise ValueError("calibration and local_scale do not go together")
        if local is not None and (len(local.weights), len(local.bounds)) != (len(self.columns),) * 2:
            raise ValueError("columns and local_scale are not of one length")
        return self

    @model_validator(mode="after")
    def _weights_are_of_a_mean(self) -> ForecastCard:
        if self.weights and abs(sum(self.weights) - 1) > _ROUNDING:
            raise ValueError("the weights do not sum to 1")
        linear = sum(self.linear.values())
        if bool(self.linear) != bool(self.linear_window) or (self.linear and not self.weights):
            raise ValueError("weights, linear and linear_window do not go together")
        if self.linear and abs(linear - self.weights[-1]) > _ROUNDING:
            raise ValueError("the weights of linear do not sum to that of the linear forecast")
        return self

    def problem(self, hp: Hyperparameters) -> str | None:
        """A hyperparameter that no forecaster can have, or None."""
        return f"window {hp.window}" if hp.window > LONGEST_WINDOW else None

    def sizes(self) -> list[int]:
        """Numbers that the weight file must be large enough for."""
        sizes = self.inputs.sizes
        return [
            len(self.columns),
            self.horizon * max(1, len(self.head.levels)),
            self.linear_window,
            *sizes.future,
            *sizes.past,
            *sizes.static,
        ]

    def network(self, hp: Hyperparameters) -> nn.Module:
        """A new forecaster."""
        return make_network(hp, self.horizon, self.inputs.sizes, self.head.head())

    def shape(self, hp: Hyperparameters) -> Shape:
        """The networks' shape."""
        return covariate_shape(hp, self.horizon, self.inputs.sizes, self.head.head().outputs)

    def extras(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors beside the weights: the intervals' radii, the ranks of paths, the linear forecast."""
        shapes: dict[str, tuple[int, ...]] = {}
        if self.calibrated:
            shapes["radii"] = (len(LEVELS), len(self.columns), self.horizon)
        if self.paths:
            shapes["ranks"] = (self.paths, len(self.columns), self.horizon)
        if self.linear_window:
            shapes |= {"linear.weight": (self.horizon, self.linear_window), "linear.bias": (self.horizon,)}
            if self.head.probabilistic:
                shapes["linear.residuals"] = (len(self.columns), self.horizon, len(self.head.levels))
        return shapes

    @property
    def one_scale(self) -> bool:
        """Whether all series are on the same scale."""
        return len(self.ids) == 1 or self.scaling == "global"

    def wanted(self, gaps: Gaps, reading: DataConfig | None = None) -> PanelColumns:
        """The columns to read of a file.

        Args:
            gaps: What to do about missing rows and values.
            reading: What is said of this file: its `READING`.
        """
        inputs = self.inputs
        features = [*inputs.past, *inputs.future, *inputs.static]
        return PanelColumns(
            time=self.time,
            target=self.columns,
            series=self.series or "",
            past=[feature.name for feature in inputs.past],
            future=[feature.name for feature in inputs.future],
            static=[feature.name for feature in inputs.static],
            categorical=[feature.name for feature in features if feature.categories is not None],
            numeric=[feature.name for feature in features if feature.categories is None],
            gaps=gaps != "refuse",
            rules=RowRules(self.sort, self.repeated, self.resample, tuple(self.resample_sum), by_flag=False),
            options=self.form.options_with(reading),
            times=TimeReading(
                format=reading.time_format if reading is not None else None,
                day_first=reading.dayfirst if reading is not None else None,
                usual=INTEGER if self.freq is None else self.time_format,
            ),
        )

    def data(self, panel: Panel) -> ForecastData:
        """A panel of these columns on the scale of the training rows.

        A series that the model was not trained on is scaled by its known rows, unless all share a scale; such series
        and categories are logged.
        """
        scales = self._scales(panel)
        for name, categories in self.inputs.unseen(panel).items():
            shown = ", ".join(quoted(category) for category in categories[:3])
            shown += f", ... ({len(categories)} in all)" if len(categories) > 3 else ""
            _log.warning("column '%s': the model was not trained on %s; read as an unseen category", name, shown)
        return ForecastData.of(panel, self.inputs, scales, cuts=np.empty((0, 4), np.int64), horizon=self.horizon)

    def naive_of(self, ids: Sequence[str]) -> Floats:
        """What `mase` divides by, [series, columns]; NaN for a series that the model was not trained on."""
        known = dict(zip(self.ids, self.naive, strict=True))
        nothing = [None] * len(self.columns)
        return np.array([known.get(name, nothing) for name in ids], dtype=np.float64)  # None becomes NaN

    def _scales(self, panel: Panel) -> tuple[Floats, Floats]:
        known = {name: i for i, name in enumerate(self.ids)}
        mean, std = np.empty((2, len(panel.ids), len(self.columns)))
        new = []
        for i, name in enumerate(panel.ids):
            at = known.get(name, 0 if self.scaling == "global" or self.series is None else None)
            if name not in known and self.series is not None:
                new.append(i)
            if at is not None:
                mean[i], std[i] = self.mean[at], self.std[at]
            else:
                scaler = Standardizer.fit(panel.values[panel.rows(i)], f"series {panel.named([i])}")
                mean[i], std[i] = scaler.mean, scaler.std
        if new:
            how = "that of all series" if self.scaling == "global" else "that of their own rows"
            _log.warning(
                "%d series that the model was not trained on: %s; their scale is %s", len(new), panel.named(new), how
            )
        return mean, std


def upgraded(section: Mapping[str, Any]) -> dict[str, Any]:
    """A section in today's form. Older folders have another one for one series without covariates."""
    if section.get("kind") == "panel":
        return {**section, "kind": "forecast"}
    if section.get("kind") != "forecast" or "ids" in section:
        return dict(section)
    tables = {key: [section.get(key)] for key in ("mean", "std", "naive")}
    return {**section, **tables, "series": None, "scaling": "series", "gaps": "refuse", "inputs": {}, "ids": [""]}
