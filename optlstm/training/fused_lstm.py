"""The forecasters of several lanes as one network: LSTMForecaster's arithmetic with a lane dimension in front.

A lane is one trial's network. Weights are stacked, [lanes, ...] each under the name it has in the network, so that one
matrix product serves all lanes. torch's own LSTM kernels know no lanes; the steps are a loop here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from optlstm.training.model import BodyConfig, ForecasterConfig, level_and_spread, patches

Weights = Mapping[str, Tensor]


class Masks:
    """Each lane's dropout masks, drawn as that lane's network draws them when it is trained alone.

    On a CPU they are the same masks bit for bit; on CUDA, where torch and cuDNN draw in kernels of their own, only the
    same in law.

    Args:
        configs: each lane's.
        generators: each lane's random state, on the device of the network.
    """

    def __init__(self, configs: Sequence[BodyConfig], generators: Sequence[torch.Generator]) -> None:
        self._generators = generators
        self.features = [config.dropout for config in configs]
        self.recurrent = [config.recurrent_dropout for config in configs]

    def draw(self, shares: Sequence[float], *shape: int) -> Tensor | None:
        """[lanes, *shape]: 0 with a lane's share, else 1 / (1 - share); None where no lane drops anything."""
        if not any(shares):
            return None
        return torch.stack([self._one(lane, share, shape) for lane, share in enumerate(shares)])

    def _one(self, lane: int, share: float, shape: tuple[int, ...]) -> Tensor:
        generator = self._generators[lane]
        if share == 0:
            return torch.ones(shape, device=generator.device)
        kept = torch.empty(shape, device=generator.device).bernoulli_(1 - share, generator=generator)
        return kept.div_(1 - share)


def fused_forecast(config: ForecasterConfig, weights: Weights, x: Tensor, masks: Masks) -> Tensor:
    """x [lanes, batch, window] -> [lanes, batch, horizon], each lane by its own weights, as in training.

    config: any lane's; the lanes' configs differ in their dropout alone, which `masks` knows.
    """
    lanes, batch, _ = x.shape
    flat = x[..., -config.window :].flatten(0, 1)  # [lanes * batch, window]
    level, spread = level_and_spread(flat, config.window_norm)
    window = (flat - level) / spread
    steps = patches(window, config.body.input_size)  # [lanes * batch, steps, patch]
    steps = steps.reshape(lanes, batch, *steps.shape[1:]).permute(2, 0, 3, 1)  # [steps, lanes, patch, batch]
    features = _body(config.body, weights, steps, masks)
    forecast = _linear(weights, "head", features)  # [lanes, batch, horizon]
    if config.linear_skip:
        forecast = forecast + window.reshape(lanes, batch, -1) @ weights["skip.weight"].mT
    return (forecast.flatten(0, 1) * spread + level).reshape(lanes, batch, -1)


def _body(config: BodyConfig, weights: Weights, x: Tensor, masks: Masks) -> Tensor:
    """x [steps, lanes, input_size, batch] -> [lanes, batch, output_size]."""
    ends = ["", "_reverse"] if config.bidirectional else [""]
    names = [f"l{layer}{end}" for layer in range(config.num_layers) for end in ends]
    shape = weights["body.lstm.weight_hh_l0"].shape[1:]
    dropped = {name: masks.draw(masks.recurrent, *shape) for name in names}  # before the first step, in torch's order
    for layer in range(config.num_layers):
        if layer:
            mask = masks.draw(masks.features, x.shape[0], x.shape[3], x.shape[2])
            x = x if mask is None else x * mask.permute(1, 0, 3, 2)
        x = _layer(weights, [f"l{layer}{end}" for end in ends], dropped, x)
    features = _pool(config, x)
    if config.layer_norm:
        normal = F.layer_norm(features, features.shape[2:])
        features = normal * weights["body.norm.weight"][:, None] + weights["body.norm.bias"][:, None]
    if config.projection:
        features = _linear(weights, "body.project", features)
    mask = masks.draw(masks.features, *features.shape[1:])
    return features if mask is None else features * mask


def _layer(weights: Weights, names: Sequence[str], dropped: Mapping[str, Tensor | None], x: Tensor) -> Tensor:
    """One layer over x [steps, lanes, inputs, batch] -> [steps, lanes, hidden * directions, batch].

    The second direction runs beside the first, as lanes of their own that read the sequence from its end.
    """
    joined = torch.cat([_joined(weights, name, dropped[name]) for name in names])  # [lanes * directions, ...]
    if len(names) == 1:
        return lstm_steps(x, joined)
    forward, reverse = lstm_steps(torch.cat([x, x.flip(0)], dim=1), joined).chunk(2, dim=1)
    return torch.cat([forward, reverse.flip(0)], dim=2)


