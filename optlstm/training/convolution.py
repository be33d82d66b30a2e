"""A convolutional network, which finds short patterns wherever in a sequence they are; it stands beside an LSTM."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_KERNELS = (7, 5, 3)
_WIDTHS = (1, 2, 1)  # of the layers, times `filters`
_MOMENTUM = 0.1  # share of a batch in the running statistics


class ConvolutionBranch(nn.Module):
    """Sequences [batch, steps, channels] -> scores [batch, outputs].

    Wang et al. 2017, which stands beside an LSTM in LSTM-FCN (Karim et al. 2018): three convolutions, each normalised
    over the batch and cut off below 0, and the mean of the last one over the steps. The first moves `stride` steps at a
    time, so that long sequences cost no more than short ones.
    """

    def __init__(self, channels: int, outputs: int, *, filters: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.stride = stride
        sizes = [channels, *(filters * width for width in _WIDTHS)]
        self.layers = nn.ModuleList(
            nn.Conv1d(below, size, kernel, stride if i == 0 else 1, kernel // 2, bias=False)
            for i, (below, size, kernel) in enumerate(zip(sizes[:-1], sizes[1:], _KERNELS, strict=True))
        )
        self.norms = nn.ModuleList(BatchNorm(size) for size in sizes[1:])
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(sizes[-1], outputs, bias=False)
        for layer in self.layers:
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")  # type: ignore[arg-type]

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x: 0 behind each end. lengths [batch]: the steps of each sequence; None: all have x.shape[1]."""
        x, inside = x.transpose(1, 2), None
        if lengths is not None:
            lengths = (lengths + self.stride - 1) // self.stride
            steps = -(-x.shape[2] // self.stride)
            inside = (torch.arange(steps, device=x.device) < lengths[:, None])[:, None]  # [batch, 1, steps]
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = F.relu(norm(layer(x), inside))  # [batch, width, steps]
            if inside is not None:
                x = x * inside
        mean = x.mean(dim=2) if lengths is None else x.sum(dim=2) / lengths[:, None]
        scores: Tensor = self.head(self.drop(mean))
        return scores


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy 2015) of [batch, size, steps], with no padding in its statistics."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.variance: Tensor
        self.weight, self.bias = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))

    def forward(self, x: Tensor, inside: Tensor | None) -> Tensor:
        """inside [batch, 1, steps]: where a sequence is; None: everywhere."""
        mean, variance = self._statistics(x, inside) if self.training else (self.mean, self.variance)
        factor = self.weight * torch.rsqrt(variance + 1e-5)
        return x * factor[:, None] + (self.bias - mean * factor)[:, None]

    def _statistics(self, x: Tensor, inside: Tensor | None) -> tuple[Tensor, Tensor]:
        if inside is None:
            variance, mean = torch.var_mean(x, dim=(0, 2), correction=0)
        else:
            count = inside.sum()
            mean = (x * inside).sum(dim=(0, 2)) / count
            variance = ((x - mean[:, None]).square() * inside).sum(dim=(0, 2)) / count
        with torch.no_grad():
            self.mean.lerp_(mean, _MOMENTUM)
            self.variance.lerp_(variance, _MOMENTUM)
        return mean, variance
