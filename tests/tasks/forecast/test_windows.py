"""Windows of one series and scaling against slow loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from optlstm.data.scaling import Standardizer
from optlstm.errors import TrialFailed
from optlstm.tasks.forecast.data import ForecastData
from optlstm.tasks.forecast.problem import ForecastProblem, Windows
from optlstm.training.factory import InputSizes
from optlstm.training.hparams import Hyperparameters

CPU = torch.device("cpu")


def problem_of(values: np.ndarray, cuts: list[int], horizon: int) -> ForecastProblem:
    """Of one series [rows, columns] that is cut at these rows: train, validation, test, the end."""
    rows, columns = values.shape
    data = ForecastData(
        values=values.astype(np.float32),
        covariates=np.empty((rows, 0), np.float32),
        static=np.empty((1, 0), np.float32),
        sizes=InputSizes(),
        ids=("",),
        columns=tuple(f"c{i}" for i in range(columns)),
        mean=np.zeros((1, columns)),
        std=np.ones((1, columns)),
        cuts=np.array([cuts]),
        horizon=horizon,
    )
    return ForecastProblem(data, CPU)


def whole(windows: Windows) -> np.ndarray:
    """Every window with its targets, [n, columns, window + horizon]."""
    return np.concatenate([torch.cat(batch, dim=2).numpy() for batch in windows.batches(7)])


@pytest.mark.parametrize(("window", "horizon"), [(1, 1), (4, 2), (5, 3)])
def test_windows_are_what_a_loop_would_cut(window: int, horizon: int) -> None:
    values = np.arange(60.0, dtype=np.float32).reshape(30, 2)
    problem, hp = problem_of(values, [10, 20, 27, 30], horizon), Hyperparameters(window=window)

    for windows, targets, reach_back in (
        (problem.training_windows(hp), range(10, 20), False),
        (problem.validation_windows(hp), range(20, 27), True),
    ):
        expected = []
        for first in range(30):  # the first target row
            inside = all(row in targets for row in range(first, first + horizon))
            if inside and (reach_back or first - window in targets):
                expected.append(values[first - window : first + horizon].T)
        assert np.array_equal(whole(windows), np.stack(expected))
        assert len(windows) == len(expected)


def test_nothing_is_copied_before_a_batch_is_taken() -> None:
    problem = problem_of(np.zeros((30, 2), dtype=np.float32), [0, 20, 25, 30], 2)

    rows = problem.training_windows(Hyperparameters(window=4)).rows

    assert rows.values.numpy().ctypes.data == problem.data.values.ctypes.data


@pytest.mark.parametrize("horizon", [24, 48, 168])
@pytest.mark.parametrize("window", [96, 336])
def test_the_ett_protocol(window: int, horizon: int) -> None:
    problem = problem_of(np.arange(17420.0)[:, None], [0, 8640, 11520, 14400], horizon)

    train, validation = (whole(cut(Hyperparameters(window=window))) for cut in (
        problem.training_windows, problem.validation_windows))  # fmt: skip

    assert (train.min(), train.max(), len(train)) == (0, 8639, 8640 - window - horizon + 1)
    assert (validation.min(), validation.max(), len(validation)) == (8640 - window, 11519, 2880 - horizon + 1)
    assert validation[:, 0, window].tolist() == list(range(8640, 11520 - horizon + 1))


def test_one_window_is_enough_and_none_fails_the_trial() -> None:
    hp = Hyperparameters(window=4)

    assert len(problem_of(np.zeros((20, 1)), [0, 6, 15, 20], 2).training_windows(hp)) == 1
    with pytest.raises(TrialFailed, match=r"window 4 \+ horizon 2 need 6 rows, and there are 5"):
        problem_of(np.zeros((20, 1)), [0, 5, 15, 20], 2).training_windows(hp)
    with pytest.raises(TrialFailed, match="there are 3"):
        problem_of(np.zeros((20, 1)), [0, 3, 15, 20], 2).validation_windows(hp)


def test_standard_scores_by_column() -> None:
    values = np.array([[1.0, 5.0], [3.0, 5.0]])

    scaler = Standardizer.fit(values)

    assert scaler.mean.tolist() == [2.0, 5.0]
    assert scaler.std.tolist() == [1.0, 1.0]  # population; a constant column's is taken to be 1
    assert scaler.transform(values).tolist() == [[-1.0, 0.0], [1.0, 0.0]]