def _joined(weights: Weights, name: str, mask: Tensor | None) -> Tensor:
    """A layer's weights as one matrix a lane: of the input, of the constant 1, and of the state."""
    recurrent = weights[f"body.lstm.weight_hh_{name}"]
    recurrent = recurrent if mask is None else recurrent * mask
    bias = weights[f"body.lstm.bias_ih_{name}"] + weights[f"body.lstm.bias_hh_{name}"]
    return torch.cat([weights[f"body.lstm.weight_ih_{name}"], bias[:, :, None], recurrent], dim=2)


def _pool(config: BodyConfig, steps: Tensor) -> Tensor:
    """[steps, lanes, size, batch] -> [lanes, batch, size]."""
    if config.pooling == "mean":
        return steps.mean(dim=0).mT
    if config.pooling == "max":
        return steps.amax(dim=0).mT
    if not config.bidirectional:
        return steps[-1].mT
    half = config.hidden_size
    return torch.cat([steps[-1, :, :half], steps[0, :, half:]], dim=1).mT


def _linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    """[lanes, batch, inputs] -> [lanes, batch, outputs]."""
    return torch.baddbmm(weights[f"{name}.bias"][:, None], x, weights[f"{name}.weight"].mT)


def lstm_steps(x: Tensor, weight: Tensor) -> Tensor:
    """An LSTM from a state of 0. x [steps, lanes, inputs, batch] -> states [steps, lanes, hidden, batch].

    The batch comes last, so that every gate of a lane is one stretch of memory.

    weight: [lanes, 4 * hidden, inputs + 1 + hidden], the bias in the column between input and state; the gates are in
    torch's order: input, forget, cell, output.
    """
    states: Tensor = _LSTMSteps.apply(x, weight)  # type: ignore[no-untyped-call]
    return states


class _LSTMSteps(torch.autograd.Function):
    """The loop and its gradient by hand: autograd would record and replay every operation of every step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        steps, lanes, inputs, batch = x.shape
        hidden, width = weight.shape[1] // 4, weight.shape[2]
        read = x.new_empty(steps + 1, lanes, width, batch)  # what each step reads: its input, 1, the state before it
        read[:-1, :, :inputs] = x
        read[:, :, inputs] = 1.0
        states = read[:, :, inputs + 1 :]
        states[0] = 0.0
        gates = x.new_empty(steps, lanes, 4 * hidden, batch)
        cells = x.new_zeros(steps + 1, lanes, hidden, batch)
        bounded = torch.empty_like(cells[1:])  # tanh(cell)
        opened = gates[:, :, : 2 * hidden].unbind()  # input and forget gate side by side
        i, f, g, o = (gate.unbind() for gate in gates.chunk(4, dim=2))
        for t, (now, gate, cell, tanh) in enumerate(zip(read[:-1], gates, cells[1:], bounded, strict=True)):
            torch.bmm(weight, now, out=gate)
            opened[t].sigmoid_()
            g[t].tanh_()
            o[t].sigmoid_()
            torch.mul(f[t], cells[t], out=cell).addcmul_(i[t], g[t])
            torch.mul(o[t], torch.tanh(cell, out=tanh), out=states[t + 1])
        ctx.save_for_backward(weight, read, gates, cells, bounded)
        return states[1:]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, wanted: Tensor) -> tuple[Tensor | None, Tensor]:
        weight, read, gates, cells, bounded = ctx.saved_tensors
        steps, lanes, hidden, batch = bounded.shape
        inputs = weight.shape[2] - 1 - hidden
        i, f, g, o = (gate.unbind() for gate in gates.chunk(4, dim=2))
        slope = torch.empty_like(gates[0])  # of the loss by what goes into the gates
        to_i, to_f, to_g, to_o = slope.chunk(4, dim=1)
        by_weight = torch.zeros_like(weight)
        by_read = read.new_empty(steps, lanes, weight.shape[2], batch)
        by_state, by_cell = torch.zeros_like(bounded[0]), torch.zeros_like(bounded[0])
        across = weight.mT
        sigmoid, tanh = torch.ops.aten.sigmoid_backward.grad_input, torch.ops.aten.tanh_backward.grad_input
        for t in range(steps - 1, -1, -1):
            by_state = by_state + wanted[t]
            by_cell += torch.ops.aten.tanh_backward(by_state * o[t], bounded[t])
            sigmoid(by_cell * g[t], i[t], grad_input=to_i)
            sigmoid(by_cell * cells[t], f[t], grad_input=to_f)
            tanh(by_cell * i[t], g[t], grad_input=to_g)
            sigmoid(by_state * bounded[t], o[t], grad_input=to_o)
            by_cell *= f[t]
            by_weight.baddbmm_(slope, read[t].mT)
            by_state = torch.bmm(across, slope, out=by_read[t])[:, inputs + 1 :]
        return by_read[:, :, :inputs] if ctx.needs_input_grad[0] else None, by_weight
