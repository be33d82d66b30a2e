"""The search spaces that studies start from: windows of whole seasons, and valid values only."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optlstm.errors import InputError
from optlstm.run.task_space import start_configurations, task_space
from optlstm.study.declaration import parse_space
from optlstm.study.warm_start import params_problems
from optlstm.tasks.forecast.task import Forecast
from optlstm.tasks.options import DataConfig
from optlstm.tasks.space import default_space, every_step, sequence_space, text_space
from optlstm.training.hparams import used_by, validate_value

SEASONS = (1, 2, 4, 7, 12, 24, 48, 52, 96, 168, 365)
STEPS = (1, 2, 5, 24, 100, 1000, 50_000)


@pytest.mark.parametrize(
    ("season", "horizon", "longest", "windows"),
    [
        (24, 24, 5170, [96, 168, 336]),
        (24, 168, 5082, [168, 336, 720]),
        (24, 720, 4752, [720]),
        (7, 14, 300, [28, 49, 98]),
        (12, 12, 136, [24, 48, 84]),
        (12, 12, 53, [12, 24, 48]),
        (12, 12, 22, [12]),
        (12, 24, 5, [5]),
        (52, 26, 944, [52, 104, 156]),
        (96, 96, 20_000, [288, 480, 672]),
        (96, 24, 20_000, [96, 192, 288]),
        (1, 96, 8000, [192, 384, 768]),
        (7, 60, 1000, [98, 210]),
        (365, 30, 222, [48, 96, 192]),
        (1, 4, 5181, [16, 48, 96]),
        (1, 1, 5, [5]),
        (1, 1, 1, [1]),
    ],
)
def test_windows_are_whole_seasons_and_leave_rows_to_train_on(
    season: int, horizon: int, longest: int, windows: list[int]
) -> None:
    assert default_space(season, horizon, longest)["window"] == {"choices": windows, "default": windows[-1]}


@pytest.mark.parametrize(
    ("season", "longest", "patches"),
    [
        (12, 136, [6, 12, 24]),
        (12, 22, [6, 12]),
        (24, 30, [12, 24]),
        (7, 12, [7]),
        (1, 12, [4, 8]),
        (12, 5, [1]),
    ],
)
def test_no_patch_is_longer_than_the_longest_window(season: int, longest: int, patches: list[int]) -> None:
    space = default_space(season, 1, longest)

    assert space["patch"] == {"choices": patches, "default": patches[:2][-1]}


def test_fewer_windows_are_trained_on_in_smaller_batches_and_larger_steps() -> None:
    spaces = [default_space(12, 12, 60, windows) for windows in (100, 500, 5000)]

    assert [space["batch_size"] for space in spaces] == [16, 32, 64]
    assert [space["learning_rate"]["default"] for space in spaces] == [3e-3, 3e-3, 1e-3]  # type: ignore[index]
    assert spaces[2]["learning_rate"] == {"low": 3e-4, "high": 3e-3, "log": True, "default": 1e-3}


def test_where_every_step_is_taught_other_defaults_suit() -> None:
    base, section = default_space(12, 12, 60, 5000), {"supervision": "every_step"}
    kind: Any = SimpleNamespace(name="forecast", default_space=lambda: base)

    space = task_space(kind, kind, section)

    assert space.defaults() == {
        **task_space(kind, kind, {}).defaults(),
        "learning_rate": 2e-3,
        "window_norm": "mean_std",
        "pooling": "last",
    }
    assert task_space(kind, kind, {**section, "base": space.spec()}) == space  # of a study that is continued
    assert task_space(kind, kind, {"supervision": "last_step"}).defaults() == task_space(kind, kind, {}).defaults()


@given(
    lengths=st.lists(st.integers(40, 400), min_size=1, max_size=3),
    freq=st.sampled_from(["h", "D", "MS", "W"]),
    horizon=st.integers(1, 40),
    folds=st.sampled_from([None, None, 0, 2]),
    fraction=st.sampled_from([1.0, 0.5]),
)
@settings(max_examples=40, deadline=None)
def test_a_window_and_a_horizon_fit_into_the_training_rows_of_a_series_in_every_fold(
    lengths: list[int], freq: str, horizon: int, folds: int | None, fraction: float
) -> None:
    frame = pd.concat(
        pd.DataFrame({"unique_id": f"s{i}", "ds": pd.date_range("2000-01-01", periods=rows, freq=freq)})
        for i, rows in enumerate(lengths)
    )
    with tempfile.TemporaryDirectory() as folder:
        frame.assign(y=np.arange(len(frame)) % 17.0).to_csv(f"{folder}/y.csv", index=False)
        data = {"path": f"{folder}/y.csv", "horizon": horizon, "folds": folds}
        try:
            task, all_rows = Forecast.read(DataConfig(**data, fraction=fraction)), Forecast.read(DataConfig(**data))
        except InputError:  # so many folds do not fit
            return
    space = task.default_space()
    assert space == all_rows.default_space()
    longest = max(space["window"]["choices"])  # type: ignore[index]

    for cuts in all_rows.folds or (all_rows.cuts,):
        rows = (cuts[:, 1] - cuts[:, 0]).max()  # in shorter series it is padded
        assert longest + horizon <= rows or longest == 1 >= rows - horizon


@pytest.mark.parametrize(
    ("task", "space"),
    [
        *(("forecast", default_space(season, 24, 5000)) for season in SEASONS),
        *(("forecast", default_space(12, 12, 60, windows)) for windows in (100, 500)),
        ("forecast", every_step(default_space(24, 24, 5000)) | {"supervision": "every_step"}),
        *(("sequence", sequence_space(steps, 60)) for steps in STEPS),
        ("text", text_space(None)),
        ("text", text_space(50)),
    ],
)
def test_every_value_and_every_start_is_one_that_a_study_can_have(task: str, space: dict[str, object]) -> None:
    parsed = parse_space(space, used_by(task), validate_value)
    starts = start_configurations(task, parsed)

    assert len(parsed.params) + len(parsed.fixed) == len(space)
    assert params_problems([parsed.defaults(), *starts], parsed, "start") == []
    assert len({str(start) for start in (parsed.defaults(), *starts)}) == 1 + len(starts)
    # For labels, and where every step is taught, no list was better than random configurations.
    assert bool(starts) == (task == "forecast" and "supervision" not in space)


def test_a_start_is_a_point_of_any_space() -> None:
    point = {"window": 1.0, "patch": 0.0, "learning_rate": 0.5, "linear_skip": "solved", "pooling": "last"}
    many, few = (parse_space(default_space(24, 24, 5000, n), used_by("forecast"), validate_value) for n in (5000, 100))

    assert many.at(point) == {
        **many.defaults(),
        "window": 336,
        "patch": 12,
        "learning_rate": pytest.approx(9.487e-4, rel=1e-3),
        "linear_skip": "solved",
        "pooling": "last",
    }
    assert few.at(point)["linear_skip"] is True  # its choices have no "solved": the default


@pytest.mark.parametrize(("columns", "batch"), [(1, 64), (2, 32), (7, 16), (12, 8), (400, 8)])
def test_of_many_columns_fewer_windows_are_a_batch(columns: int, batch: int) -> None:
    assert default_space(24, 24, 5000, 5000, columns)["batch_size"] == batch


@pytest.mark.parametrize(("series", "longest"), [(3, 48), (200, 84)])
def test_series_of_one_length_hold_a_long_window_where_many_windows_remain(
    series: int, longest: int, tmp_path: Path
) -> None:
    rows, random = 100, np.random.default_rng(0)
    columns = {"unique_id": np.repeat(range(series), rows), "ds": np.tile(range(rows), series)}
    pd.DataFrame({**columns, "y": random.normal(size=rows * series)}).to_csv(tmp_path / "y.csv", index=False)
    config = DataConfig(path=str(tmp_path / "y.csv"), horizon=1, splits=(10_000, 1, 1), folds=0, season=12)

    assert max(Forecast.read(config).default_space()["window"]["choices"]) == longest  # type: ignore[index]


def test_a_week_that_shows_beside_the_day_is_said_and_windows_reach_it(tmp_path: Path) -> None:
    rows = np.arange(96 * 7 * 5)
    day, noise = np.sin(2 * np.pi * rows / 96), 0.3 * np.random.default_rng(0).normal(size=len(rows))
    times = pd.date_range("2024-01-01", periods=len(rows), freq="15min")
    windows = {}
    for name, week in (("week", rows // 96 % 7 > 4), ("day", 0.0)):
        pd.DataFrame({"ds": times, "y": day + noise + week}).to_csv(tmp_path / f"{name}.csv", index=False)
        task = Forecast.read(DataConfig(path=str(tmp_path / f"{name}.csv"), horizon=24))
        assert ("seasons of 96 and 672 rows" in task.describe()) == (name == "week")
        assert (task.season, task.record().get("season")) == (96, None)
        windows[name] = task.default_space()["window"]

    assert windows["day"] == {"choices": [96, 192, 288], "default": 288}
    assert windows["week"] == {"choices": [192, 288, 672], "default": 288}
