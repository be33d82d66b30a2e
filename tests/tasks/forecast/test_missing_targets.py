"""Missing targets in training and evaluation: they count in no loss, no metric, no weight and no interval."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from optlstm.tasks.forecast.evaluate import ForecastEvaluator
from optlstm.tasks.forecast.losses import LOSSES
from optlstm.tasks.forecast.mixture import choose_mixture
from optlstm.tasks.forecast.problem import make_problem
from optlstm.training.folds import Folds
from optlstm.training.metric import Goal
from tests.tasks.forecast.gaps import COVARIATES, CPU, HORIZON, HP, WINDOW, alone, emptied, panel, task_of


class Recorder(nn.Module):
    """Keeps what it is shown; forecasts the last value."""

    def forward(self, x: Tensor, covariates: Tensor, static: Tensor) -> Tensor:
        self.seen = x, covariates
        return x[:, -1:].expand(-1, HORIZON)


def test_a_mask_shows_the_last_value_and_that_one_is_missing(tmp_path: Path) -> None:
    frame = alone().assign(z=lambda frame: 2 * frame["y"])
    frame.loc[[0, 9, 10], "y"] = np.nan  # before row 0 there is no value: the mean
    frame.loc[11, "z"] = np.nan
    data = task_of(tmp_path, frame, "mask", folds=0, target=("y", "z")).data()
    problem, network = make_problem(pickle.loads(pickle.dumps(data)), CPU), Recorder()  # as a worker gets it
    windows = problem.training_windows(HP)

    batch = windows.take(torch.tensor([0, 4]))  # of the rows 0 to 11 and 4 to 15
    problem.loss(network, batch)

    x, covariates = (part.reshape(2, 2, *part.shape[1:]) for part in network.seen)  # [windows, columns, ...]
    assert covariates.shape[2] == 1  # of each column its own
    given = np.stack([frame["y"], frame["z"]], axis=1)
    scaled = (given - data.mean[0]) / data.std[0]
    scaled[0, 0], scaled[9:11, 0], scaled[11, 1] = 0.0, scaled[8, 0], scaled[10, 1]
    for i, first in enumerate((0, 4)):
        rows = slice(first, first + WINDOW)
        np.testing.assert_allclose(x[i], scaled[rows].T, rtol=1e-4, atol=1e-6)
        assert covariates[i, :, 0, :WINDOW].tolist() == np.isnan(given[rows]).T.astype(float).tolist()
        ahead = given[first + WINDOW : first + WINDOW + HORIZON].T
        assert batch[1][i].isnan().tolist() == np.isnan(ahead).tolist()
    # rows that are not there are what rows without values are
    later = frame[1:].assign(z=frame["z"].where(frame["y"].notna()))
    empty, absent = (task_of(tmp_path, part, "mask", target=("y", "z")) for part in (later, later.dropna(subset="y")))
    assert empty.data().values.tolist() == absent.data().values.tolist()


@pytest.mark.parametrize("loss", [name for name, loss in LOSSES.items() if loss.function])
@pytest.mark.parametrize("gaps", ["interpolate", "mask"])
def test_missing_targets_count_in_no_loss_and_no_metric(tmp_path: Path, loss: str, gaps: str) -> None:
    """Whatever stands in their place, the same numbers and the same gradients."""
    frame = emptied(emptied(panel(), [20, 21, 41, 43]), [30], "b")
    task = task_of(tmp_path, frame, gaps, folds=0, **COVARIATES)
    results = []
    for value in (0.0, 1000.0):
        data = task.data()
        assert data.missing is not None
        values = np.where(data.missing, np.float32(value), data.values)
        problem = make_problem(replace(data, values=values), CPU, goal=Goal(loss, ("rmse", "smape", "mase")))
        windows = problem.training_windows(HP)
        batch = list(windows.take(torch.arange(len(windows))))
        batch[0] = problem.training_windows(HP).rows.values.new_zeros(batch[0].shape)  # the inputs alone may differ
        if LOSSES[loss].scaled:
            batch.append(torch.ones(len(windows), 1, 1))
        torch.manual_seed(1)
        network = problem.network(HP)
        problem.loss(network, tuple(batch)).backward()
        gradient = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
        metrics = problem.validate(_Constant(), HP)
        results.append((gradient.tolist(), metrics, problem.plot_data(_Constant(), HP).by_step["mse"].tolist()))

    assert results[0] == results[1]
    assert np.isfinite(results[0][0]).all()
    assert np.isfinite(list(results[0][1].values())).all()


class _Constant(nn.Module):
    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        return torch.zeros(len(x), HORIZON)


@pytest.mark.parametrize("gaps", ["interpolate", "mask"])
@pytest.mark.parametrize("metric", ["mse", "mase"])
def test_baselines_ensembles_and_intervals_leave_missing_targets_out(tmp_path: Path, gaps: str, metric: str) -> None:
    frame = emptied(alone(90), [*range(20, 23), 52, 60, 61, 75, 85])
    whole = task_of(tmp_path, frame, gaps, folds=3)
    evaluator = ForecastEvaluator(whole)
    networks = Folds([_Constant() for _ in range(3)])

    mixture = choose_mixture(whole.data(), [(HP, networks)], [WINDOW], 7, metric)
    blend = mixture.blend(evaluator.training_data(joined=True), 1)
    section = evaluator.card_section().model_copy(update=blend.card_updates)
    held_out = evaluator.held_out(lambda: [(HP, networks)], blend)
    predictor = section.predictor([_Constant()], [HP], blend.extras)
    evaluation = evaluator.evaluate(predictor, joined=True, held_out=held_out)

    assert sum(mixture.trials) + sum(mixture.linear.values()) == pytest.approx(1)
    every = (evaluation.test, *evaluation.baselines.values())
    assert np.isfinite([value for scores in every for value in scores.values() if value is not None]).all()
    assert evaluation.test["wql"] is not None
    test = whole.panel.values[72:, 0]
    assert np.isnan(test).sum() == 2
    windows = len(test) - HORIZON + 1
    inside = 2 if gaps == "interpolate" else 0  # they begin behind one that was interpolated
    assert (
        evaluation.intervals["test_windows"] == windows - 2 - inside
    )  # of a step whose missing targets are in two windows
    assert evaluation.intervals["measured"]["50"]["coverage"] is not None


def test_a_mask_without_a_gap_is_the_loss_without_a_mask(tmp_path: Path) -> None:
    plain, masked = (task_of(tmp_path, panel(), gaps, folds=0).data() for gaps in ("refuse", "mask"))
    losses = []
    for data in (plain, masked):
        problem = make_problem(data, CPU)
        windows = problem.training_windows(HP)
        losses.append(float(problem.loss(_Constant(), windows.take(torch.arange(20)))))

    assert losses[0] == losses[1]
    assert plain.values.tolist() == masked.values.tolist()
