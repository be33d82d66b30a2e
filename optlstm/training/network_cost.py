"""What is known of a network before it is trained: its size, its arithmetic, how long a forecast or a step takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import nn

from optlstm.training.convolution import ConvolutionBranch
from optlstm.training.folds import one_of
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import Problem
from optlstm.training.model import count_parameters
from optlstm.training.optimizers import build_optimizer

_WARM_UP, _RUNS = 3, 15
_STEPS_S, _LEAST_STEPS = 1.0, 5  # of `training_cost`, about
_OVERHEAD = 20_000  # multiply-adds that take as long as a layer's step takes beside its arithmetic


@dataclass(frozen=True)
class TrainingCost:
    """Seconds of one step of the optimiser, and of a validation; an epoch's steps."""

    step: float
    validation: float
    steps: int

    @property
    def epoch(self) -> float:
        """Seconds of an epoch."""
        return self.steps * self.step + self.validation


def parameters(problem: Problem, hp: Hyperparameters) -> int:
    """How many numbers the network learns; none of them is allocated."""
    try:
        with torch.device("meta"):
            return count_parameters(one_of(problem.network(hp)))
    except RuntimeError:  # a custom network that needs numbers while it is made
        with torch.random.fork_rng(devices=[]):
            return count_parameters(one_of(problem.network(hp)))


def work(problem: Problem, hp: Hyperparameters) -> float:
    """What one sample costs the network, in millions of multiply-adds, a layer's overhead at each step included.

    Of sequences and texts, whose lengths differ, for 1,000 steps.
    """
    with torch.device("meta"):
        network = one_of(problem.network(hp))
    layers = [module for module in network.modules() if isinstance(module, nn.LSTM)]
    numbers = sum(p.numel() for layer in layers for name, p in layer.named_parameters() if name.startswith("weight"))
    count = sum(layer.num_layers * (2 if layer.bidirectional else 1) for layer in layers)
    rows = hp.window if hasattr(problem, "training_windows") else 1000
    steps = -(-rows // hp.patch) * (numbers + count * _OVERHEAD)
    branches = [module for module in network.modules() if isinstance(module, ConvolutionBranch)]
    kernels = sum(p.numel() for branch in branches for p in branch.layers.parameters())
    convolved = -(-rows // hp.conv_stride) * kernels
    return round((steps + convolved) / 1e6, 3)


def training_cost(problem: Problem, hp: Hyperparameters) -> TrainingCost:
    """The time that training takes with `hp`, from a second of steps and one validation; on this machine."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = problem.network(hp).to(problem.device).train()
        optimizer, seconds, began = build_optimizer(network, hp), list[float](), time.perf_counter()
        for batch in islice(problem.batches(hp, torch.Generator().manual_seed(0)), _WARM_UP + 100):
            start = time.perf_counter()
            optimizer.zero_grad(set_to_none=True)
            loss = problem.loss(network, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            loss.item()
            seconds.append(time.perf_counter() - start)
            if start - began > _STEPS_S and len(seconds) > _WARM_UP + _LEAST_STEPS:
                break
        start = time.perf_counter()
        with torch.no_grad():
            problem.validate(network.eval(), hp)
        validation = time.perf_counter() - start
    return TrainingCost(statistics.median(seconds[_WARM_UP:] or seconds), validation, problem.steps_per_epoch(hp))


def latency_ms(problem: Problem, hp: Hyperparameters) -> float:
    """Milliseconds for one sample through a network of this shape, the median of 15; on this machine."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        network = problem.network(hp).to(problem.device).eval()
        windows = replace(hp, supervision="last_step")  # a forecast reads one, whatever training reads
        batch = next(iter(problem.batches(windows, torch.Generator().manual_seed(0))))
        sample = tuple(part[:1] if part.ndim else part for part in batch)
        seconds = []
        for _ in range(_WARM_UP + _RUNS):
            began = time.perf_counter()
            problem.loss(network, sample).item()
            seconds.append(time.perf_counter() - began)
    return round(1000 * statistics.median(seconds[_WARM_UP:]), 4)


def measure(
    problem: Problem, params: Mapping[str, Any], names: Sequence[str], custom: Container[str] = ()
) -> dict[str, float]:
    """Costs of a configuration's network by name: those of `parameters`, `latency_ms` and `work` asked for."""
    hp = Hyperparameters.from_params(params, custom)
    costs = {"parameters": parameters, "latency_ms": latency_ms, "work": work}
    return {name: costs[name](problem, hp) for name in names}
