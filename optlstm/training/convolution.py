"""A convolutional network, which finds short patterns wherever in a sequence they are; it stands beside an LSTM."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_KERNELS = (7, 5, 3)
_WIDTHS = (1, 2, 1)  # of the layers, times `filters`
_MOMENTUM, _EPSILON = 0.1, 1e-5  # share of a batch in the running statistics; of the variance


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
        inside = None
        if lengths is not None:
            lengths = (lengths + self.stride - 1) // self.stride
            steps = -(-x.shape[1] // self.stride)
            inside = (torch.arange(steps, device=x.device) < lengths[:, None])[:, None, None]  # [batch, 1, 1, steps]
        # Channels last in memory, which is twice as fast on a CPU.
        x = x.transpose(1, 2)[:, :, None]  # [batch, channels, 1, steps]
        for layer, norm in zip(self.layers, self.norms, strict=True):
            assert isinstance(layer, nn.Conv1d)
            assert isinstance(norm, BatchNorm)
            x = F.relu(_convolved(x, layer, norm, inside, self.training), inplace=True)
            if inside is not None:
                x = x * inside
        mean = x.mean(dim=(2, 3)) if lengths is None else x.sum(dim=(2, 3)) / lengths[:, None]
        scores: Tensor = self.head(self.drop(mean))
        return scores


def _convolved(x: Tensor, layer: nn.Conv1d, norm: BatchNorm, inside: Tensor | None, training: bool) -> Tensor:
    """The layer's sums, normalised: [batch, channels, 1, steps] -> [batch, width, 1, steps]."""
    weight, bias = layer.weight[:, :, None], None
    if not training:
        weight, bias = norm.into(weight)
    weight = weight.contiguous(memory_format=torch.channels_last)
    x = F.conv2d(x, weight, bias, (1, *layer.stride), (0, layer.kernel_size[0] // 2))
    return norm(x, inside) if training else x


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy 2015) of [batch, size, 1, steps], with no padding in its statistics."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.variance: Tensor
        self.weight, self.bias = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))

    def forward(self, x: Tensor, inside: Tensor | None) -> Tensor:
        """In training. inside [batch, 1, 1, steps]: where a sequence is; None: everywhere."""
        if inside is None:
            out, mean, inverse = torch.native_batch_norm(x, self.weight, self.bias, None, None, True, 0.0, _EPSILON)
            self._keep(mean, inverse**-2 - _EPSILON)  # inverse: of the deviation
            return out
        count = inside.sum()
        mean = (x * inside).sum(dim=(0, 2, 3)) / count
        variance = ((x - mean[:, None, None]).square() * inside).sum(dim=(0, 2, 3)) / count
        self._keep(mean, variance)
        factor, shift = self._line(mean, variance)
        return x * factor[:, None, None] + shift[:, None, None]

    @torch.no_grad()
    def _keep(self, mean: Tensor, variance: Tensor) -> None:
        self.mean.lerp_(mean, _MOMENTUM)
        self.variance.lerp_(variance, _MOMENTUM)

    def into(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Weights [size, channels, 1, kernel] and bias of a convolution that gives what is normalised after it."""
        factor, shift = self._line(self.mean, self.variance)
        return weight * factor[:, None, None, None], shift

    def _line(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        factor = self.weight * torch.rsqrt(variance + _EPSILON)
        return factor, self.bias - mean * factor
