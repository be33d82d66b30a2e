"""Tune PyTorch LSTMs with Optuna: the same search on a laptop and on Ray."""

from __future__ import annotations

__version__ = "0.1.0"
