"""Signals that wait, and signals that somebody swallows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from optlstm.util.interrupts import SIGNALS, Interrupted, blocked, check, held, interruptible


def hold_one(number: int) -> None:
    with held():
        signal.raise_signal(number)
        os.environ["OPTLSTM_TEST_DONE"] = "yes"


def exit_as_ray_does(number: int) -> None:
    with held():
        signal.signal(number, lambda number, _: sys.exit(number))
        signal.raise_signal(number)


def block_one(number: int) -> None:
    with held(), blocked():
        signal.signal(number, lambda *_: os._exit(1))
        signal.pthread_kill(threading.get_ident(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_waits_for_the_end_of_what_must_not_be_broken_off(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTLSTM_TEST_DONE", "")
    with interruptible():
        handlers = [signal.getsignal(each) for each in SIGNALS]
        with pytest.raises(KeyboardInterrupt):
            hold_one(number)
        assert [signal.getsignal(each) for each in SIGNALS] == handlers
        assert Interrupted().exit_code == 128 + number
    assert os.environ["OPTLSTM_TEST_DONE"]


@pytest.mark.parametrize(("act", "number"), [(exit_as_ray_does, 15), (block_one, 15), (block_one, 2)])
def test_handlers_that_others_set_meanwhile_decide_nothing(act: Callable[[int], None], number: int) -> None:
    with interruptible():
        with pytest.raises(KeyboardInterrupt):
            act(number)
        assert Interrupted().exit_code == 128 + number


def test_a_second_signal_does_not_wait() -> None:
    code = (
        "import os, signal; from optlstm.util.interrupts import held\n"
        "with held(): os.kill(os.getpid(), signal.SIGINT); os.kill(os.getpid(), signal.SIGTERM); print('not reached')"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 143


def test_a_swallowed_signal_is_remembered_until_the_end() -> None:
    with interruptible() as received:
        check()
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            pass
        assert received == [signal.SIGTERM]
        with pytest.raises(KeyboardInterrupt):
            check()
    check()
