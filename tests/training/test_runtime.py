"""Setting a process up, and leaving it as it was."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch

from optlstm.errors import InputError
from optlstm.training.runtime import choose_deterministic_kernels, prepare, resolve_device, unchanged_process
from tests.study.processes import exit_code, start


def set_up_twice() -> None:
    """The count that torch lets a process set only once is left to the other users of torch in it."""
    warnings.simplefilter("error")
    prepare(2)
    prepare(1)
    torch.set_num_interop_threads(3)
    assert (torch.get_num_threads(), torch.get_num_interop_threads()) == (1, 3)


def choose_kernels() -> None:
    choose_deterministic_kernels(torch.device("cpu"))
    assert not torch.are_deterministic_algorithms_enabled()
    assert "torch._dynamo" not in sys.modules
    choose_deterministic_kernels(torch.device("cuda"))
    assert torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("check", [set_up_twice, choose_kernels])
def test_a_process_is_set_up(check: Callable[[], None]) -> None:
    """In processes of their own: it cannot be undone."""
    assert exit_code(start(check)) == 0


def process_state() -> list[object]:
    return [
        torch.get_num_threads(), torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist(),
        torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark,
        torch.utils.deterministic.fill_uninitialized_memory, dict(os.environ), list(warnings.filters),
        logging.getLogger("optuna").level, signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM),
    ]  # fmt: skip


def test_a_process_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTLSTM_TEST", "before")
    monkeypatch.setenv("OPTLSTM_GONE", "before")
    torch.backends.cudnn.benchmark = True
    before = process_state()

    def change() -> None:
        torch.set_num_threads(3)
        torch.manual_seed(1)
        random.seed(1)
        np.random.seed(1)
        choose_deterministic_kernels(torch.device("cuda"))
        os.environ["OPTLSTM_TEST"] = os.environ["OPTLSTM_NEW"] = "during"
        del os.environ["OPTLSTM_GONE"]
        warnings.filterwarnings("ignore", message="once")
        logging.getLogger("optuna").setLevel(logging.CRITICAL)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        assert all(a != b for a, b in zip(process_state(), before, strict=True))

    with unchanged_process():
        change()

    assert process_state() == before
    torch.backends.cudnn.benchmark = False


def test_another_thread_waits_and_the_same_one_does_not() -> None:
    order = list[str]()
    inside = threading.Event()

    def other() -> None:
        inside.wait()
        with unchanged_process():
            order.append("other")

    thread = threading.Thread(target=other)
    thread.start()
    with unchanged_process(), unchanged_process():
        inside.set()
        thread.join(0.1)
        order.append("first")
    thread.join()

    assert order == ["first", "other"]


def test_devices_by_name() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_devices_that_are_not_there() -> None:
    missing = f"cuda:{torch.cuda.device_count()}"

    with pytest.raises(InputError, match=f"training.device: {missing} asked for, and torch sees"):
        resolve_device(missing)
    for wrong in ("gpu", "cuda:x", "meta"):
        with pytest.raises(InputError, match=f"training.device: '{wrong}' is not a device"):
            resolve_device(wrong)
