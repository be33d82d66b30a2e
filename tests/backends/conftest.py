from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.contract import BACKENDS, Backend, Studies


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> Backend:
    found: Backend = request.param
    return found


@pytest.fixture
def studies(tmp_path: Path) -> Iterator[Studies]:
    opened = Studies(tmp_path)
    yield opened
    opened.close()
