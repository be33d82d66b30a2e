"""Cross-validation in one training: the networks of all folds side by side, epoch by epoch, so that pruning works.

A step trains one fold's network. The folds' steps are spread evenly over the epoch, so every network sees the whole
learning-rate schedule. The optimizer passes over weights without a gradient, and each network's gradients are clipped
by their own norm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import Problem


class Folds(nn.ModuleList):
    """The folds' networks, each of the same shape."""


P = TypeVar("P", bound=Problem)


class FoldedProblem(Generic[P]):
    """The problems of all folds as one `Problem`; a metric is the mean of theirs."""

    def __init__(self, problems: Sequence[P]) -> None:
        self.problems = list(problems)

    @property
    def device(self) -> torch.device:
        """The device that all folds share."""
        return self.problems[0].device

    def network(self, hp: Hyperparameters) -> nn.Module:
        """One new network a fold."""
        return Folds(problem.network(hp) for problem in self.problems)

    def steps_per_epoch(self, hp: Hyperparameters) -> int:
        """The sum over the folds."""
        return sum(problem.steps_per_epoch(hp) for problem in self.problems)

    def batches(self, hp: Hyperparameters, generator: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
        """Each fold's batches, the fold's number behind each."""
        counts = [problem.steps_per_epoch(hp) for problem in self.problems]
        turns = sorted(((i + 0.5) / n, fold) for fold, n in enumerate(counts) for i in range(n))
        seeds = [int(torch.randint(2**62, (1,), generator=generator)) for _ in self.problems]
        batches = [
            problem.batches(hp, torch.Generator().manual_seed(seed))
            for problem, seed in zip(self.problems, seeds, strict=True)
        ]
        for _, fold in turns:
            yield (*next(batches[fold]), torch.tensor(fold))

    def loss(self, network: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """The loss of the batch's fold."""
        *inside, number = batch
        fold = int(number)
        return self.problems[fold].loss(self.member(network, fold), tuple(inside))

    def validate(self, network: nn.Module, hp: Hyperparameters) -> dict[str, float]:
        """Each metric's mean over the folds."""
        scores = [problem.validate(self.member(network, i), hp) for i, problem in enumerate(self.problems)]
        return {name: sum(score[name] for score in scores) / len(scores) for name in scores[0]}

    def member(self, network: nn.Module, fold: int) -> nn.Module:
        """A fold's network."""
        assert isinstance(network, Folds)
        return network[fold]


def fold_of(network: nn.Module, fold: int) -> nn.Module:
    """A fold's network; the network itself, where it is not of a cross-validation."""
    return network[fold] if isinstance(network, Folds) else network


def one_of(network: nn.Module) -> nn.Module:
    """The network itself, or that of the first fold."""
    return network[0] if isinstance(network, Folds) else network
