from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.contract import BACKENDS, Backend, Studies, backend_param


@pytest.fixture(params=[backend_param(backend) for backend in BACKENDS])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Every backend, or those that a test is parametrized with."""
    backend: Backend = request.param
    if backend.name == "ray":
        request.getfixturevalue("local_ray")
    return backend


@pytest.fixture
def studies(tmp_path: Path) -> Iterator[Studies]:
    opened = Studies(tmp_path)
    yield opened
    opened.close()
