"""What a worker process sets up once, before it trains."""

from __future__ import annotations

import ctypes
import os
import platform
import warnings

import torch

from optlstm.errors import InputError

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt's parameters, from glibc's malloc.h
_KEEP = 1 << 30  # bytes


def prepare(threads: int) -> None:
    """Set this process up for training: threads, allocator. May be called again.

    Args:
        threads: torch's threads inside one operation. One per process is fastest on a CPU, and the number changes the
            last bits of a result.
    """
    torch.set_num_threads(threads)
    try:
        torch.set_num_interop_threads(1)
    except RuntimeError:
        pass  # torch allows it once per process, and only before its first use of them; results do not depend on it
    # Dropped recurrent weights are new tensors, not slices of cuDNN's one buffer; they are copied, as the warning says.
    warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")
    keep_freed_memory()


def use_threads(threads: int) -> None:
    """Torch's threads for what the calling thread does: OpenMP keeps the number per thread, not per process."""
    torch.set_num_threads(threads)


def choose_deterministic_kernels(device: torch.device) -> None:
    """On an accelerator the fastest kernels vary from run to run; on a CPU ours do not, and asking takes seconds."""
    if device.type == "cpu":
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS and cuDNN's LSTM vary
    torch.use_deterministic_algorithms(True)
    # Filling memory that nobody reads costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False


def keep_freed_memory() -> bool:
    """Have glibc keep freed memory, not give it back and fault it in again at every step. False off glibc."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_THRESHOLD, _KEEP)) & bool(mallopt(_TRIM_THRESHOLD, _KEEP))


def resolve_device(name: str) -> torch.device:
    """The device `auto` (CUDA where there is one), `cpu`, `cuda`, `cuda:1`, ... stands for.

    Raises:
        InputError: torch does not know the device, or sees none of its kind or number.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"training.device: {name!r} is not a device; use auto, cpu, cuda or cuda:0")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise InputError(f"training.device: {name} asked for, and torch sees {count or 'none'}")
    return device
