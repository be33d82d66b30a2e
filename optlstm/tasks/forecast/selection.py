"""Weights by greedy selection with replacement (Caruana et al. 2004), bagged over blocks of windows and shrunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from optlstm.util.arrays import Floats

_ROUNDS = 20  # of a greedy selection: a weight is a multiple of 1/20
_DRAWS = 100  # bootstrap samples
_LEAST_WEIGHT = 0.01  # smaller ones are noise
_TINY = 1e-12  # in place of the loss of a forecast without errors
_PRIOR_WINDOWS = 8  # that the weights known beforehand count as

Losses = Callable[[Floats], Floats]  # how often each part is chosen -> the loss with one more of each, [blocks, parts]


def shrunk_weights(losses: Losses, windows: Floats, parts: int, networks: int, independent: int) -> Floats:
    """Bagged weights, shrunk towards those that a mean of networks and linear forecasts has, [parts]; they sum to 1.

    Weights that few windows choose are worse than a plain mean (Bates and Granger 1969; Timmermann 2006). So it counts
    as `_PRIOR_WINDOWS` windows more: the networks, all alike, and the linear forecasts, as they are weighted among
    themselves, each in inverse proportion to its loss.

    Args:
        windows: of each block, [blocks].
        networks: how many of the parts are networks: the first ones.
        independent: how many windows would not overlap.
    """
    bagged = bagged_weights(losses, windows, parts)
    linear = bagged_weights(losses, windows, parts, first=networks)
    of_one = windows / windows.sum() @ losses(np.zeros(parts))
    mean = np.where(np.arange(parts) < networks, 1 / max(1, networks), linear) / np.maximum(of_one, _TINY)
    share = _PRIOR_WINDOWS / (_PRIOR_WINDOWS + independent)
    return _without_noise((1 - share) * bagged + share * mean / mean.sum())


def bagged_weights(losses: Losses, windows: Floats, parts: int, first: int = 0) -> Floats:
    """The mean of the greedy selections' weights over bootstrap samples, [parts]; they sum to 1.

    Args:
        windows: of each block, [blocks].
        first: the first part that is chosen from.
    """
    generator = np.random.default_rng(0)
    shares = generator.dirichlet(np.ones(len(windows)), _DRAWS) * windows
    return _without_noise(
        np.mean([greedy_weights(losses, share / share.sum(), parts, first) for share in shares], axis=0)
    )


def greedy_weights(losses: Losses, shares: Floats, parts: int, first: int = 0) -> Floats:
    """The weights of forecasts that are added one by one, each the one that gives their mean the least loss, [parts].

    Args:
        shares: of each block in the loss, [blocks].
        first: as of `bagged_weights`.
    """
    counts = np.zeros(parts)
    for _ in range(_ROUNDS):
        counts[first + np.argmin((shares @ losses(counts))[first:])] += 1
    return counts / _ROUNDS


def _without_noise(weights: Floats) -> Floats:
    """Without the smallest ones, but never without all."""
    kept = np.where(weights < min(_LEAST_WEIGHT, weights.max()), 0.0, weights)
    return np.asarray(kept / kept.sum())


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
