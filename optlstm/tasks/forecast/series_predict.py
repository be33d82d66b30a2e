"""A trained forecaster on new data: what its card says of the task, and forecasts in the data's units, in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Tensor, nn

from optlstm.data.scaling import Standardizer
from optlstm.data.windows import windows
from optlstm.errors import InputError
from optlstm.tasks.forecast.conformal import LEVELS
from optlstm.tasks.forecast.series_data import window_shape
from optlstm.training.factory import Shape
from optlstm.training.hparams import Hyperparameters
from optlstm.training.model import ForecasterConfig, LSTMForecaster

Floats = NDArray[np.float64]
_BATCH = 1024  # sequences at a time: what a core's cache likes
LONGEST_WINDOW = 10_000_000  # rows
_Text = Annotated[str, Field(max_length=1000)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0, le=2**53)]


def check_freq(value: str | None) -> str | None:
    """Raises ValueError for text that pandas takes for no frequency."""
    from pandas.tseries.frequencies import to_offset

    try:
        if value is not None:
            to_offset(value)
    except Exception as error:  # of many kinds, for text that nobody expected
        raise ValueError(f"{value!r} is no frequency") from error
    return value


class ForecastSection(BaseModel):
    """The card of a forecaster: columns, times, and the scale its networks work on."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["forecast"] = "forecast"
    time: _Text
    columns: Annotated[list[_Text], Field(min_length=1)]
    horizon: Annotated[int, Field(ge=1)]
    freq: Annotated[str, Field(max_length=32)] | None  # pandas alias; None for whole-numbered times
    step: _Count | None = None  # between whole-numbered times
    season: Annotated[int, Field(ge=1, le=2**31)]
    mean: list[_Finite]  # by column, of the training rows
    std: list[_Positive]
    naive: list[_Finite | None]  # by column: mean absolute error of the seasonal naive forecast of the training rows
    calibrated: _Count = 0  # windows behind the intervals' radii; 0: there are none

    @field_validator("freq")
    @classmethod
    def _pandas_knows_it(cls, value: str | None) -> str | None:
        return check_freq(value)

    @model_validator(mode="after")
    def _every_column_has_its_scale(self) -> ForecastSection:
        if len({len(self.columns), len(set(self.columns)), len(self.mean), len(self.std), len(self.naive)}) > 1:
            raise ValueError("columns, mean, std and naive are not of one length, or a column stands there twice")
        return self

    def problem(self, hp: Hyperparameters) -> str | None:
        """What no forecaster's hyperparameters can be, or None."""
        return f"window {hp.window}" if hp.window > LONGEST_WINDOW else None

    def sizes(self) -> list[int]:
        """Numbers that the weight file must be large enough for."""
        return [len(self.columns), self.horizon]

    def network(self, hp: Hyperparameters) -> nn.Module:
        return LSTMForecaster(ForecasterConfig.of(hp, horizon=self.horizon))

    def shape(self, hp: Hyperparameters) -> Shape:
        """Of the networks."""
        return window_shape(hp, self.horizon)

    def extras(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors beside the weights: the intervals' radii, on the standardised scale."""
        return {"radii": (len(LEVELS), len(self.columns), self.horizon)} if self.calibrated else {}

    def predictor(
        self, networks: Sequence[nn.Module], hps: Sequence[Hyperparameters], extras: Mapping[str, Tensor]
    ) -> Any:
        """The networks on files. hps: of each."""
        from optlstm.tasks.forecast.series_files import ForecastPredictor

        return ForecastPredictor(Forecaster(self, networks, max(hp.window for hp in hps)), extras.get("radii"))


class Forecaster:
    """One network or several, whose mean is the forecast. window: of the network that reads the most rows."""

    def __init__(self, section: ForecastSection, networks: Sequence[nn.Module], window: int) -> None:
        self.section, self.window = section, window
        self.networks = [network.eval() for network in networks]
        self.scaler = Standardizer(np.array(section.mean), np.array(section.std))

    def batches(self, values: Floats, first: range) -> Iterator[tuple[range, Floats]]:
        """Forecasts of many windows, a batch at a time.

        Args:
            values: [rows, columns] in the data's units.
            first: the first row that each window forecasts; `window` rows stand before each.

        Yields:
            The part of `first` it is about, and [members, windows, columns, horizon] in the data's units.

        Raises:
            InputError: the values are so large that a forecast is no finite number.
        """
        # Only the rows that are read: a file may be long, and the windows few.
        start = first.start - self.window
        with np.errstate(over="ignore"):  # infinity is noticed in the forecasts
            scaled = torch.from_numpy(self.scaler.transform(values[start : first.stop - 1]).astype(np.float32))
        view = windows(scaled, range(len(scaled)), self.window, 0, reach_back=False)  # [n, columns, window]
        size = max(1, _BATCH // view.shape[1])
        for at in range(0, len(view), size):
            part = view[at : at + size]
            forecasts = self._inverse(self.standardised(part))
            if not np.isfinite(forecasts).all():
                raise InputError(
                    f"data: no finite forecast from row {first[at] + 1} on; values there are too far from those of "
                    "the training rows"
                )
            yield first[at : at + len(part)], forecasts

    @torch.no_grad()
    def standardised(self, inputs: Tensor) -> Floats:
        """[windows, columns, window] -> [members, windows, columns, horizon], both on the standardised scale."""
        count, columns, window = inputs.shape
        flat = inputs.reshape(count * columns, window)
        each = [network(flat).reshape(count, columns, -1) for network in self.networks]
        return np.asarray(torch.stack(each).double().numpy())

    def _inverse(self, forecasts: Floats) -> Floats:
        return np.moveaxis(self.scaler.inverse(np.moveaxis(forecasts, -2, -1)), -1, -2)


class ForecastGraph(nn.Module):
    """All in one module: float64 [batch, window, columns] -> [batch, horizon, columns], in the data's units."""

    def __init__(self, forecaster: Forecaster) -> None:
        super().__init__()
        self.networks = nn.ModuleList(forecaster.networks)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.from_numpy(forecaster.scaler.mean))
        self.register_buffer("std", torch.from_numpy(forecaster.scaler.std))

    def forward(self, x: Tensor) -> Tensor:
        scaled = ((x - self.mean) / self.std).float().transpose(1, 2)  # [batch, columns, window]
        flat = scaled.reshape(-1, scaled.shape[2])
        each = [network(flat).double() for network in self.networks]  # [batch * columns, horizon] each
        mean = torch.stack(each).mean(dim=0).reshape(-1, scaled.shape[1], each[0].shape[1])
        return mean.transpose(1, 2) * self.std + self.mean
