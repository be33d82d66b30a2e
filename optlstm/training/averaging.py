"""An exponential moving average of the weights over the steps of training (Polyak and Juditsky 1992)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """The moving average of a network's weights; without a memory there is none, and it costs nothing.

    The weights of k steps ago count (1 - 1/memory)^k, and nothing counts that was before the first step: the bias
    towards the initialisation is divided out as Adam (Kingma and Ba 2015) does it.

    Args:
        memory: Steps, 1 or more; 0: no average.
        kept: The average as it was, by parameter name; None: it begins at the network's weights.
    """

    def __init__(self, network: nn.Module, memory: float, kept: Mapping[str, Tensor] | None = None) -> None:
        self._decay = 1 - 1 / max(1.0, memory)
        self._weights = dict(network.named_parameters()) if memory else {}
        self._average = {name: weight.detach().clone() for name, weight in self._weights.items()}
        for name, tensor in (kept or {}).items():
            if name in self._average:
                self._average[name].copy_(tensor)
        # Made once: `update` is called at every step.
        self._means, self._now = list(self._average.values()), [w.detach() for w in self._weights.values()]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The average by parameter name; empty where there is none."""
        return self._average

    def update(self, step: int) -> None:
        """Include the weights after step number `step` (from 0)."""
        if self._weights:
            share = (1 - self._decay) / (1 - self._decay ** (step + 1))
            torch._foreach_lerp_(self._means, self._now, share)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Within, the network has the average for its weights."""
        with torch.no_grad():
            trained = {name: weight.clone() for name, weight in self._weights.items()}
            for name, weight in self._weights.items():
                weight.copy_(self._average[name])
            try:
                yield
            finally:
                for name, weight in self._weights.items():
                    weight.copy_(trained[name])
