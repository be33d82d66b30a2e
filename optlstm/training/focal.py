"""The focal loss, which counts samples that are classified well for little."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def focal_loss(scores: Tensor, codes: Tensor, weight: Tensor | None, label_smoothing: float) -> Tensor:
    """The focal loss of Lin et al. (2017), with their gamma of 2; weights and smoothing as in `F.cross_entropy`.

    Args:
        scores: [batch, classes] (logits). codes: [batch].
    """
    logs = F.log_softmax(scores, dim=1)
    losses = -(1 - logs.exp()).square() * logs  # [batch, classes]
    if weight is not None:
        losses = losses * weight
    targets = F.one_hot(codes, scores.shape[1]) * (1 - label_smoothing) + label_smoothing / scores.shape[1]
    total = (targets * losses).sum()
    return total / (len(codes) if weight is None else weight[codes].sum())
