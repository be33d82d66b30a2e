"""The LSTM body, which turns steps into features, and the forecaster, which turns a window into a forecast."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from optlstm.training.heads import POINT, Head
from optlstm.training.hparams import Hyperparameters
from optlstm.training.lengths import pool, run_lstm


class LSTMBody(nn.Module):
    """Steps [batch, steps, input_size] -> features [batch, output_size].

    The recurrent weights are dropped as in Merity et al. 2017 (AWD-LSTM): one mask per forward pass, on the weights and
    not on the state, which leaves the fused LSTM kernel in use. Layers of one width are one fused LSTM. The
    `grown_layers` on top are residual: steps + lstm(steps).
    """

    def __init__(self, hp: Hyperparameters, input_size: int) -> None:
        super().__init__()
        self.hp = hp
        directions = 2 if hp.bidirectional else 1
        widths = _widths(hp)
        fused_layers = hp.num_layers - hp.grown_layers if len(widths) == 1 else 1
        self.lstm_size = widths[-1] * directions  # numbers that the LSTM gives at each step
        self.output_size = hp.projection or self.lstm_size
        self.lstm = nn.LSTM(
            input_size,
            hp.hidden_size,
            fused_layers,
            batch_first=True,
            dropout=hp.dropout if fused_layers > 1 else 0.0,
            bidirectional=hp.bidirectional,
        )
        self.norm = nn.LayerNorm(self.lstm_size) if hp.layer_norm else nn.Identity()
        self.project = nn.Linear(self.lstm_size, hp.projection) if hp.projection else nn.Identity()
        self.drop = nn.Dropout(hp.dropout)
        initialise_lstm(self.lstm)
        above = [
            nn.LSTM(below * directions, width, batch_first=True, bidirectional=hp.bidirectional)
            for below, width in pairwise(widths)
        ]
        for layer in above:
            initialise_lstm(layer)
        self.above = nn.ModuleList(above)
        self.grown = nn.ModuleList(grown_layer(hp) for _ in range(hp.grown_layers))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x [batch, steps, input_size] -> [batch, output_size].

        lengths [batch]: where given, sequence i has lengths[i] steps, and what x holds behind them changes nothing.
        """
        steps = self._steps(x, lengths)  # [batch, steps, lstm_size]
        features = self._pool(steps, lengths)  # [batch, lstm_size]
        out: Tensor = self.drop(self.project(self.norm(features)))  # [batch, output_size]
        return out

    def each_step(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features at each step, of what the LSTM has read there: [batch, steps, output_size]. lengths: as there."""
        out: Tensor = self.drop(self.project(self.norm(self._steps(x, lengths))))
        return out

    def every_step(self, x: Tensor, span: int) -> Tensor:
        """Features after each step from the `span`-th on, pooled over the last `span` of them.

        They are those that `forward` gives of so many steps, but for the state that the LSTM comes with.

        Returns:
            [batch, steps - span + 1, output_size].
        """
        steps = self._steps(x, None)  # [batch, steps, lstm_size]
        if self.hp.pooling == "last":
            features = steps[:, span - 1 :]
        else:
            slide = F.max_pool1d if self.hp.pooling == "max" else F.avg_pool1d
            features = slide(steps.transpose(1, 2), span, stride=1).transpose(1, 2)
        out: Tensor = self.drop(self.project(self.norm(features)))
        return out

    def _steps(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        steps = self._run(self.lstm, x, lengths)  # [batch, steps, hidden_size * directions]
        for layer in self.above:
            steps = self._run(layer, self.drop(steps), lengths)
        for layer in self.grown:
            steps = steps + self._run(layer, self.drop(steps), lengths)
        return steps

    def _run(self, lstm: nn.Module, x: Tensor, lengths: Tensor | None) -> Tensor:
        share = self.hp.recurrent_dropout
        if lengths is not None and self.hp.bidirectional:
            return run_lstm(lstm, x, lengths, share if self.training else 0.0)
        if not (self.training and share > 0):
            steps: Tensor = lstm(x)[0]
            return steps
        recurrent = ((n, p) for n, p in lstm.named_parameters() if n.startswith("weight_hh"))
        dropped = {name: F.dropout(weight, share) for name, weight in recurrent}
        steps = functional_call(lstm, dropped, (x,))[0]
        return steps

    @property
    def _width(self) -> int:
        """What the last layer gives at each step in one direction."""
        return self.lstm_size // (2 if self.hp.bidirectional else 1)

    def _pool(self, steps: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is not None:
            return pool(steps, lengths, self.hp.pooling, self.hp.pooled_width or self._width)
        if self.hp.pooling == "mean":
            return steps.mean(dim=1)
        if self.hp.pooling == "max":
            return steps.amax(dim=1)
        if not self.hp.bidirectional:
            return steps[:, -1]
        hidden = self._width
        # Each direction has read the whole sequence at its own end: the last step forward, the first backward.
        return torch.cat([steps[:, -1, :hidden], steps[:, 0, hidden:]], dim=1)


class LSTMForecaster(nn.Module):
    """A window of one sequence [batch, window] -> its next rows [batch, horizon], all at once ("direct" forecasting).

    Of a head with several outputs [batch, horizon, outputs]: what they mean, the head says.
    The window is normalised by itself and cut into patches (Nie et al. 2023): an LSTM step reads `patch` rows.
    The linear skip is NLinear (Zeng et al. 2022); solved, the LSTM learns its residual (Zhang 2003).
    """

    def __init__(self, hp: Hyperparameters, horizon: int, head: Head = POINT) -> None:
        super().__init__()
        self.hp, self.out = hp, head
        self.body = LSTMBody(hp, hp.patch)
        self.head = nn.Linear(self.body.output_size, horizon * head.outputs)
        self.skip = linear_skip(hp, horizon)
        if hp.linear_skip == "solved":
            nn.init.zeros_(self.head.weight)  # so that training starts from the solution

    def forward(self, x: Tensor) -> Tensor:
        """x [batch, window] -> [batch, horizon(, outputs)], on one scale. Of a longer x the newest rows are read."""
        x = x[:, -self.hp.window :]
        if self.hp.supervision == "every_step":
            return self.every_step(x)[:, -1]
        level, spread = level_and_spread(x, self.hp.window_norm)  # [batch, 1] each
        window = (x - level) / spread  # [batch, window]
        return self._forecast(self.body(patches(window, self.hp.patch)), window, level, spread)

    def every_step(self, x: Tensor) -> Tensor:
        """x [batch, window + k * patch] -> [batch, 1 + k, horizon(, outputs)]: after the window and each patch."""
        stretch = Stretch.of(x, self.hp)
        features = self.body.every_step(stretch.steps, stretch.span)
        return self._forecast(features, stretch.windows, stretch.level, stretch.spread)

    def _forecast(self, features: Tensor, window: Tensor, level: Tensor | float, spread: Tensor | float) -> Tensor:
        raw = by_step(self.head(features), self.out.outputs)  # [..., horizon(, outputs)]
        shift = None if self.skip is None else self.skip(window)  # [..., horizon]
        return self.out.place(raw, shift, level, spread)


def by_step(raw: Tensor, outputs: int) -> Tensor:
    """[..., horizon * outputs] -> [..., horizon, outputs]; of one output [..., horizon]."""
    return raw if outputs == 1 else raw.reshape(*raw.shape[:-1], -1, outputs)


def linear_skip(hp: Hyperparameters, horizon: int) -> nn.Linear | None:
    """A map [batch, window] -> [batch, horizon], 0 at first. One that is solved is not trained: the task sets it."""
    if not hp.linear_skip:
        return None
    skip = nn.Linear(hp.window, horizon, bias=False)
    nn.init.zeros_(skip.weight)
    skip.requires_grad_(hp.linear_skip is True)
    return skip


def level_and_spread(x: Tensor, norm: str) -> tuple[Tensor | float, Tensor | float]:
    """What `window_norm` takes out of each window [..., window]: what is subtracted, then what is divided by."""
    if norm == "last":
        return x[..., -1:], 1.0
    if norm == "mean_std":
        variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
        return mean, torch.sqrt(variance + 1e-5)  # a flat window has no spread to divide by
    return 0.0, 1.0


def patches(window: Tensor, patch: int) -> Tensor:
    """[batch, window] -> [batch, steps, patch]; the newest row always ends the last patch."""
    missing = -window.shape[1] % patch
    if missing:
        window = torch.cat([window[:, :1].expand(-1, missing), window], dim=1)  # [batch, steps * patch]
    return window.reshape(window.shape[0], -1, patch)


@dataclass(frozen=True)
class Stretch:
    """A window and the patches behind it, as a network reads them that forecasts after each.

    With `window_norm` a step is relative to the value before its patch, and a forecast to the last value: what a later
    step knows can be no part of an earlier one. With `mean_std` both are in units of the deviation in the window that
    ends there; a step that no window ends with, of the first window's.

    steps: [batch, steps, patch].
    windows: [batch, supervised, window], normalised; level, spread: what that took out, [batch, supervised, 1] or one.
    span: steps of a window.
    """

    steps: Tensor
    windows: Tensor
    level: Tensor | float
    spread: Tensor | float
    span: int

    @classmethod
    def of(cls, x: Tensor, hp: Hyperparameters) -> Stretch:
        """x [batch, window + k * patch]."""
        steps = patches(x, hp.patch)  # [batch, steps, patch]
        rows, span = steps.flatten(1), -(-hp.window // hp.patch)
        windows = rows[:, rows.shape[1] - x.shape[1] :].unfold(1, hp.window, hp.patch)  # [batch, supervised, window]
        level, spread = level_and_spread(windows, hp.window_norm)
        if hp.window_norm != "none":
            level = windows[..., -1:]
            steps = steps - torch.cat([steps[:, :1, :1], steps[:, :-1, -1:]], dim=1)
        if isinstance(spread, Tensor):
            steps = steps / torch.cat([spread[:, :1].expand(-1, span - 1, -1), spread], dim=1)
        return cls(steps, (windows - level) / spread, level, spread, span)


def _widths(hp: Hyperparameters) -> list[int]:
    """Units of each layer, the first first; of that one alone where all have as many."""
    sizes = [hp.hidden_size, hp.hidden_size_2 or hp.hidden_size, hp.hidden_size_3 or hp.hidden_size]
    widths = [sizes[min(layer, 2)] for layer in range(hp.num_layers)]
    return widths if len(set(widths)) > 1 else widths[:1]


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


def grown_layer(hp: Hyperparameters) -> nn.LSTM:
    """A layer to go on top of a trained LSTM: its output [batch, steps, lstm_size] is exactly 0 until it is trained.

    Its cell candidates do not see the input yet, so cell and output stay at the 0 they start from. The gates are as in
    any new layer, and the candidates' input weights get a gradient from the first step on.
    """
    hidden = hp.hidden_size
    size = 2 * hidden if hp.bidirectional else hidden
    layer = nn.LSTM(size, hidden, batch_first=True, bidirectional=hp.bidirectional)
    initialise_lstm(layer)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("weight_ih"):
                parameter[2 * hidden : 3 * hidden] = 0.0
    return layer


def count_parameters(network: nn.Module) -> int:
    """How many numbers the network learns."""
    return sum(math.prod(p.shape) for p in network.parameters())
