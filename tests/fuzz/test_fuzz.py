"""A small, fixed piece of scripts/fuzz. What it found is kept as tests of the parsers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.fuzz.parsers import PARSERS
from tests.fuzz.run import escapes

COUNT = 2  # times a parser's share: some 200 inputs in all


@pytest.mark.parametrize("parser", [name for name in PARSERS if name != "database"])
def test_nothing_but_our_errors_comes_of_spoilt_inputs(cached_cli: Cli, folder: Path, parser: str) -> None:
    if parser in ("model", "database"):
        cached_cli("study", "tiny.toml")
        cached_cli("refit", "tiny", "-o", "model", "--seeds", "2")

    assert list(escapes(parser, range(COUNT * PARSERS[parser].share))) == []
