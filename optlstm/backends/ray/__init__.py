"""Trials on Ray Tune: many workers, GPUs and nodes, the same ledger, the same objective, the same search."""

from __future__ import annotations

from optlstm.backends.ray.runner import RayOptions, describe, run_ray

__all__ = ["RayOptions", "describe", "run_ray"]
