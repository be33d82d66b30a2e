"""Tune PyTorch LSTMs with Optuna: the same search on a laptop and on Ray."""

import importlib  # nothing that Python has not imported by now: `python -m optlstm` comes here in any working folder

__version__ = "0.1.0"

# Read when first asked for: `import optlstm` loads no torch. Their types stand in __init__.pyi.
_HOME = {
    "Forecaster": "optlstm.estimators",
    "Model": "optlstm.notebook",
    "Result": "optlstm.notebook",
    "SequenceClassifier": "optlstm.estimators",
    "SequenceRegressor": "optlstm.estimators",
    "debug_trial": "optlstm.run.replay",
    "fit": "optlstm.api",
    "load": "optlstm.api",
    "track": "optlstm.run.custom_trial",
    "tune": "optlstm.api",
}
__all__ = [
    "Forecaster",
    "Model",
    "Result",
    "SequenceClassifier",
    "SequenceRegressor",
    "debug_trial",
    "fit",
    "load",
    "track",
    "tune",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'optlstm' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
