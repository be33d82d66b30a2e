"""What is known of a network before it is trained: its size, and how long one forecast takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from optlstm.training.folds import one_of
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import Problem
from optlstm.training.model import count_parameters

_WARM_UP, _RUNS = 3, 15


def parameters(problem: Problem, hp: Hyperparameters) -> int:
    """How many numbers the network learns; none of them is allocated."""
    try:
        with torch.device("meta"):
            return count_parameters(one_of(problem.network(hp)))
    except RuntimeError:  # a custom network that needs numbers while it is made
        with torch.random.fork_rng(devices=[]):
            return count_parameters(one_of(problem.network(hp)))


def latency_ms(problem: Problem, hp: Hyperparameters) -> float:
    """Milliseconds for one sample through a network of this shape, the median of 15; on this machine."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        network = problem.network(hp).to(problem.device).eval()
        batch = next(iter(problem.batches(hp, torch.Generator().manual_seed(0))))
        sample = tuple(part[:1] if part.ndim else part for part in batch)
        seconds = []
        for _ in range(_WARM_UP + _RUNS):
            began = time.perf_counter()
            problem.loss(network, sample).item()
            seconds.append(time.perf_counter() - began)
    return round(1000 * statistics.median(seconds[_WARM_UP:]), 4)


def measure(problem: Problem, params: Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
    """Costs of a configuration's network by name: those of `parameters` and `latency_ms` that are asked for."""
    hp = Hyperparameters.from_params(params)
    costs = {"parameters": parameters, "latency_ms": latency_ms}
    return {name: costs[name](problem, hp) for name in names}
