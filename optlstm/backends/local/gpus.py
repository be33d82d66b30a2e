"""The GPUs of this machine, and how its workers are spread over them."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from optlstm.errors import InputError

VARIABLE = "CUDA_VISIBLE_DEVICES"
MARGIN = 1.25  # times the first trial's memory that another may take
_DRIVER = Path("/proc/driver/nvidia/gpus")
Share = float | Literal["auto"] | None  # of a GPU, that a trial takes


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as the variable names them. torch, which the driver lacks, is not asked."""
    given = os.environ.get(VARIABLE)
    if given is None:
        return [str(i) for i in range(len(list(_DRIVER.iterdir())))] if _DRIVER.is_dir() else []
    names = [name.strip() for name in given.split(",")]
    return names[: next((i for i, name in enumerate(names) if name in ("", "-1")), len(names))]  # as CUDA reads it


@dataclass(frozen=True)
class Gpus:
    """What workers see of the GPUs.

    Args:
        devices: The variable's values, one of which each worker gets; none: it is left as it is.
        places: Trials at a time that have room there; None: it is not known, or no matter.
        measures: The first trial, which runs alone, says how many have.
    """

    devices: tuple[str, ...] = ()
    places: int | None = None
    measures: bool = False


def gpus_for(share: Share, device: str = "auto") -> Gpus:
    """How trials of a share use the GPUs of this machine. device: `training.device`.

    Raises:
        InputError: There is no GPU for a trial that asks for one.
    """
    if share == 0:
        return Gpus(("",))
    gpus = [] if device not in ("auto", "cuda") else visible_gpus()
    if share is None:
        return Gpus(tuple(gpus) if len(gpus) > 1 else ())
    if share == "auto":
        return Gpus(tuple(gpus), measures=bool(gpus))
    if len(gpus) < share or not gpus:
        why = f"this machine has {len(gpus)}" if device in ("auto", "cuda") else f"training.device is {device}"
        raise InputError(f"--gpus-per-trial: a trial asks for {share:g} GPU, and {why}; 0 keeps to CPUs")
    if share <= 1:
        return Gpus(tuple(gpus), len(gpus) * math.floor(1 / share + 1e-9))
    size = math.ceil(share)
    groups = [",".join(gpus[i : i + size]) for i in range(0, len(gpus) - size + 1, size)]
    return Gpus(tuple(groups), len(groups))


def memory_share() -> float | None:
    """The share of its GPU's memory that this process has taken at most; None where it has used none."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    free, total = torch.cuda.mem_get_info()
    outside = total - free - torch.cuda.memory_reserved()  # CUDA's own, and other programs'
    return float((outside + torch.cuda.max_memory_reserved()) / total)


def trials_on_one(share: float) -> int:
    """How many trials one GPU holds, from what the first took of its memory."""
    return max(1, math.floor(1 / (MARGIN * share)))
