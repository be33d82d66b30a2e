"""Losses and deciding metrics against their definitions, on one series, many, with covariates, folds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from torch import Tensor, nn

from optlstm.data.panel import Panel
from optlstm.tasks.forecast.errors import seasonal_scale
from optlstm.tasks.forecast.losses import LOSSES, mase_factors
from optlstm.tasks.forecast.problem import make_problem
from optlstm.tasks.forecast.task import Forecast
from optlstm.tasks.options import DataConfig
from optlstm.training.folds import Folds
from optlstm.training.hparams import Hyperparameters
from optlstm.training.metric import Goal
from tests.cli.test_bad_input import refuses
from tests.conftest import URL, Cli
from tests.tasks.forecast.samples import write

CPU, HP = torch.device("cpu"), Hyperparameters(window=8, batch_size=16)
COVARIATES = {"future": ("promo", "kind"), "static": ("shop",)}
TINY = ("study", "tiny.toml", "--trials", "2")


class Half(nn.Module):
    """Forecasts half of the last value; it reads no covariates."""

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        return x[:, -1:].expand(-1, 4) / 2


def read(folder: Path, name: str) -> Forecast:
    """Three series with a covariate, or one with two columns and gaps; a season of 24 or 7 rows."""
    if name == "one":
        days = np.arange(80)
        lines = [f"2024-{1 + day // 28:02d}-{1 + day % 28:02d},{np.sin(day)},{day % 7 + day**1.5}" for day in days]
        (folder / "one.csv").write_text("\n".join(["ds,a,b", *lines]))
        config = DataConfig(path=str(folder / "one.csv"), target=("a", "b"), horizon=4, folds=2, gaps="interpolate")
    else:
        write(folder / "p.csv")
        more = COVARIATES if name == "covariates" else {}
        config = DataConfig(path=str(folder / "p.csv"), horizon=4, folds=0, **more)
    return Forecast.read(config)


def errors(panel: Panel, first: np.ndarray, scale: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Forecasts of `Half` from the rows `first` [n] on, and what came, [n, columns, 4], in the data's units."""
    actual = panel.truth(first, 4)
    last = panel.inputs[first - 1][:, :, None]
    return np.repeat(mean + (last - mean) / 2, 4, axis=2), actual


@pytest.mark.parametrize("name", ["many", "covariates", "one"])
@pytest.mark.parametrize("loss", [name for name, loss in LOSSES.items() if loss.function])
def test_a_loss_is_what_its_definition_says(tmp_path: Path, name: str, loss: str) -> None:
    task = read(tmp_path, name)
    data, panel = task.data(), task.panel
    cuts = data.folds[0] if data.folds else data.cuts
    problem, network = make_problem(data, CPU, goal=Goal(loss)), Half()
    if data.folds:
        network = Folds([Half() for _ in data.folds])

    batches = list(problem.batches(HP, torch.Generator().manual_seed(0)))
    if data.folds:
        batches = [batch for batch in batches if int(batch[-1]) == 0]
    given = [int((~batch[1].isnan()).sum()) for batch in batches]
    losses = [float(problem.loss(network, batch)) for batch in batches]
    value = np.average(losses, weights=given)

    expected: list[np.ndarray] = []
    for i, (start, stop) in enumerate(cuts[:, :2]):
        first = np.arange(start + HP.window, stop - 3)
        mean, std = data.mean[i][:, None], data.std[i][:, None]
        forecast, actual = errors(panel, first, std, mean)
        naive = seasonal_scale(panel.values[start:stop], panel.season)[:, None]
        gap = np.abs(forecast - actual)
        each = {
            "mse": np.square(gap / std),
            "mae": gap / std,
            "huber": np.where(gap / std < 1, np.square(gap / std) / 2, gap / std - 0.5),
            "mase": gap / naive,
        }[loss]
        expected.append(each.ravel())
    assert np.isnan(np.concatenate(expected)).any() == (name == "one")
    assert value == pytest.approx(np.nanmean(np.concatenate(expected)), rel=1e-4)


