"""Optuna's PED-ANOVA, without what the other evaluators of its package import."""

from __future__ import annotations

import functools
import importlib
import sys
from types import ModuleType
from typing import Any

import optuna

_PACKAGE = "optuna.importance"


@functools.cache
def optuna_importance() -> ModuleType:
    """`optuna.importance` as it is where scikit-learn is not installed: fANOVA needs it, and it takes a second.

    Nobody else has this copy: where the package is imported later, it is imported whole.
    """
    if _PACKAGE in sys.modules or "sklearn" in sys.modules:
        return importlib.import_module(_PACKAGE)
    named: Any = vars(optuna)["importance"]  # a stand-in that imports it when it is used
    sys.modules["sklearn"] = None  # type: ignore[assignment]  # importing it fails, which the package allows for
    try:
        return importlib.import_module(_PACKAGE)
    finally:
        for name in [name for name in sys.modules if name == "sklearn" or f"{name}.".startswith(f"{_PACKAGE}.")]:
            del sys.modules[name]
        optuna.importance = named
