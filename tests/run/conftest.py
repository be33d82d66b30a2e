from __future__ import annotations

from pathlib import Path

import pytest

from tests.backends.contract import Studies


@pytest.fixture
def studies(tmp_path: Path) -> Studies:
    return Studies(tmp_path)
