"""The weights of several networks of one shape, and Adam over all of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from optlstm.training.hparams import Hyperparameters

_BETAS, _EPS = (0.9, 0.999), 1e-8  # torch's defaults, which `build_optimizer` leaves as they are


class Stack:
    """A matrix with a row of weights a lane, and the same for the moments, so that Adam's step is a few operations.

    The arithmetic is that of torch.optim.Adam or AdamW (Kingma and Ba 2015, Loshchilov and Hutter 2019), weight decay
    on matrices alone, after gradients are clipped as `clip_grad_norm_` does it, each lane by its own norm.

    Args:
        networks: each lane's.
        hps: each lane's weight_decay and grad_clip; the optimizer is the first's.
    """

    def __init__(self, networks: Sequence[nn.Module], hps: Sequence[Hyperparameters], device: torch.device) -> None:
        self._shapes = {name: p.shape for name, p in networks[0].named_parameters()}
        flat = [torch.cat([p.detach().flatten() for p in network.parameters()]) for network in networks]
        weights = torch.stack(flat).to(device)  # [lanes, numbers]
        matrices = torch.cat([torch.full((p.numel(),), float(p.ndim >= 2)) for p in networks[0].parameters()])
        decay = torch.tensor([[hp.weight_decay] for hp in hps]) * matrices  # [lanes, numbers]
        clip = torch.tensor([[hp.grad_clip or torch.inf] for hp in hps])  # [lanes, 1]
        zeros = torch.zeros_like(weights)
        self._decoupled, self._steps = hps[0].optimizer == "adamw", 0
        self._set(weights, zeros, zeros.clone(), decay.to(device), clip.to(device))

    def _set(self, weights: Tensor, mean: Tensor, square: Tensor, decay: Tensor, clip: Tensor) -> None:
        self._weights, self._mean, self._square, self._decay, self._clip = weights, mean, square, decay, clip
        self._decays = bool(decay.any())
        self.parameters = {name: view.detach().requires_grad_() for name, view in self._views(weights)}

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these lanes alone, as rows 0, 1, ..."""
        index = torch.tensor(rows, device=self._weights.device)
        kept = (self._weights, self._mean, self._square, self._decay, self._clip)
        self._set(*(matrix.index_select(0, index) for matrix in kept))

    def descend(self, loss: Tensor, rates: Tensor) -> None:
        """One step. loss: the sum of the lanes' losses; rates [lanes, 1]: their learning rates."""
        found = torch.autograd.grad(loss, list(self.parameters.values()))
        with torch.no_grad():
            self._advance(torch.cat([grad.flatten(1) for grad in found], dim=1), rates)

    def _advance(self, grad: Tensor, rates: Tensor) -> None:
        self._steps += 1
        norm = torch.linalg.vector_norm(grad, dim=1, keepdim=True)
        grad.mul_((self._clip / (norm + 1e-6)).clamp_(max=1.0))
        if self._decays and self._decoupled:
            self._weights.mul_(1 - rates * self._decay)
        elif self._decays:
            grad.addcmul_(self._decay, self._weights)
        first, second = _BETAS
        self._mean.lerp_(grad, 1 - first)
        self._square.mul_(second).addcmul_(grad, grad, value=1 - second)
        spread = self._square.sqrt().div_((1 - second**self._steps) ** 0.5).add_(_EPS)
        self._weights.addcdiv_(self._mean * (rates / (1 - first**self._steps)), spread, value=-1)

    def weights(self, row: int) -> Mapping[str, Tensor]:
        """A lane's weights by name; they change with the next step."""
        return {name: view[row] for name, view in self._views(self._weights)}

    def moments(self, row: int) -> Mapping[str, Tensor]:
        """A lane's optimizer state, named as `optimizer_tensors` names it."""
        steps = {f"{name}/step": torch.tensor(float(self._steps)) for name in self._shapes}
        mean = {f"{name}/exp_avg": view[row] for name, view in self._views(self._mean)}
        return {**steps, **mean, **{f"{name}/exp_avg_sq": view[row] for name, view in self._views(self._square)}}

    def _views(self, matrix: Tensor) -> Iterable[tuple[str, Tensor]]:
        """Each parameter's part of a matrix, [lanes, *shape]."""
        parts = torch.split(matrix, [shape.numel() for shape in self._shapes.values()], dim=1)
        named = zip(self._shapes.items(), parts, strict=True)
        return ((name, part.view(-1, *shape)) for (name, shape), part in named)
