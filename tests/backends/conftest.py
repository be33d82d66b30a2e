from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.contract import BACKENDS, Backend, Studies


def _mark(backend: Backend) -> object:
    return pytest.param(backend, id=backend.name, marks=[pytest.mark.ray] if backend.name == "ray" else [])


def _started(request: pytest.FixtureRequest) -> Backend:
    backend: Backend = request.param
    if backend.name == "ray":
        request.getfixturevalue("local_ray")
    return backend


@pytest.fixture(params=[_mark(backend) for backend in BACKENDS if backend.isolated])
def isolated(request: pytest.FixtureRequest) -> Backend:
    """The backends whose trials run in processes that may be killed."""
    return _started(request)


@pytest.fixture(params=[_mark(backend) for backend in BACKENDS])
def backend(request: pytest.FixtureRequest) -> Backend:
    return _started(request)


@pytest.fixture
def studies(tmp_path: Path) -> Iterator[Studies]:
    opened = Studies(tmp_path)
    yield opened
    opened.close()
