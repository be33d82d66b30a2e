"""What this machine's processor can do."""

from __future__ import annotations

import functools
import os
from pathlib import Path

_BF16 = {"amx_bf16", "avx512_bf16", "bf16"}  # as Linux names it, of x86 and of ARM
_CPUINFO = Path("/proc/cpuinfo")


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def multiplies_bf16() -> bool:
    """Whether it has instructions for bfloat16; False where the system does not say."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return False
    return any(line.lower().startswith(("flags", "features")) and _BF16 & {*line.split()} for line in lines)
