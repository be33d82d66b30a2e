"""Consoles: what lines for people go through, and in a notebook one output that is updated in place."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from optlstm.util.format import visible_lines

NOTEBOOK_COLUMNS = 120
LEAST_S = 0.25  # between two updates of a notebook's output
_HTML = '<pre style="line-height: 1.3; white-space: pre-wrap">{code}</pre>'


class PlainConsole(Console):
    """Text comes from files and databases: its escape sequences and direction marks are shown, never obeyed."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible_lines(segment.text), segment.style)


class NotebookConsole(PlainConsole):
    """All lines so far, and below them what changes all the time, as a single output of the notebook's cell."""

    def __init__(self, quiet: bool = False) -> None:
        super().__init__(
            file=io.StringIO(),
            quiet=quiet,
            record=True,
            highlight=False,
            width=NOTEBOOK_COLUMNS,
            force_terminal=False,
            force_jupyter=False,
            color_system="truecolor",
        )
        self._output: Any = None
        self._live: RenderableType | None = None
        self._updated = 0.0

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*objects, **options)
        self._update()

    def show_live(self, live: RenderableType | None) -> None:
        """What stands below the lines from now on; None: nothing more."""
        self._live = live
        if live is None or time.monotonic() - self._updated > LEAST_S:
            self._update()

    def _update(self) -> None:
        if self.quiet:
            return
        self._updated = time.monotonic()
        text = self.export_text(clear=False)
        code = self.export_html(clear=False, inline_styles=True, code_format="{code}")
        if self._live is not None:
            below = NotebookConsole(quiet=True)
            below.quiet = False
            Console.print(below, self._live)
            code += below.export_html(inline_styles=True, code_format="{code}")
        bundle = {"text/plain": text, "text/html": _HTML.format(code=code)}
        if self._output is None:
            self._output = import_module("IPython.display").display(bundle, raw=True, display_id=True)
        else:
            self._output.update(bundle, raw=True)
