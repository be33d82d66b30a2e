"""The search spaces that studies start from: windows of whole seasons, and valid values only."""

from __future__ import annotations

import pytest

from optlstm.tasks.space import default_space, sequence_space, text_space
from optlstm.training.hparams import validate_value

SEASONS = (1, 2, 4, 7, 12, 24, 48, 52, 96, 168, 365)
STEPS = (1, 2, 5, 24, 100, 1000, 50_000)


@pytest.mark.parametrize(
    ("season", "horizon", "train_rows", "windows"),
    [
        (24, 24, 8640, [96, 168, 336]),
        (24, 168, 8640, [168, 336]),
        (24, 720, 8640, [336]),
        (52, 26, 1600, [52, 104, 156]),
        (52, 26, 300, [52]),
        (12, 12, 240, [48]),
        (12, 12, 100, [24]),
        (1, 4, 8640, [16, 48, 96]),
        (365, 30, 400, [48, 96]),
        (1, 1, 10, [2]),
    ],
)
def test_windows_are_whole_seasons_and_leave_rows_to_train_on(
    season: int, horizon: int, train_rows: int, windows: list[int]
) -> None:
    assert default_space(season, horizon, train_rows)["window"] == {"choices": windows, "default": windows[-1]}


@pytest.mark.parametrize(
    "space",
    [
        *(default_space(season, 24, 5000) for season in SEASONS),
        *(sequence_space(steps, 60) for steps in STEPS),
        text_space(None),
        text_space(50),
    ],
)
def test_every_value_is_a_valid_hyperparameter(space: dict[str, object]) -> None:
    for name, declared in space.items():
        if not isinstance(declared, dict):
            assert validate_value(name, declared) is None
            continue
        values = declared.get("choices") or [declared["low"], declared["high"]]
        assert [validate_value(name, value) for value in [*values, declared["default"]]] == [None] * (len(values) + 1)
        if "choices" in declared:
            assert declared["default"] in values
        else:
            assert declared["low"] <= declared["default"] <= declared["high"]
