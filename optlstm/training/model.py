"""The LSTM body, which turns steps into features, and the forecaster, which turns a window into a forecast."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from optlstm.training.hparams import Hyperparameters
from optlstm.training.lengths import pool, run_lstm


@dataclass(frozen=True, kw_only=True)
class BodyConfig:
    """All that shapes an LSTMBody. `input_size`: numbers per step; the rest is named as in Hyperparameters.

    `num_layers` counts all layers, the `grown_layers` on top included. `above`: units of the layers above the first
    where they differ from it; empty where all layers are one fused LSTM.
    """

    input_size: int
    hidden_size: int
    num_layers: int
    bidirectional: bool
    dropout: float
    recurrent_dropout: float
    pooling: str
    layer_norm: bool
    projection: int
    grown_layers: int = 0
    above: tuple[int, ...] = ()

    @classmethod
    def of(cls, hp: Hyperparameters, *, input_size: int) -> BodyConfig:
        """The body that `hp` asks for."""
        sizes = [hp.hidden_size_2 or hp.hidden_size, hp.hidden_size_3 or hp.hidden_size]
        above = [sizes[min(layer, 1)] for layer in range(hp.num_layers - 1)]
        return cls(
            input_size=input_size,
            hidden_size=hp.hidden_size,
            num_layers=hp.num_layers,
            bidirectional=hp.bidirectional,
            dropout=hp.dropout,
            recurrent_dropout=hp.recurrent_dropout,
            pooling=hp.pooling,
            layer_norm=hp.layer_norm,
            projection=hp.projection,
            grown_layers=hp.grown_layers,
            above=tuple(above) if set(above) - {hp.hidden_size} else (),
        )

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def lstm_size(self) -> int:
        """Numbers that the LSTM gives at each step."""
        return (self.above[-1] if self.above else self.hidden_size) * self.directions

    @property
    def output_size(self) -> int:
        """Numbers that the body gives for a whole sequence."""
        return self.projection or self.lstm_size


@dataclass(frozen=True, kw_only=True)
class ForecasterConfig:
    """All that shapes an LSTMForecaster. `window` and `horizon` in rows; `body.input_size` is the patch, in rows."""

    body: BodyConfig
    window: int
    horizon: int
    window_norm: str
    linear_skip: bool

    @classmethod
    def of(cls, hp: Hyperparameters, *, horizon: int) -> ForecasterConfig:
        """The forecaster that `hp` asks for."""
        return cls(
            body=BodyConfig.of(hp, input_size=hp.patch),
            window=hp.window,
            horizon=horizon,
            window_norm=hp.window_norm,
            linear_skip=hp.linear_skip,
        )


class LSTMBody(nn.Module):
    """Steps [batch, steps, input_size] -> features [batch, output_size].

    The recurrent weights are dropped as in Merity et al. 2017 (AWD-LSTM): one mask per forward pass, on the weights and
    not on the state, which leaves the fused LSTM kernel in use. Grown layers are residual: steps + lstm(steps).
    """

    def __init__(self, config: BodyConfig) -> None:
        super().__init__()
        self.config = config
        fused_layers = 1 if config.above else config.num_layers - config.grown_layers
        self.lstm = nn.LSTM(
            config.input_size,
            config.hidden_size,
            fused_layers,
            batch_first=True,
            dropout=config.dropout if fused_layers > 1 else 0.0,
            bidirectional=config.bidirectional,
        )
        self.norm = nn.LayerNorm(config.lstm_size) if config.layer_norm else nn.Identity()
        self.project = nn.Linear(config.lstm_size, config.projection) if config.projection else nn.Identity()
        self.drop = nn.Dropout(config.dropout)
        initialise_lstm(self.lstm)
        below = (config.hidden_size, *config.above)
        above = [
            nn.LSTM(size * config.directions, own, batch_first=True, bidirectional=config.bidirectional)
            for size, own in zip(below, config.above, strict=False)
        ]
        for layer in above:
            initialise_lstm(layer)
        self.above = nn.ModuleList(above)
        self.grown = nn.ModuleList(grown_layer(config) for _ in range(config.grown_layers))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x [batch, steps, input_size] -> [batch, output_size].

        lengths [batch]: where given, sequence i has lengths[i] steps, and what x holds behind them changes nothing.
        """
        steps = self._steps(x, lengths)  # [batch, steps, lstm_size]
        features = self._pool(steps, lengths)  # [batch, lstm_size]
        out: Tensor = self.drop(self.project(self.norm(features)))  # [batch, output_size]
        return out

    def _steps(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        steps = self._run(self.lstm, x, lengths)  # [batch, steps, hidden_size * directions]
        for layer in self.above:
            steps = self._run(layer, self.drop(steps), lengths)
        for layer in self.grown:
            steps = steps + self._run(layer, self.drop(steps), lengths)
        return steps

    def _run(self, lstm: nn.Module, x: Tensor, lengths: Tensor | None) -> Tensor:
        share = self.config.recurrent_dropout
        if lengths is not None and self.config.bidirectional:
            return run_lstm(lstm, x, lengths, share if self.training else 0.0)
        if not (self.training and share > 0):
            steps: Tensor = lstm(x)[0]
            return steps
        recurrent = ((n, p) for n, p in lstm.named_parameters() if n.startswith("weight_hh"))
        dropped = {name: F.dropout(weight, share) for name, weight in recurrent}
        steps = functional_call(lstm, dropped, (x,))[0]
        return steps

    def _pool(self, steps: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is not None:
            return pool(steps, lengths, self.config.pooling, self.config.hidden_size)
        if self.config.pooling == "mean":
            return steps.mean(dim=1)
        if self.config.pooling == "max":
            return steps.amax(dim=1)
        if not self.config.bidirectional:
            return steps[:, -1]
        hidden = self.config.lstm_size // 2
        # Each direction has read the whole sequence at its own end: the last step forward, the first backward.
        return torch.cat([steps[:, -1, :hidden], steps[:, 0, hidden:]], dim=1)


class LSTMForecaster(nn.Module):
    """A window of one sequence [batch, window] -> its next rows [batch, horizon], all at once ("direct" forecasting).

    The window is normalised by itself and cut into patches (Nie et al. 2023): an LSTM step reads `patch` rows.
    The linear skip is NLinear (Zeng et al. 2022).
    """

    def __init__(self, config: ForecasterConfig) -> None:
        super().__init__()
        self.config = config
        self.body = LSTMBody(config.body)
        self.head = nn.Linear(config.body.output_size, config.horizon)
        self.skip = nn.Linear(config.window, config.horizon, bias=False) if config.linear_skip else None
        if self.skip is not None:
            nn.init.zeros_(self.skip.weight)

    def forward(self, x: Tensor) -> Tensor:
        """x [batch, window] -> [batch, horizon], both on the same scale. Of a longer x the newest rows are read."""
        x = x[:, -self.config.window :]
        level, spread = level_and_spread(x, self.config.window_norm)  # [batch, 1] each
        window = (x - level) / spread  # [batch, window]
        steps = patches(window, self.config.body.input_size)
        forecast: Tensor = self.head(self.body(steps))  # [batch, horizon]
        if self.skip is not None:
            forecast = forecast + self.skip(window)
        return forecast * spread + level


def level_and_spread(x: Tensor, norm: str) -> tuple[Tensor | float, Tensor | float]:
    """What `window_norm` takes out of each window [batch, window]: what is subtracted, then what is divided by."""
    if norm == "last":
        return x[:, -1:], 1.0
    if norm == "mean_std":
        variance, mean = torch.var_mean(x, dim=1, correction=0, keepdim=True)
        return mean, torch.sqrt(variance + 1e-5)  # a flat window has no spread to divide by
    return 0.0, 1.0


def patches(window: Tensor, patch: int) -> Tensor:
    """[batch, window] -> [batch, steps, patch]; the newest row always ends the last patch."""
    missing = -window.shape[1] % patch
    if missing:
        window = torch.cat([window[:, :1].expand(-1, missing), window], dim=1)  # [batch, steps * patch]
    return window.reshape(window.shape[0], -1, patch)


def initialise_lstm(lstm: nn.LSTM) -> None:
    """Set the weights of `lstm` as is good practice, gate by gate.

    Input weights: Xavier (Glorot and Bengio 2010). Recurrent weights: orthogonal (Saxe et al. 2013). Biases: 0, but the
    forget gate's 1 (Jozefowicz et al. 2015), in one of torch's two bias vectors only, because they are added.
    """
    hidden = lstm.hidden_size
    with torch.no_grad():
        for name, parameter in lstm.named_parameters():
            if name.startswith("bias"):
                parameter.zero_()
                if name.startswith("bias_ih"):
                    parameter[hidden : 2 * hidden] = 1.0  # torch's gate order: input, forget, cell, output
                continue
            start = nn.init.orthogonal_ if name.startswith("weight_hh") else nn.init.xavier_uniform_
            for gate in torch.split(parameter, hidden):
                start(gate)


def grown_layer(config: BodyConfig) -> nn.LSTM:
    """A layer to go on top of a trained LSTM: its output [batch, steps, lstm_size] is exactly 0 until it is trained.

    Its cell candidates do not see the input yet, so cell and output stay at the 0 they start from. The gates are as in
    any new layer, and the candidates' input weights get a gradient from the first step on.
    """
    hidden = config.hidden_size
    layer = nn.LSTM(config.lstm_size, hidden, batch_first=True, bidirectional=config.bidirectional)
    initialise_lstm(layer)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("weight_ih"):
                parameter[2 * hidden : 3 * hidden] = 0.0
    return layer


def count_parameters(network: nn.Module) -> int:
    """How many numbers the network learns."""
    return sum(math.prod(p.shape) for p in network.parameters())
