"""Setting a process up, in processes of their own: it cannot be undone."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from optlstm.errors import InputError
from optlstm.training.runtime import resolve_device


def test_prepare_sets_threads_and_determinism_and_may_be_called_twice() -> None:
    code = (
        "import torch; from optlstm.training.runtime import prepare; prepare(2); prepare(1); "
        "print(torch.get_num_threads(), torch.get_num_interop_threads(), torch.are_deterministic_algorithms_enabled())"
    )

    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["1", "1", "True"]


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
