"""Whether the kernel has been killing processes for want of memory."""

from __future__ import annotations

from pathlib import Path

_COUNTER = Path("/proc/vmstat")  # Linux 4.13 and later; kills within a container's limit are counted too


def kernel_kills() -> int:
    """Processes of this machine that the kernel has killed for want of memory, 0 where it does not say."""
    try:
        lines = _COUNTER.read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
