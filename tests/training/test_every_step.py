"""Networks that forecast after every step: each forecast is a window's, and knows no later row."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from optlstm.training.covariates import CovariateForecaster
from optlstm.training.factory import InputSizes
from optlstm.training.heads import POINT, Head, NormalHead, QuantileHead
from optlstm.training.hparams import Hyperparameters
from optlstm.training.model import LSTMForecaster, Stretch

HORIZON, MORE = 3, 4
SIZES = InputSizes(future=(0, 3), past=(0,), static=(2,))
Inputs = tuple[Tensor, ...]
Network = LSTMForecaster | CovariateForecaster


def network_of(covariates: bool, head: Head = POINT, **params: object) -> Network:
    torch.manual_seed(0)
    hp = Hyperparameters.from_params({"supervision": "every_step", "hidden_size": 6, "linear_skip": True, **params})
    network = CovariateForecaster(hp, HORIZON, SIZES, head) if covariates else LSTMForecaster(hp, HORIZON, head)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return network.eval()


def stretch(covariates: bool, rows: int) -> Inputs:
    """Inputs of so many rows, and covariates of the horizon behind them."""
    x = torch.randn(2, rows)
    if not covariates:
        return (x,)
    numbers = torch.randn(2, 3, rows + HORIZON)
    numbers[:, 1] = torch.randint(1, 4, numbers[:, 1].shape)  # a category
    return x, numbers, torch.tensor([[1.0], [2.0]])


def part(inputs: Inputs, rows: slice) -> Inputs:
    """The same rows of x and of the covariates, and the horizon behind them."""
    if len(inputs) == 1:
        return (inputs[0][:, rows],)
    return inputs[0][:, rows], inputs[1][..., rows.start : rows.stop + HORIZON], inputs[2]


@pytest.mark.parametrize(
    ("covariates", "head"),
    [(False, POINT), (True, POINT), (False, NormalHead()), (True, QuantileHead(levels=(0.1, 0.5)))],
)
@pytest.mark.parametrize("window_norm", ["none", "last", "mean_std"])
@pytest.mark.parametrize(
    ("pooling", "window", "patch"), [("max", 12, 4), ("mean", 10, 4), ("last", 5, 1), ("max", 3, 4)]
)
def test_the_first_forecast_is_that_of_its_window_and_none_knows_a_later_row(
    covariates: bool, head: Head, window_norm: str, pooling: str, window: int, patch: int
) -> None:
    network = network_of(
        covariates, head, window=window, patch=patch, pooling=pooling, window_norm=window_norm, num_layers=2
    )
    inputs = stretch(covariates, window + MORE * patch)

    forecasts = network.every_step(*inputs)

    assert forecasts.shape[:3] == (2, 1 + MORE, HORIZON)
    assert forecasts[0, 0, 0].numel() == head.outputs
    torch.testing.assert_close(forecasts[:, 0], network(*part(inputs, slice(0, window))))
    for step in range(MORE):  # forecasts of a shorter stretch, which ends there
        shorter = network.every_step(*part(inputs, slice(0, window + step * patch)))
        torch.testing.assert_close(shorter, forecasts[:, : step + 1])


def test_a_patch_is_relative_to_the_value_before_it() -> None:
    x = torch.tensor([[1.0, 2, 4, 7, 11, 16, 22, 29]])
    plain = Stretch.of(x, Hyperparameters(window=4, patch=2, window_norm="last"))
    assert plain.steps.tolist() == [[[0, 1], [2, 5], [4, 9], [6, 13]]]  # the first, to its own first value

    scaled = Stretch.of(x, Hyperparameters(window=4, patch=2, window_norm="mean_std"))
    deviations = [x[0, first : first + 4].std(correction=0) for first in (0, 0, 2, 4)]  # of the window that ends there
    torch.testing.assert_close(scaled.steps, plain.steps / torch.tensor(deviations)[:, None])


@pytest.mark.parametrize("pooling", ["max", "mean", "last"])
def test_without_the_lstms_state_every_forecast_is_that_of_its_window(pooling: str) -> None:
    network = network_of(False, window=8, patch=4, pooling=pooling, window_norm="none")
    with torch.no_grad():
        network.body.lstm.weight_hh_l0.zero_()
        network.body.lstm.bias_ih_l0[6:12] = -1e4  # the forget gate
    (x,) = stretch(False, 8 + MORE * 4)

    forecasts = network.every_step(x)

    windows = [network(x[:, first : first + 8]) for first in range(0, 4 * MORE + 1, 4)]
    torch.testing.assert_close(forecasts, torch.stack(windows, dim=1))


def test_all_weights_are_trained() -> None:
    for covariates in (False, True):
        network = network_of(covariates, window=8, patch=4, dropout=0.1, recurrent_dropout=0.1, projection=4).train()
        network.every_step(*stretch(covariates, 16)).square().sum().backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name
