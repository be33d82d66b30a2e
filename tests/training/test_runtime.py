"""Setting a process up, in processes of their own: it cannot be undone."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from optlstm.errors import InputError
from optlstm.training.runtime import resolve_device


def test_prepare_sets_threads_and_may_be_called_twice() -> None:
    code = (
        "import torch; from optlstm.training.runtime import prepare; prepare(2); prepare(1); "
        "print(torch.get_num_threads(), torch.get_num_interop_threads())"
    )

    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["1", "1"]


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
