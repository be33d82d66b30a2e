"""Sequences of different lengths in one batch, without a step of padding in any result.

Packed sequences would do the same; on a CPU they cost 1.3 to 2 times as much, because they leave the fused kernel. A
forward direction never sees the padding behind a sequence before the sequence has ended; a backward direction is run as
a forward one over the sequence turned round within its length.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def run_lstm(lstm: nn.Module, x: Tensor, lengths: Tensor, recurrent_dropout: float) -> Tensor:
    """The steps of a bidirectional nn.LSTM for x [batch, steps, inputs]; those behind a sequence's end mean nothing.

    The network's mode says whether the LSTM's dropout between layers is in force.

    Returns:
        [batch, steps, 2 * hidden].
    """
    lstm = cast("nn.LSTM", lstm)
    weights: dict[str, Tensor] = dict(lstm.named_parameters())
    back = turned(lengths, x.shape[1])  # [batch, steps]
    for layer in range(lstm.num_layers):
        if layer:
            x = F.dropout(x, lstm.dropout, lstm.training)
        forward = _one_way(x, weights, f"_l{layer}", lstm.hidden_size, recurrent_dropout)
        reverse = _one_way(_taken(x, back), weights, f"_l{layer}_reverse", lstm.hidden_size, recurrent_dropout)
        x = torch.cat([forward, _taken(reverse, back)], dim=2)
    return x


def pool(steps: Tensor, lengths: Tensor, pooling: str, hidden: int) -> Tensor:
    """Steps [batch, steps, features] -> [batch, features], over the lengths[i] steps of each sequence.

    `last`: each direction (`hidden` features each) where it has read the whole sequence.
    """
    if pooling == "last":
        last = steps[torch.arange(len(steps), device=steps.device), lengths - 1]  # [batch, features]
        return torch.cat([last[:, :hidden], steps[:, 0, hidden:]], dim=1)
    behind = (torch.arange(steps.shape[1], device=steps.device) >= lengths[:, None])[:, :, None]
    if pooling == "max":
        return steps.masked_fill(behind, -torch.inf).amax(dim=1)
    return steps.masked_fill(behind, 0.0).sum(dim=1) / lengths[:, None]


def turned(lengths: Tensor, steps: int) -> Tensor:
    """For each sequence its steps from the last to the first, then any, as [batch, steps] of positions."""
    return (lengths[:, None] - 1 - torch.arange(steps, device=lengths.device)).clamp(min=0)


def _taken(x: Tensor, positions: Tensor) -> Tensor:
    return x.gather(1, positions[:, :, None].expand(-1, -1, x.shape[2]))


def _one_way(x: Tensor, weights: dict[str, Tensor], suffix: str, hidden: int, recurrent_dropout: float) -> Tensor:
    zero = x.new_zeros(1, len(x), hidden)
    taken = [weights[kind + suffix] for kind in _KINDS]
    if recurrent_dropout > 0:
        taken[1] = F.dropout(taken[1], recurrent_dropout)
    # (input, state, weights, has_biases, num_layers, dropout, train, bidirectional, batch_first)
    out: Tensor = torch.lstm(x, (zero, zero), taken, True, 1, 0.0, torch.is_grad_enabled(), False, True)[0]
    return out
