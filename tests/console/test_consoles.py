"""A notebook's console: one output of all lines, and below them what changes."""

from __future__ import annotations

from typing import Any

import IPython.display
import pytest

from optlstm.console.consoles import NotebookConsole


def test_what_changes_stands_below_the_lines_until_it_is_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Output:
        def update(self, bundle: dict[str, str], raw: bool) -> None:
            shown.append(bundle["text/html"])

    def display(bundle: dict[str, str], **_: Any) -> Output:
        shown.append(bundle["text/html"])
        return Output()

    monkeypatch.setattr(IPython.display, "display", display)
    monkeypatch.setattr("optlstm.console.consoles.LEAST_S", -1)
    console = NotebookConsole()
    console.print("trial 0 \x1b[2J<b>")
    console.show_live("epoch 1/4")
    console.show_live("epoch 2/4")
    console.show_live(None)

    assert [[part in html for part in ("trial 0", "epoch 1", "epoch 2")] for html in shown] == [
        [True, False, False],
        [True, True, False],
        [True, False, True],
        [True, False, False],
    ]
    assert "\x1b" not in shown[-1]
    assert "&lt;b&gt;" in shown[-1]
    NotebookConsole(quiet=True).print("nothing")
    assert len(shown) == 4
