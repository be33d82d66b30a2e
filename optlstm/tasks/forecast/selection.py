"""Weights by greedy selection with replacement (Caruana et al. 2004), bagged over blocks of windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from optlstm.util.arrays import Floats

_ROUNDS = 20  # of a greedy selection: a weight is a multiple of 1/20
_DRAWS = 100  # bootstrap samples
_LEAST_WEIGHT = 0.01  # smaller ones are noise

Losses = Callable[[Floats], Floats]  # how often each part is chosen -> the loss with one more of each, [blocks, parts]


def bagged_weights(losses: Losses, windows: Floats, parts: int) -> Floats:
    """The mean of the greedy selections' weights over bootstrap samples, [parts]; they sum to 1.

    Args:
        windows: of each block, [blocks].
    """
    generator = np.random.default_rng(0)
    shares = generator.dirichlet(np.ones(len(windows)), _DRAWS) * windows
    weights = np.mean([greedy_weights(losses, share / share.sum(), parts) for share in shares], axis=0)
    weights = np.where(weights < min(_LEAST_WEIGHT, weights.max()), 0.0, weights)
    return np.asarray(weights / weights.sum())


def greedy_weights(losses: Losses, shares: Floats, parts: int) -> Floats:
    """The weights of forecasts that are added one by one, each the one that gives their mean the least loss, [parts].

    shares: of each block in the loss, [blocks].
    """
    counts = np.zeros(parts)
    for _ in range(_ROUNDS):
        counts[np.argmin(shares @ losses(counts))] += 1
    return counts / _ROUNDS


def squared_losses(grams: Floats) -> Losses:
    """Squared errors, less what all parts have in common.

    grams: of each block, the mean products of the parts' errors, [blocks, parts, parts].
    """
    squares = np.diagonal(grams, axis1=1, axis2=2)
    return lambda counts: np.asarray(2 * grams @ counts + squares)


def absolute_losses(errors: Sequence[NDArray[np.float32]], levels: Sequence[float] = (0.5,)) -> Losses:
    """Absolute errors; of quantiles at these levels twice their pinball losses, of which the mean is averaged.

    errors: of each block, the parts' errors, [parts, errors], those of the levels beside each other.
    """
    # With e the forecast less the value: 2 * max(-level * e, (1 - level) * e) = |e| + (1 - 2 * level) * e.
    tilt = np.array([1 - 2 * level for level in levels], dtype=np.float32)

    @cache  # bootstrap samples choose alike
    def losses(counts: bytes) -> Floats:
        chosen = np.frombuffer(counts, dtype=np.float32)
        sums = (_tilted(chosen @ block + block, tilt).sum(axis=1, dtype=np.float64) for block in errors)
        return np.stack([total / max(1, block.shape[1]) for total, block in zip(sums, errors, strict=True)])

    return lambda counts: losses(counts.astype(np.float32).tobytes())


def _tilted(errors: NDArray[np.float32], tilt: NDArray[np.float32]) -> NDArray[np.float32]:
    """[parts, errors]."""
    absolute = np.abs(errors)
    return absolute if not tilt.any() else absolute + np.tile(tilt, errors.shape[1] // len(tilt)) * errors
