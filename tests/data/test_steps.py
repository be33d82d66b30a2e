"""When two frequencies step alike."""

from __future__ import annotations

import pytest

from optlstm.data.frequency import same_step


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("h", "h", True),
        ("h", "2h", False),
        ("W-SUN", "W-MON", True),
        ("W-SUN", "2W-SUN", False),
        ("MS", "ME", True),
        ("QS-OCT", "QE-DEC", True),
        ("MS", "QS-OCT", False),
        ("BMS", "MS", False),
        ("D", "B", False),
        (None, None, True),
        (None, "D", False),
    ],
)
def test_same_step(one: str | None, other: str | None, alike: bool) -> None:
    assert same_step(one, other) is alike
    assert same_step(other, one) is alike
