"""The number format that recurrent layers compute in while they train: float32, or bfloat16 where that is faster.

A processor with AMX or AVX512_BF16 multiplies bfloat16 at up to twice the rate of float32. Sums within a product, all
weights, their gradients and the optimizer stay float32, and so do the other layers, validation and forecasts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

WORTH = 1.15  # times as fast, at least, for `auto` to take bf16
_LEAST = 256  # steps times units: with fewer, to cast weights takes as long as is saved (scripts/bench/throughput.py)
_ROUNDS, _ROUND_S = 7, 0.03


@contextmanager
def recurrent_layers_in(precision: str, network: nn.Module) -> Iterator[None]:
    """Have a network's recurrent layers (`nn.LSTM`, `nn.GRU`, `nn.RNN`) compute in `precision` inside.

    Some compute in float32 nevertheless: where units and steps are few, it is faster; and layers that are not called as
    modules, those of bidirectional networks over sequences of several lengths.

    Args:
        precision: `fp32` or `bf16`.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.RNNBase)] if precision == "bf16" else []
    with ExitStack() as stack:
        for layer in layers:
            layer.forward = partial(_in_bf16, layer, layer.forward)
            stack.callback(delattr, layer, "forward")
        yield


def _in_bf16(
    layer: nn.RNNBase, forward: Callable[..., tuple[Any, Any]], x: Tensor | PackedSequence, *state: Any
) -> tuple[Any, Any]:
    if _steps(layer, x) * layer.hidden_size < _LEAST:
        return forward(x, *state)
    with torch.autocast(next(layer.parameters()).device.type, torch.bfloat16):
        out, end = forward(x, *state)
    return out.float(), end


def _steps(layer: nn.RNNBase, x: Tensor | PackedSequence) -> int:
    if isinstance(x, PackedSequence):
        return len(x.batch_sizes)
    return x.shape[1 if layer.batch_first and x.dim() == 3 else 0]


def faster_precision(device: torch.device) -> str:
    """`bf16` where a training step of a middle-sized LSTM is clearly faster in it on this device, else `fp32`.

    Half a second of one thread; the process's own time counts, for the machine may have other work.
    """
    threads, random = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    lstm = nn.LSTM(8, 64, batch_first=True).to(device)
    x = torch.zeros(64, 24, 8, device=device)
    try:
        seconds = {precision: list[float]() for precision in ("fp32", "bf16")}
        for _ in range(_ROUNDS):
            for precision, taken in seconds.items():
                with recurrent_layers_in(precision, lstm):
                    taken.append(_step_s(lstm, x))
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(random)
    return "bf16" if median(seconds["fp32"][1:]) > WORTH * median(seconds["bf16"][1:]) else "fp32"


def _step_s(lstm: nn.LSTM, x: Tensor) -> float:
    """Seconds of a forward and backward pass."""
    steps, began = 0, time.process_time()
    while (taken := time.process_time() - began) < _ROUND_S:
        lstm(x)[0].sum().backward()
        steps += 1
    return taken / steps
