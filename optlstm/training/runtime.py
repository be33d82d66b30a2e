"""What a process sets up once, before it trains; and how a process that is not ours is left as it was."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import random
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

from optlstm.errors import InputError

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt's parameters, from glibc's malloc.h
_KEEP = 1 << 30  # bytes
_LOCK = threading.RLock()
_log = logging.getLogger(__name__)


@contextmanager
def unchanged_process() -> Iterator[None]:
    """What training changes of the process is, afterwards, as it was: a notebook's next cell draws its own numbers.

    That is torch's threads, random state and choice of kernels, Python's and NumPy's random states, environment
    variables, warning filters, log levels, and the handlers of SIGINT and SIGTERM. All of it is the whole process's:
    what another thread would do inside waits until this one has left, or it would change this one's numbers.
    """
    if not _LOCK.acquire(blocking=False):
        _log.info("waiting for another thread that trains: torch's threads and random state are the whole process's")
        _LOCK.acquire()
    with ExitStack() as stack:
        stack.callback(_LOCK.release)
        stack.enter_context(warnings.catch_warnings())
        for restore in _restorations():
            stack.callback(restore)
        yield


def _restorations() -> Iterator[Callable[[], Any]]:
    """What sets each part of the process back to how it is now."""
    yield partial(torch.set_num_threads, torch.get_num_threads())
    yield partial(_restore_torch_random, torch.get_rng_state(), _cuda_random())
    yield partial(_restore_kernels, _kernels())
    yield partial(random.setstate, random.getstate())
    yield partial(np.random.set_state, np.random.get_state())
    yield partial(_restore_environment, dict(os.environ))
    loggers = [logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    yield from (partial(logger.setLevel, logger.level) for logger in loggers)
    if threading.current_thread() is threading.main_thread():
        handlers = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
        # None: a handler that Python did not install, and cannot.
        yield from (partial(signal.signal, number, handler) for number, handler in handlers if handler is not None)


def _cuda_random() -> list[torch.Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]


def _restore_torch_random(state: torch.Tensor, cuda: list[torch.Tensor]) -> None:
    torch.set_rng_state(state)
    if cuda:
        torch.cuda.set_rng_state_all(cuda)
    else:  # a CUDA that was not in use begins with the seed of the CPU
        torch.cuda.manual_seed_all(torch.initial_seed())


def _kernels() -> tuple[int, bool, bool]:
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    return torch.get_deterministic_debug_mode(), fill, torch.backends.cudnn.benchmark


def _restore_kernels(before: tuple[int, bool, bool]) -> None:
    if _kernels() == before:
        return  # setting the mode takes seconds
    mode, torch.utils.deterministic.fill_uninitialized_memory, torch.backends.cudnn.benchmark = before  # type: ignore[attr-defined]
    torch.set_deterministic_debug_mode(mode)


def _restore_environment(before: dict[str, str]) -> None:
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})


def prepare(threads: int) -> None:
    """Set this process up for training: threads, warnings, allocator. May be called again.

    Args:
        threads: torch's threads inside one operation. One per process is fastest on a CPU, and the number changes the
            last bits of a result.
    """
    torch.set_num_threads(threads)
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
    """The device `auto` (CUDA where there is one), `cpu`, `cuda`, `cuda:1`, `mps`, ... stands for.

    Raises:
        InputError: torch does not know the device, or sees none of its kind or number.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"training.device: {name!r} is not a device; use auto, cpu, cuda, cuda:0 or mps")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("training.device: mps asked for, which is Apple's, and torch has none here")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise InputError(f"training.device: {name} asked for, and torch sees {count or 'none'}")
    return device
