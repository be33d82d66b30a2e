"""Trainings with losses of quantiles and distributions: resumed, grown, by custom networks, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from optlstm.tasks.forecast.losses import LOSSES
from optlstm.tasks.forecast.problem import ForecastProblem, make_problem
from optlstm.training.folds import one_of
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import fit
from optlstm.training.metric import Goal, Metric
from optlstm.training.morph import morph, with_growth
from tests.cli.test_bad_input import refuses
from tests.conftest import Cli
from tests.tasks.forecast.samples import one_series
from tests.tasks.forecast.test_losses import CPU, read
from tests.training.test_loop import assert_same

PROBABILISTIC = [name for name, loss in LOSSES.items() if loss.function is None]
SMALL = Hyperparameters(window=8, batch_size=16, hidden_size=4, dropout=0.2, linear_skip=True)
TINY = ("study", "tiny.toml", "--trials", "1")


@pytest.mark.parametrize("name", ["many", "covariates", "one"])
@pytest.mark.parametrize("loss", PROBABILISTIC)
def test_resuming_changes_not_one_bit(tmp_path: Path, name: str, loss: str) -> None:
    """Of many series, with covariates, and of two columns with gaps in two folds."""
    data = read(tmp_path, name).data()
    problem = make_problem(replace(data, positive=True), CPU, goal=Goal(loss, ("msis",)))
    settings = {"epochs": 2, "patience": None, "seed": 0, "metric": Metric("msis")}

    first, second = fit(problem, SMALL, **settings)
    (resumed,) = fit(problem, SMALL, **settings, state=first.state)

    assert_same(resumed.state, second.state)
    assert list(second.metrics) == ["mse", "mae", "wql", "crps", "msis"]
    assert np.isfinite(list(second.metrics.values())).all()
    with torch.no_grad():
        assert problem.plot_data(problem.network(SMALL).eval(), SMALL).windows > 0
    outputs = {"quantiles": 7, "normal": 2, "student_t": 3, "poisson": 1, "negative_binomial": 2}
    head = one_of(problem.network(SMALL)).head
    assert isinstance(head, nn.Linear)
    assert head.out_features == 4 * outputs[loss]


@pytest.mark.parametrize("loss", ["quantiles", "student_t"])
def test_a_grown_network_gives_the_same_quantiles(loss: str) -> None:
    problem = ForecastProblem(one_series(), CPU, goal=Goal(loss))
    hp = replace(SMALL, dropout=0.0)
    (epoch,) = fit(problem, hp, epochs=1, patience=None, seed=0)
    grown = replace(hp, hidden_size=6, num_layers=2)

    state = morph(epoch.state, hp, grown, seed=1)
    wider = problem.network(with_growth(grown, state.tensors)).eval()
    wider.load_state_dict(state.part("network"))

    small = problem.network(hp).eval()
    small.load_state_dict(epoch.state.part("network"))
    with torch.no_grad():
        assert problem.validate(wider, grown) == pytest.approx(problem.validate(small, hp), rel=1e-4)


def test_a_solved_linear_part_is_where_the_middle_quantile_starts() -> None:
    values = one_series(np.random.default_rng(0).normal(size=(100, 1)).cumsum(axis=0))
    solved = replace(SMALL, linear_skip="solved")
    points = ForecastProblem(values, CPU).network(solved).eval()
    quantiles = ForecastProblem(values, CPU, goal=Goal("quantiles")).network(solved).eval()

    window = torch.randn(3, 8)
    middle = quantiles(window)[..., 3]
    np.testing.assert_allclose(middle.detach(), points(window).detach(), rtol=1e-5, atol=1e-6)


def test_quantiles_follow_the_spread_of_the_values() -> None:
    """Every other stretch of eight rows is five times as noisy: intervals there are the wider ones, and cover."""
    rows, noise = np.arange(1600), np.random.default_rng(0).normal(size=1600)
    spread = np.where(rows // 8 % 2, 0.5, 0.1)
    values = np.sin(2 * np.pi * rows / 16) + spread * noise
    data = one_series(values[:, None], (0, 1200, 1500, 1600), horizon=16)
    problem = ForecastProblem(data, CPU, goal=Goal("quantiles", ("wql",)))
    hp = Hyperparameters(window=16, patch=4, batch_size=32, hidden_size=24, window_norm="none", learning_rate=1e-2)

    best = min(fit(problem, hp, epochs=6, patience=None, seed=0), key=lambda epoch: epoch.value)

    network = problem.network(hp).eval()
    network.load_state_dict(best.state.weights)
    with torch.no_grad():
        out = network(torch.from_numpy(data.values[1200:1216, 0])[None])
    width = (problem.head.quantiles(out, (0.1, 0.9))[0].diff(dim=-1)[:, 0]).numpy()
    assert stats.spearmanr(width, spread[1216:1232]).statistic > 0.8  # at most .87 where there are two values


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--loss", "quantiles", "--set", "data.quantiles=[0.5, 0.1]"), "data.quantiles: must be increasing numbers"),
        (("--loss", "quantiles", "--set", "data.quantiles=[0.5, 1.0]"), "numbers between 0 and 1, got [0.5, 1.0]"),
        (("--set", "data.quantiles=[0.1, 0.9]"), "data.quantiles: the loss mse has none; training.loss = 'quantiles'"),
        (
            ("--loss", "poisson"),
            "training: poisson is not defined on these data: column 'y' has 0.5, which",
        ),
        (
            ("--loss", "negative_binomial"),
            "column 'y' has 0.5, which is no count; take another (known: mse, mae, huber",
        ),
        (("--set", "data.positive=true"), "data.positive: column 'y' of tiny.csv has -1; leave it out"),
    ],
)
def test_what_has_no_distribution_is_refused(cli: Cli, flags: tuple[str, ...], expected: str) -> None:
    values = np.arange(120) % 7 - ("data.positive=true" in flags)
    Path("tiny.csv").write_text("\n".join(["ds,y", "0,0.5", *(f"{i + 1},{y}" for i, y in enumerate(values[1:]))]))

    refuses(cli, (*TINY, *flags), [[expected]])


def test_counts_and_values_near_zero_are_noticed(cli: Cli) -> None:
    """A note proposes `data.positive` where no value is below zero."""
    Path("tiny.csv").write_text("\n".join(["ds,y", *(f"{i},{i % 7 % 4}" for i in range(120))]))

    noted = cli(*TINY)
    said = cli(*TINY, "--set", "data.positive=true", "--loss", "poisson", "--name", "counts")

    proposal = "no value is below zero; --set data.positive=true keeps forecasts and intervals from going there"
    assert proposal in noted.out + noted.err
    assert proposal not in said.out + said.err


def test_a_model_records_what_its_networks_give(cli: Cli, cached_cli: Cli) -> None:
    levels = "data.quantiles=[0.1, 0.5, 0.9]"
    cached_cli(*TINY, "--loss", "quantiles", "--set", levels, "--name", "q")
    cached_cli("refit", "q", "-o", "model")

    assert json.loads(Path("model/model.json").read_text())["task"]["head"] == {
        "loss": "quantiles", "levels": [0.1, 0.5, 0.9], "positive": False, "mean": False
    }  # fmt: skip
    assert cli(*TINY, "--loss", "quantiles", "--set", levels, "--name", "q").lines[2].startswith("nothing to do")
    other = ("--set", "data.quantiles=[0.2, 0.5]")
    refuses(cli, (*TINY, "--loss", "quantiles", *other, "--name", "q"), [["exists"], ["data.quantiles"]])
