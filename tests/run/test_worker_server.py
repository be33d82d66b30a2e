"""Which commands start a server of workers before their config is checked."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import pytest

from optlstm.run import worker_server as module
from optlstm.run.worker_server import worker_server
from optlstm.tasks.registry import TASKS


class Recorded:
    def __init__(self, threads: int, modules: Sequence[str]) -> None:
        self.threads, self.modules, self.closed = threads, modules, False

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ForkServer", Recorded)
    monkeypatch.setattr(module, "FORKS", True)
    monkeypatch.setattr(module, "cores", lambda: 2)


@pytest.mark.parametrize(
    ("raw", "threads"),
    [
        ({}, 1),
        ({"workers": 3, "trials": 20, "training": {"threads": 2}}, 2),
        ({"workers": 1, "trial_timeout": "10m"}, 1),  # what hangs is ended from outside
        ({"workers": "nonsense", "training": {"threads": "more"}, "task": "nonsense"}, 1),  # is refused later
        ({"workers": 1}, None),
        ({"trials": 1}, None),
        ({"backend": "ray"}, None),
    ],
)
def test_there_is_one_where_trials_run_in_worker_processes(raw: dict[str, Any], threads: int | None) -> None:
    with worker_server(raw) as server:
        assert (server and server.threads) == threads
    assert server is None or server.closed  # type: ignore[attr-defined]


@pytest.mark.parametrize("raw", [*({"task": name} for name in TASKS), {"objective": "own.py"}])
def test_it_imports_torch_and_what_the_task_needs(raw: dict[str, Any]) -> None:
    with worker_server(raw) as server:
        modules = server.modules  # type: ignore[union-attr]
    assert "optlstm.training.runtime" in modules
    assert all(map(find_spec, modules))
