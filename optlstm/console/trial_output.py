"""What running trials print, as labelled lines beside the progress: their logs are followed, on every backend."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from rich.console import Console
from rich.text import Text

from optlstm.run.trial_log import log_since
from optlstm.study.events import Event, TrialFinished, TrialStarted
from optlstm.study.ledger import Ledger
from optlstm.util.files import Location

FOLLOW_S = 0.3  # between two looks at the logs


def print_traceback(console: Console, ledger: Ledger, event: Event) -> None:
    """Of a trial that has failed in this process, where no log has it."""
    if isinstance(event, TrialFinished) and (text := ledger.trials[event.number].user_attrs.get("traceback")):
        console.print(Text(text), soft_wrap=True)


class TrialOutput:
    """Follows the logs of a ledger's running trials; a context manager around the run.

    Args:
        checkpoints: The study's folder.
    """

    def __init__(self, console: Console, ledger: Ledger, checkpoints: Location) -> None:
        self._console, self._checkpoints = console, checkpoints
        self._read: dict[int, int] = {}  # by the number of a running trial: how many bytes of its log are printed
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._follow, name="optlstm-trial-output", daemon=True)
        ledger.listen(self._on_event)

    def __enter__(self) -> TrialOutput:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        self._thread.join()
        for number in list(self._read):
            self._print(number, ended=True)

    def _on_event(self, event: Event) -> None:
        match event:
            case TrialStarted(number=number):
                with self._lock, contextlib.suppress(OSError):  # what it printed before it was interrupted is not news
                    self._read[number] = len(log_since(self._checkpoints, number, 0))
            case TrialFinished(number=number) if number in self._read:
                self._print(number, ended=True)
                with self._lock:
                    del self._read[number]

    def _follow(self) -> None:
        while not self._over.wait(FOLLOW_S):
            for number in list(self._read):
                self._print(number)

    def _print(self, number: int, ended: bool = False) -> None:
        """The whole lines that are new; at the end, what stands behind them too."""
        with self._lock, contextlib.suppress(OSError):
            if number not in self._read:
                return
            new = log_since(self._checkpoints, number, self._read[number])
            whole = new if ended else new[: new.rfind(b"\n") + 1]
            self._read[number] += len(whole)
            for line in whole.decode(errors="replace").splitlines():
                self._console.print(Text.assemble((f"trial {number:>3} | ", "dim"), line), soft_wrap=True)
