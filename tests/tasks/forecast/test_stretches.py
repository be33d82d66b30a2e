"""Stretches of training windows against the windows themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from optlstm.errors import InputError
from optlstm.run.plan import make_plan
from optlstm.tasks.forecast.data import ForecastData
from optlstm.tasks.forecast.problem import ForecastProblem, forecast
from optlstm.tasks.forecast.stretches import Stretches
from optlstm.tasks.forecast.task import Forecast
from optlstm.tasks.options import DataConfig
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import fit
from optlstm.training.metric import Goal
from tests.tasks.forecast.samples import CPU, HP, one_series, problem_of

EVERY = replace(HP, supervision="every_step")


class Line(nn.Module):
    """A linear forecast of the window alone: after every step of a stretch what it is of that step's window."""

    def __init__(self, window: int = 8, patch: int = 4, horizon: int = 4) -> None:
        super().__init__()
        self.window, self.patch = window, patch
        self.weight = nn.Parameter(torch.linspace(-1, 1, window * horizon).reshape(horizon, window))

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        return x @ self.weight.T

    def every_step(self, x: Tensor, *more: Tensor) -> Tensor:
        return self(x.unfold(1, self.window, self.patch))


def several(missing: bool = False) -> ForecastData:
    """Three series, of which the second is shorter than a stretch and the third than a window."""
    values = np.arange(98.0, dtype=np.float32).reshape(49, 2)
    data = replace(
        one_series(values, horizon=2),
        starts=np.array([0, 24, 39]),
        static=np.empty((3, 0), np.float32),
        ids=("a", "b", "c"),
        mean=np.zeros((3, 2)),
        std=np.ones((3, 2)),
        naive=np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
        cuts=np.array([[0, 21, 23, 24], [24, 35, 37, 39], [39, 45, 47, 49]]),
    )
    gaps = np.random.default_rng(0).random(values.shape) < 0.2
    return replace(data, missing=gaps) if missing else data


def passes(stretches: Stretches, count: int = 4) -> Iterator[Tensor]:
    """The numbers of so many passes."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        yield stretches.shuffled(10**6, generator)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(("window", "patch", "steps"), [(7, 3, 3), (7, 1, 4), (4, 9, 1), (2, 2, 8)])
def test_a_pass_has_every_window_once_at_a_step_that_reads_it(
    window: int, patch: int, steps: int, missing: bool
) -> None:
    windows = ForecastProblem(several(missing), CPU).training_windows(Hyperparameters(window=window))
    before, stretches = [0, *windows.ends.tolist()], Stretches(windows, patch, steps)
    orders = list(passes(stretches))

    for order in orders:
        seen = []
        for index in order.split(5):
            inputs, targets = stretches.take(index)
            assert inputs.shape == (len(index), 2, window + (steps - 1) * patch)
            for i, (numbers, series) in enumerate(
                zip(*(part.tolist() for part in stretches.where(index)), strict=True)
            ):
                for step, number in enumerate(numbers):
                    if number < 0:
                        assert targets[i, :, step].isnan().all()
                        continue
                    expected = windows.take(torch.tensor([before[series] + number]))
                    assert torch.equal(inputs[i, :, step * patch : step * patch + window], expected[0][0])
                    assert torch.equal(targets[i, :, step].nan_to_num(-1), expected[1][0].nan_to_num(-1))
                    seen.append(before[series] + number)
        assert sorted(seen) == list(range(len(windows)))
    assert steps == 1 or len({tuple(sorted(order.tolist())) for order in orders}) > 1  # not the same stretches


@pytest.mark.parametrize("loss", ["mse", "mase"])
@pytest.mark.parametrize("missing", [False, True])
def test_the_loss_is_the_mean_over_the_windows(loss: str, missing: bool) -> None:
    problem = ForecastProblem(several(missing), CPU, goal=Goal(loss, ("mse",)))
    network, windows = Line(window=4, patch=2, horizon=2), problem.training_windows(Hyperparameters(window=4))
    hp = Hyperparameters(window=4, patch=2, batch_size=10**4, supervision="every_step")
    (batch,) = problem.batches(hp, torch.Generator().manual_seed(0))

    actual = problem.loss(network, batch)

    index = torch.arange(len(windows))  # every one once
    inputs, targets = windows.take(index)
    error = (forecast(network, inputs) - targets).detach().numpy()  # [windows, columns, horizon]
    naive = np.asarray(problem.data.naive)[windows.where(index)[1]][:, :, None]
    assert actual.item() == pytest.approx(np.nanmean(error**2 if loss == "mse" else abs(error) / naive), rel=1e-5)


def test_an_epoch_has_its_share_of_windows_and_of_steps(config: DataConfig) -> None:
    limited = problem_of(config.model_copy(update={"epoch_windows": 20}))
    repeated = ForecastProblem(replace(one_series(), epoch_steps=32), CPU)

    for problem, sizes in ((limited, [4, 1]), (repeated, [4] * 7)):
        batches = list(problem.batches(EVERY, torch.Generator().manual_seed(0)))
        assert [len(batch[0]) for batch in batches[: len(sizes)]] == sizes  # a quarter of batch_size
        assert len(batches) == problem.steps_per_epoch(EVERY)
    assert len(batches) == 35  # five passes of 28 stretches


@pytest.mark.parametrize(
    ("features", "loss"),
    [
        ({}, "mse"),
        ({"past": ("promo",)}, "quantiles"),
        ({}, "negative_binomial"),
        ({"future": ("promo", "kind"), "static": ("shop",)}, "mae"),
    ],
)
def test_it_is_learnt_and_resumed_bit_for_bit(config: DataConfig, features: dict[str, Any], loss: str) -> None:
    task = Forecast.read(config.model_copy(update=features))
    problem = ForecastProblem(task.data(), CPU, goal=Goal(loss, ("mse",)))
    run: dict[str, Any] = {"epochs": 4, "patience": 0, "seed": 3}

    whole = list(fit(problem, EVERY, **run))
    resumed = list(fit(problem, EVERY, **run, state=whole[1].state))

    assert [epoch.value for epoch in resumed] == [epoch.value for epoch in whole[2:]]
    assert all(torch.equal(tensor, whole[3].state.tensors[name]) for name, tensor in resumed[1].state.tensors.items())
    assert whole[3].value < 0.7 * whole[0].value if "future" in features else math.isfinite(whole[3].value)


@pytest.mark.parametrize(
    ("space", "refused"),
    [
        ({"bidirectional": True, "supervision": "every_step"}, True),
        ({"bidirectional": {"choices": [True, False]}, "supervision": {"choices": ["last_step", "every_step"]}}, True),
        (
            {
                "supervision": {"choices": ["last_step", "every_step"]},
                "bidirectional": {"choices": [True, False], "when": {"supervision": "last_step"}},
            },
            False,
        ),
        ({"bidirectional": True}, False),
    ],
)
def test_a_step_that_is_taught_cannot_be_read_backwards(space: dict[str, Any], refused: bool, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("ds,y\n" + "".join(f"{i},{math.sin(i)}\n" for i in range(2000)))
    raw = {"data": {"path": str(tmp_path / "s.csv"), "horizon": 4}, "space": space}

    if not refused:
        assert make_plan(raw).space.fixed.get("supervision") is None
        return
    with pytest.raises(InputError, match=r"space\.bidirectional: with supervision = 'every_step'"):
        make_plan(raw)