def test_a_series_without_a_scale_has_the_middle_one() -> None:
    factors = mase_factors(np.array([[2.0], [2.0], [2.0], [6.0]]), np.array([[np.nan], [0.0], [1.0], [1.0]]))

    assert factors.tolist() == [[4.0], [4.0], [2.0], [6.0]]


@pytest.mark.parametrize("name", ["many", "one"])
def test_a_metric_that_decides_is_computed_and_no_other(tmp_path: Path, name: str) -> None:
    task = read(tmp_path, name)
    data, panel = task.data(), task.panel
    network = Folds([Half() for _ in data.folds]) if data.folds else Half()

    usual = make_problem(data, CPU).validate(network, HP)
    every = make_problem(data, CPU, goal=Goal(None, ("rmse", "smape", "mase"))).validate(network, HP)

    assert list(usual) == ["mse", "mae"]
    assert usual.items() <= every.items()  # to the last bit
    scores: dict[str, list[float]] = {"rmse": [], "smape": [], "mase": []}
    for cuts in data.folds or (data.cuts,):
        squared, share, scaled = [], [], []
        for i, (_, start, stop, _) in enumerate(cuts):
            mean, std = data.mean[i][:, None], data.std[i][:, None]
            forecast, actual = errors(panel, np.arange(start, stop - 3), std, mean)
            gap, train = np.abs(forecast - actual), task.first_cuts[i]
            squared.append(np.square(gap / std))
            share.append(200 * gap / (np.abs(forecast) + np.abs(actual)))
            naive = seasonal_scale(panel.values[train[0] : train[1]], panel.season)[:, None]
            scaled.append(np.nanmean(gap / naive, axis=0).mean())
        scores["rmse"].append(np.sqrt(np.nanmean(np.concatenate(squared))))
        scores["smape"].append(np.nanmean(np.concatenate(share), axis=0).mean())
        scores["mase"].append(np.mean(scaled))  # the unweighted mean over the series
    for metric, values in scores.items():
        assert every[metric] == pytest.approx(np.mean(values), rel=1e-4)


def test_a_study_keeps_its_loss_and_the_metric_that_decides(cli: Cli) -> None:
    done = cli(*TINY, "--loss", "mae")
    assert done.lines[1].endswith(", loss mae, metric mae")
    assert [line.split()[3] for line in done.lines[2:4]] == ["mae", "mae"]
    best = optuna.load_study(study_name="tiny", storage=URL).best_trial
    assert best.value == best.user_attrs["mae"]

    assert cli("study", "--name", "tiny", "--trials", "2").lines[2].startswith("nothing to do")
    refuses(cli, (*TINY, "--loss", "huber"), [["exists"], ["training.loss: the study has 'mae'"], ["training.metric"]])
    other = ("study", "--import", "tiny", "--name", "other", "--set", "training.metric=smape")
    refuses(cli, other, [["import_from: study 'tiny' is another search: it has training.metric = mae"]])


def test_the_usual_loss_is_that_of_older_studies(cli: Cli, cached_cli: Cli) -> None:
    cached_cli("study", "tiny.toml")

    assert cli("study", "tiny.toml", "--loss", "mse").lines[2].startswith("nothing to do")
    training = optuna.load_study(study_name="tiny", storage=URL).user_attrs["optlstm:study"]["training"]
    assert training.keys() == {"epochs", "patience", "threads"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ("--loss", "mas"),
            "training.loss: must be one of mse, mae, huber, mase, quantiles, normal, student_t, poisson,"
            " negative_binomial, got 'mas'; did you mean 'mase'?",
        ),
        (
            ("--set", "training.metric=mape"),
            "training.metric: must be one of mse, mae, rmse, smape, mase, wql, crps, msis, got 'mape'",
        ),
        *(
            (flags, "training: mase is not defined on these data: some column has no training rows that differ from")
            for flags in (("--loss", "mase"), ("--objectives", "mase,parameters"))
        ),
    ],
)
def test_what_cannot_be_minimised_is_refused(cli: Cli, arguments: tuple[str, ...], expected: str) -> None:
    Path("tiny.csv").write_text("\n".join(["ds,y", *(f"{i},{i > 90:d}" for i in range(120))]))

    refuses(cli, (*TINY, *arguments), [[expected]])
