"""The horizon of a study that asks for none: a season, or what the series hold."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from optlstm.tasks.forecast.task import Forecast
from optlstm.tasks.options import DataConfig


def read(folder: Path, freq: str, *lengths: int, **config: object) -> Forecast:
    """Series of these lengths, checked for the default space."""
    parts = [
        pd.DataFrame({"unique_id": i, "ds": pd.date_range("2015-01-01", periods=n, freq=freq), "y": range(n)})
        for i, n in enumerate(lengths)
    ]
    path = folder / "x.csv"
    pd.concat(parts).drop(columns=["unique_id"] if len(lengths) == 1 else []).to_csv(path, index=False)
    task = Forecast.read(DataConfig(path=str(path), **config))  # type: ignore[arg-type]
    return task


@pytest.mark.parametrize(
    ("freq", "rows", "horizon"),
    [
        ("W", 260, 52),
        ("W", 208, 34),
        ("W", 104, 17),
        ("W", 52, 8),
        ("h", 96, 16),
        ("15min", 288, 48),
        ("MS", 24, 4),
        ("MS", 10, 1),
        ("D", 12, 2),
        ("D", 5, 1),
    ],
)
def test_the_default_horizon_fits_the_file(tmp_path: Path, freq: str, rows: int, horizon: int) -> None:
    task = read(tmp_path, freq, rows)

    assert task.horizon == horizon
    assert (horizon == 52) != any("--horizon N" in line for line in task.warnings)
    task.check_space(_Space())


def test_the_default_horizon_is_that_of_most_series(tmp_path: Path) -> None:
    assert read(tmp_path, "W", 104, 104, 104).horizon == 17
    assert read(tmp_path, "MS", 120, 120, 24, short="omit").horizon == 12
    assert read(tmp_path, "MS", 24, 24, 120).horizon == 4


@pytest.mark.parametrize(("splits", "horizon"), [((60, 9, 20), 9), ((0.8, 0.2, 0.0), 21)])
def test_the_default_horizon_fits_the_split(tmp_path: Path, splits: tuple[float, float, float], horizon: int) -> None:
    assert read(tmp_path, "W", 104, splits=splits).horizon == horizon


def test_a_horizon_that_was_asked_for_is_kept(tmp_path: Path) -> None:
    task = read(tmp_path, "W", 104, horizon=52)

    assert task.horizon == 52
    assert not any("--horizon N" in line for line in task.warnings)


class _Space:
    def allows(self, **values: object) -> bool:
        return False

    def largest(self, name: str) -> float:
        return 1.0
