"""Fast paths stand on Optuna's internals: where a version has others, Optuna's own class is used instead."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping

logger = logging.getLogger(__name__)


def are_known(instance: object, methods: Mapping[str, str], attributes: str, functions: str) -> bool:
    """Whether an object of Optuna's is built as we know it; one line in the log where it is not.

    Args:
        methods: Its methods, and the names of their arguments.
        attributes: Names that it has.
        functions: Names that the module of its class has.
    """
    module = inspect.getmodule(type(instance))
    changed = [name for name in functions.split() if not hasattr(module, name)]
    changed += [name for name in attributes.split() if not hasattr(instance, name)]
    for name, arguments in methods.items():
        method = getattr(instance, name, None)
        if method is None or list(inspect.signature(method).parameters) != arguments.split():
            changed.append(name)
    if changed:
        logger.warning(
            "optuna: %s differs in this version (%s): Optuna's own is used, which is slower in large studies",
            type(instance).__name__,
            ", ".join(changed),
        )
    return not changed
