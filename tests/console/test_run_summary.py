"""What is printed after a run."""

from __future__ import annotations

from typing import Any

import pytest

from optlstm.config.schema import StudyConfig
from optlstm.console.run_summary import running_flags


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ""),
        ({"storage_path": "my runs"}, " --storage-path 'my runs'"),
        ({"storage_path": "local"}, " --storage-path local"),
        ({"storage_path": "s3://key:secret@host/runs"}, " --storage-path URL"),
        (
            {"storage_path": "/shared", "backend": "ray", "ray": {"address": "head:6379"}},
            " --storage-path /shared --backend ray --address head:6379",
        ),
    ],
)
def test_the_command_that_continues_says_where_the_trials_ran(given: dict[str, Any], expected: str) -> None:
    assert running_flags(StudyConfig(**given)) == expected
