"""Small real problems that train in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from optlstm.training.hparams import Hyperparameters
from optlstm.training.model import LSTMForecaster


class Sine:
    """Forecast 3 values of a sine wave from the 12 before; 96 windows to train on, 32 to validate."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        wave = torch.sin(torch.arange(142) * 0.5)
        self.train, self.validation = wave.unfold(0, 15, 1)[:96], wave.unfold(0, 15, 1)[96:]  # [n, 15]

    def network(self, hp: Hyperparameters) -> nn.Module:
        return LSTMForecaster(hp, 3)

    def steps_per_epoch(self, hp: Hyperparameters) -> int:
        return -(-len(self.train) // hp.batch_size)

    def batches(self, hp: Hyperparameters, generator: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
        for index in torch.split(torch.randperm(len(self.train), generator=generator), hp.batch_size):
            yield self.train[index, :12], self.train[index, 12:]

    def loss(self, network: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        return F.mse_loss(network(batch[0]), batch[1])

    def validate(self, network: nn.Module, hp: Hyperparameters) -> dict[str, float]:
        error = network(self.validation[:, :12]) - self.validation[:, 12:]
        return {"mse": error.square().mean().item(), "mae": error.abs().mean().item()}


class Scripted(Sine):
    """Its validation values are given, epoch by epoch."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self._values = iter(values)

    def validate(self, network: nn.Module, hp: Hyperparameters) -> dict[str, float]:
        return {"mse": next(self._values)}


def params(**changes: object) -> Hyperparameters:
    """A small network's hyperparameters: 12 rows of input, 4 steps an epoch."""
    small = {"window": 12, "patch": 3, "hidden_size": 8, "batch_size": 25, "learning_rate": 0.01}
    return Hyperparameters.from_params({**small, **changes})
