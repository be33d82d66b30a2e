"""Learning-rate schedules as pure functions: nothing to save, and the rate of any step can be asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence

_RISE = 0.3  # share of the steps in which one_cycle climbs
_START = 1 / 25  # one_cycle's first factor
_END = 1e-4 / 25  # one_cycle's last factor
_PATIENCE = 2  # plateau: epochs without improvement before the rate is halved


def lr_factor(kind: str, step: int, total: int, *, warmup: float = 0.0, values: Sequence[float] = ()) -> float:
    """What the learning rate is multiplied by at `step` (from 0) of `total`.

    Args:
        kind: constant, cosine (to 0), one_cycle (Smith and Topin 2018, with torch's OneCycleLR's numbers) or plateau.
        warmup: share of `total` in which the factor climbs linearly from near 0; one_cycle ignores it.
        values: the validation values of the epochs so far, which plateau looks at.

    Raises:
        ValueError: for an unknown `kind`.
    """
    if kind == "one_cycle":
        return _one_cycle(step / max(1, total - 1))
    warm = math.ceil(warmup * total)
    if step < warm:
        return (step + 1) / warm
    if kind == "constant":
        return 1.0
    if kind == "plateau":
        return plateau_factor(values)
    if kind == "cosine":
        return _between(1.0, 0.0, (step - warm) / max(1, total - warm))
    raise ValueError(f"unknown learning-rate schedule {kind!r}")


def plateau_factor(values: Sequence[float]) -> float:
    """1, halved for every two epochs on end in which `values` found no new minimum."""
    factor, best, bad = 1.0, math.inf, 0
    for value in values:
        best, bad = (value, 0) if value < best else (best, bad + 1)
        if bad == _PATIENCE:
            factor, bad = factor / 2, 0
    return factor


def _one_cycle(progress: float) -> float:
    if progress < _RISE:
        return _between(_START, 1.0, progress / _RISE)
    return _between(1.0, _END, (progress - _RISE) / (1 - _RISE))


def _between(start: float, end: float, progress: float) -> float:
    """Along half a cosine from `start` (progress 0) to `end` (progress 1)."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
