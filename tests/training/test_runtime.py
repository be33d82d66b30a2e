"""Setting a process up, in processes of their own: it cannot be undone."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import torch

from optlstm.errors import InputError
from optlstm.training.runtime import choose_deterministic_kernels, resolve_device, unchanged_process


def test_prepare_sets_threads_and_may_be_called_twice() -> None:
    """The count that torch lets a process set only once is left to the other users of torch in it."""
    code = (
        "import torch; from optlstm.training.runtime import prepare; prepare(2); prepare(1); "
        "torch.set_num_interop_threads(3); print(torch.get_num_threads(), torch.get_num_interop_threads())"
    )

    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["1", "3"]


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


def test_deterministic_kernels_are_asked_for_on_an_accelerator_alone() -> None:
    code = (
        "import sys, torch; from optlstm.training.runtime import choose_deterministic_kernels as choose; "
        "choose(torch.device('cpu')); "
        "print(torch.are_deterministic_algorithms_enabled(), 'torch._dynamo' in sys.modules); "
        "choose(torch.device('cuda')); print(torch.are_deterministic_algorithms_enabled())"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False", "False", "True"]


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
