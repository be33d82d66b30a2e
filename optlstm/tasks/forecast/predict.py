"""A trained forecaster of many series (or of one with covariates): what its card says, and its networks on a panel."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Tensor, nn

from optlstm.data.calendar import PERIODS
from optlstm.data.panel import Panel
from optlstm.data.panel_reader import PanelColumns
from optlstm.data.scaling import Standardizer
from optlstm.tasks.forecast.conformal import LEVELS
from optlstm.tasks.forecast.data import Inputs, Integers, PanelData, covariate_shape, scaled
from optlstm.tasks.forecast.problem import Rows, make_network
from optlstm.tasks.forecast.series_predict import LONGEST_WINDOW, check_freq
from optlstm.tasks.forecast.series_problem import forecast
from optlstm.training.factory import Shape
from optlstm.training.hparams import Hyperparameters

Floats = NDArray[np.float64]
_BATCH = 1024  # sequences at a time: what a core's cache likes
_Text = Annotated[str, Field(max_length=10_000)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0, le=2**53)]
_log = logging.getLogger(__name__)


class PanelSection(BaseModel):
    """The card of a forecaster of many series: columns, times, covariates, and each series' scale."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["panel"] = "panel"
    series: _Text | None  # column of the series' names; None: one series
    time: _Text
    columns: Annotated[list[_Text], Field(min_length=1)]
    horizon: Annotated[int, Field(ge=1)]
    freq: Annotated[str, Field(max_length=32)] | None  # pandas alias; None for whole-numbered times
    step: _Count | None = None  # between whole-numbered times
    season: Annotated[int, Field(ge=1, le=2**31)]
    scaling: Literal["series", "global"]
    gaps: Literal["refuse", "interpolate"]
    inputs: Inputs
    ids: Annotated[list[_Text], Field(min_length=1)]
    mean: list[list[_Finite]]  # by series and column, of the training rows
    std: list[list[_Positive]]
    naive: list[list[_Finite | None]]  # mean absolute error of the seasonal naive forecast of the training rows
    calibrated: _Count = 0  # windows behind the intervals' radii; 0: there are none

    @field_validator("freq")
    @classmethod
    def _pandas_knows_it(cls, value: str | None) -> str | None:
        return check_freq(value)

    @model_validator(mode="after")
    def _every_series_has_its_scale(self) -> PanelSection:
        tables = (self.mean, self.std, self.naive)
        if any(len(table) != len(self.ids) for table in tables) or len(set(self.ids)) < len(self.ids):
            raise ValueError("ids, mean, std and naive are not of one length, or a series stands there twice")
        if any(len(row) != len(self.columns) for table in tables for row in table):
            raise ValueError("mean, std or naive has another number of columns")
        if set(self.inputs.calendar) - set(PERIODS):
            raise ValueError("an unknown calendar feature")
        return self

    def problem(self, hp: Hyperparameters) -> str | None:
        """What no forecaster's hyperparameters can be, or None."""
        return f"window {hp.window}" if hp.window > LONGEST_WINDOW else None

    def sizes(self) -> list[int]:
        """Numbers that the weight file must be large enough for."""
        sizes = self.inputs.sizes
        return [len(self.columns), self.horizon, *sizes.future, *sizes.past, *sizes.static]

    def network(self, hp: Hyperparameters) -> nn.Module:
        """A new forecaster."""
        return make_network(hp, self.horizon, self.inputs.sizes)

    def shape(self, hp: Hyperparameters) -> Shape:
        """Of the networks."""
        return covariate_shape(hp, self.horizon, self.inputs.sizes)

    def extras(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors beside the weights: the intervals' radii, on the standardised scale."""
        return {"radii": (len(LEVELS), len(self.columns), self.horizon)} if self.calibrated else {}

    def predictor(
        self, networks: Sequence[nn.Module], hps: Sequence[Hyperparameters], extras: Mapping[str, Tensor]
    ) -> Any:
        """The networks on files. hps: of each."""
        from optlstm.tasks.forecast.files import PanelPredictor

        return PanelPredictor(PanelForecaster(self, networks, max(hp.window for hp in hps)), extras.get("radii"))

    def wanted(self) -> PanelColumns:
        """The columns to read of a file."""
        inputs = self.inputs
        features = [*inputs.past, *inputs.future, *inputs.static]
        return PanelColumns(
            time=self.time,
            target=self.columns,
            series=self.series,
            past=[feature.name for feature in inputs.past],
            future=[feature.name for feature in inputs.future],
            static=[feature.name for feature in inputs.static],
            categorical=[feature.name for feature in features if feature.categories is not None],
            numeric=[feature.name for feature in features if feature.categories is None],
            gaps=self.gaps == "interpolate",
        )

    def data(self, panel: Panel) -> PanelData:
        """A panel of these columns on the scale of the training rows.

        A series that training did not have is on the scale of its own known rows; that, and categories it did not have,
        are logged.
        """
        mean, std = self._scales(panel)
        for name, categories in self.inputs.unseen(panel).items():
            shown = ", ".join(f"'{category}'" for category in categories[:3])
            shown += f", ... ({len(categories)} in all)" if len(categories) > 3 else ""
            _log.warning("column '%s': the model was not trained on %s; read as an unseen category", name, shown)
        return PanelData(
            values=scaled(panel, mean, std),
            covariates=self.inputs.by_row(panel),
            static=self.inputs.by_series(panel),
            sizes=self.inputs.sizes,
            ids=panel.ids,
            columns=tuple(self.columns),
            mean=mean,
            std=std,
            cuts=np.empty((0, 4), dtype=np.int64),
            horizon=self.horizon,
            epoch_windows=1,
        )

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
                own = Standardizer.fit(panel.values[panel.rows(i)])
                mean[i], std[i] = own.mean, own.std
        if new:
            how = "that of all series" if self.scaling == "global" else "that of their own rows"
            _log.warning(
                "%d series that the model was not trained on: %s; their scale is %s", len(new), panel.named(new), how
            )
        return mean, std


class PanelForecaster:
    """One network or several, whose mean is the forecast. window: of the network that reads the most rows."""

    def __init__(self, section: PanelSection, networks: Sequence[nn.Module], window: int) -> None:
        self.section, self.window = section, window
        self.networks = [network.eval() for network in networks]

    @torch.no_grad()
    def batches(self, data: PanelData, first: Integers, series: Integers) -> Iterator[tuple[slice, Floats]]:
        """Forecasts that begin at the rows `first` [n] of `series` [n], a batch at a time.

        Before each are `window` rows of its series, and from it on `horizon` rows, whose targets are not read.

        Yields:
            Which of them, and [members, batch, columns, horizon] on the standardised scale; infinite or NaN where the
            values are too far from those of training.
        """
        rows, size = Rows(data, torch.device("cpu")), max(1, _BATCH // len(data.columns))
        for at in range(0, len(first), size):
            part = slice(at, min(at + size, len(first)))
            begin = torch.from_numpy(first[part] - self.window)
            inputs, _, *more = rows.take(begin, torch.from_numpy(series[part]), self.window, data.horizon)
            each = [forecast(network, inputs, *more) for network in self.networks]
            yield part, np.asarray(torch.stack(each).double().numpy())
