"""Heads against SciPy's distributions and the definitions of their losses; their quantiles never cross."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from optlstm.tasks.forecast.losses import LOSSES, HeadSpec
from optlstm.training.heads import CountHead, Head, NormalHead, PointHead, QuantileHead, Scale
from optlstm.training.hparams import Hyperparameters
from optlstm.training.metric import Goal
from optlstm.training.model import LSTMForecaster

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
WANTED = (0.001, 0.05, 0.3, 0.5, 0.9, 0.999)
SCALE = Scale(torch.tensor([4.0, 9.0]), torch.tensor([2.0, 5.0]))


def head_of(loss: str, metric: str = "wql", positive: bool = False) -> Head:
    return HeadSpec.of(Goal(loss, (metric,)), LEVELS, positive).head()


def shaped(*params: float) -> Tensor:
    """`out` of one step for two series, the second twice as far from 0: [2, 1, outputs]."""
    out = torch.tensor([params, (2 * params[0], *params[1:])]).reshape(2, 1, -1)
    return out[..., 0] if len(params) == 1 else out


@pytest.mark.parametrize(
    ("head", "out", "likelihood"),
    [
        (NormalHead(), (0.3, 1.5), stats.norm(0.3, 1.5).logpdf),
        (NormalHead(student=True), (0.3, 1.5, 2.7), stats.t(2.7, 0.3, 1.5).logpdf),
    ],
)
def test_a_distribution_is_scipys(head: Head, out: tuple[float, ...], likelihood: object) -> None:
    targets = torch.tensor([[-3.0, 0.0, 7.0]])
    losses = [head.loss(shaped(*out)[:1], target[:, None]).item() for target in targets.T]

    assert losses == pytest.approx([-likelihood(y) for y in targets[0].tolist()], rel=1e-5)  # type: ignore[operator]
    quantile = stats.t(2.7, 0.3, 1.5).ppf if head.outputs == 3 else stats.norm(0.3, 1.5).ppf
    assert head.quantiles(shaped(*out), WANTED)[0, 0].tolist() == pytest.approx(quantile(WANTED), rel=1e-4)
    assert head.point(shaped(*out)).tolist() == [[pytest.approx(0.3)], [pytest.approx(0.6)]]


@pytest.mark.parametrize("dispersed", [False, True])
def test_counts_are_scipys_in_the_datas_units(dispersed: bool) -> None:
    head, out = CountHead(dispersed=dispersed), shaped(0.5, 0.25) if dispersed else shaped(0.5)
    units = [(4 + 2 * 0.5, 2.0, 4.0), (9 + 5 * 1.0, 5.0, 9.0)]  # the mean, but for the bend at 0; std and mean
    for series, (mean, std, offset) in enumerate(units):
        distribution = stats.nbinom(4, 4 / (4 + mean)) if dispersed else stats.poisson(mean)
        counts = head.quantiles(out, WANTED, SCALE)[series, 0] * std + offset
        assert counts.tolist() == pytest.approx(distribution.ppf(WANTED), abs=1e-4)
        target = torch.full((2, 1), torch.nan)
        target[series] = (3 - offset) / std
        assert head.loss(out, target, SCALE, missing=True).item() == pytest.approx(-distribution.logpmf(3), rel=1e-3)
    expected = CountHead(dispersed=dispersed, mean=True).point(out, SCALE)
    assert expected.flatten().tolist() == pytest.approx([0.5, 1.0], abs=1e-3)


def test_quantiles_between_and_beyond_those_trained_are_a_normal_distributions() -> None:
    out = torch.tensor(stats.norm(1, 2).ppf(LEVELS), dtype=torch.float32)[None, None]

    found = QuantileHead(levels=LEVELS).quantiles(out, WANTED)[0, 0]

    assert found.tolist() == pytest.approx(stats.norm(1, 2).ppf(WANTED), rel=1e-5)
    assert QuantileHead(levels=LEVELS).point(out).item() == pytest.approx(1)
    skewed = torch.tensor([[[0.0, 4.0]]])
    median, mean = (QuantileHead(levels=(0.5, 0.9), mean=mean).point(skewed).item() for mean in (False, True))
    assert (median, mean) == (0.0, pytest.approx(0, abs=1e-5))  # one normal distribution
    assert QuantileHead(levels=(0.1, 0.5, 0.6), mean=True).point(torch.tensor([[[-1.0, 0.0, 4.0]]])).item() > 1


def test_quantiles_of_a_custom_network_that_cross_are_sorted() -> None:
    crossing = torch.tensor([[[3.0, 1.0, 2.0]]])

    assert QuantileHead(levels=(0.1, 0.5, 0.9)).quantiles(crossing, (0.1, 0.5, 0.9)).tolist() == [[[1, 2, 3]]]
    assert QuantileHead(levels=(0.1, 0.5, 0.9)).point(crossing).item() == 2


def test_the_loss_of_quantiles_is_twice_the_mean_pinball_loss() -> None:
    head, target = QuantileHead(levels=(0.1, 0.5)), torch.tensor([[1.0], [torch.nan]])
    out = torch.tensor([[[0.0, 3.0]], [[7.0, 7.0]]], requires_grad=True)

    loss = head.loss(out, target, missing=True)
    loss.backward()  # type: ignore[no-untyped-call]

    assert loss.item() == pytest.approx(2 * (0.1 * 1 + 0.5 * 2) / 2)
    assert out.grad is not None
    assert out.grad.flatten().tolist() == pytest.approx([-0.1, 0.5, 0, 0])


@pytest.mark.parametrize("loss", list(LOSSES))
def test_quantiles_of_random_networks_never_cross(loss: str) -> None:
    """100,000 forecasts by networks with random weights: of all losses, window norms and scales."""
    generator = torch.Generator().manual_seed(len(loss))
    for norm in ("none", "last", "mean_std"):
        for size in (0.01, 1.0, 100.0):
            head = head_of(loss, positive=size == 1.0)
            hp = Hyperparameters(window=4, hidden_size=2, window_norm=norm, linear_skip=True)
            network = LSTMForecaster(hp, 6, head).requires_grad_(False)
            for weight in network.parameters():
                weight.copy_(size * torch.randn(weight.shape, generator=generator))
            windows = 100 if head.counts else 2100  # SciPy takes its time
            out = network(torch.randn(windows, 4, generator=generator))
            scale = Scale(torch.full((windows,), 2.0), torch.full((windows,), 3.0))
            for levels in (LEVELS, WANTED):
                quantiles = head.quantiles(out, levels, scale)
                assert (quantiles.diff(dim=-1) >= 0).all()
                assert quantiles.isfinite().all()
                if head.positive or head.counts:
                    assert (quantiles * 3 + 2).min() >= -1e-5


@pytest.mark.parametrize("loss", list(LOSSES))
def test_what_stands_before_the_horizon_does_not_matter(loss: str) -> None:
    head, lead = head_of(loss, positive=True), (2, 3, 5)
    out = torch.rand(*lead, 4, head.outputs, generator=torch.Generator().manual_seed(0)) + 2
    out = out[..., 0] if head.outputs == 1 else out
    target = torch.ones(*lead, 4)
    scale = Scale(torch.full((2, 3), 1.0), torch.full((2, 3), 2.0))

    flat = Scale(torch.full((30,), 1.0), torch.full((30,), 2.0))
    assert head.quantiles(out, LEVELS, scale).flatten(0, 2).equal(head.quantiles(out.flatten(0, 2), LEVELS, flat))
    assert head.point(out, scale).flatten(0, 2).equal(head.point(out.flatten(0, 2), flat))
    assert head.loss(out, target, scale).item() == pytest.approx(
        head.loss(out.flatten(0, 2), target.flatten(0, 2), flat).item()
    )
    target[0] = torch.nan
    assert head.loss(out, target, scale, missing=True).item() == pytest.approx(
        head.loss(out[1:], target[1:], Scale(scale.mean[1:], scale.std[1:])).item(), rel=1e-5
    )


def test_a_point_forecast_is_what_the_network_gives() -> None:
    out = torch.from_numpy(np.arange(6.0).reshape(2, 3))

    assert PointHead().point(out) is out
    assert PointHead(positive=True).point(out - 4, SCALE)[0, 0].item() == -2.0  # 0 in the data's units
    assert PointHead().quantiles(out, (0.1, 0.9)).tolist() == [[[x, x] for x in row] for row in out.tolist()]
