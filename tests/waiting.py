"""Waiting for what another process does, as long as pytest's timeout allows: a busy machine is no defect."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def wait_until(condition: Callable[[], Any]) -> Any:
    """The condition's value as soon as it is true."""
    while not (value := condition()):
        time.sleep(0.02)
    return value
