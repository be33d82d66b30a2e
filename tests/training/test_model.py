"""The network: shapes for every option, what dropping means, and the fast path."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.profiler import profile

from optlstm.training.hparams import Hyperparameters
from optlstm.training.model import LSTMBody, LSTMForecaster, count_parameters


def forecaster(horizon: int = 5, **params: object) -> LSTMForecaster:
    torch.manual_seed(0)
    hp = Hyperparameters.from_params({"window": 20, "hidden_size": 8, **params})
    return LSTMForecaster(hp, horizon)


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
@pytest.mark.parametrize(("bidirectional", "projection"), list(itertools.product([False, True], [0, 3])))
def test_shapes_and_gradients_of_every_head(pooling: str, bidirectional: bool, projection: int) -> None:
    network = forecaster(
        pooling=pooling,
        bidirectional=bidirectional,
        projection=projection,
        num_layers=2,
        patch=6,
        dropout=0.2,
        recurrent_dropout=0.2,
        layer_norm=True,
        linear_skip=True,
        window_norm="mean_std",
    )

    forecast = network(torch.randn(7, 20))
    forecast.square().sum().backward()  # type: ignore[no-untyped-call]

    assert forecast.shape == (7, 5)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_dropped_recurrent_weights_vary_in_training_and_are_all_there_in_evaluation() -> None:
    network, plain = forecaster(recurrent_dropout=0.5), forecaster()
    x = torch.randn(4, 20)

    assert not torch.equal(network(x), network(x))
    assert torch.equal(network.eval()(x), plain.eval()(x))


def test_a_dropped_recurrent_weight_gets_no_gradient() -> None:
    network = forecaster(recurrent_dropout=0.5, hidden_size=16)
    network(torch.randn(4, 20)).square().sum().backward()

    gradient = network.body.lstm.weight_hh_l0.grad

    assert isinstance(gradient, Tensor)
    assert 0.4 < (gradient == 0).float().mean().item() < 0.6


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")
@pytest.mark.parametrize("recurrent_dropout", [0.0, 0.5])
def test_the_fused_kernel_is_used(recurrent_dropout: float) -> None:
    network = forecaster(recurrent_dropout=recurrent_dropout, num_layers=2, bidirectional=True, dropout=0.1, patch=4)

    with profile() as seen:
        network(torch.randn(4, 20)).sum().backward()

    names = {event.key for event in seen.key_averages()}
    assert {"aten::mkldnn_rnn_layer", "aten::mkldnn_rnn_layer_backward"} <= names


@pytest.mark.parametrize(("window_norm", "shift", "scale"), [("last", 100.0, 1.0), ("mean_std", 100.0, 10.0)])
def test_the_forecast_follows_the_windows_level_and_spread(window_norm: str, shift: float, scale: float) -> None:
    network = forecaster(window_norm=window_norm, linear_skip=True).eval()
    x = torch.randn(4, 20)

    torch.testing.assert_close(network(x * scale + shift), network(x) * scale + shift, rtol=1e-3, atol=1e-3)


def test_a_flat_window_is_no_trouble() -> None:
    assert torch.isfinite(forecaster(window_norm="mean_std")(torch.ones(2, 20))).all()


def test_a_window_that_patches_do_not_divide_is_padded_at_its_old_end() -> None:
    network = forecaster(window_norm="none", patch=8).eval()  # 20 rows: 4 too few for 3 patches
    x = torch.randn(3, 20)
    padded = torch.cat([x[:, :1].expand(-1, 4), x], dim=1).reshape(3, 3, 8)

    assert torch.equal(network(x), network.head(network.body(padded)))


def test_both_directions_are_pooled_where_they_end() -> None:
    torch.manual_seed(0)
    hp = Hyperparameters(hidden_size=4, bidirectional=True)
    body = LSTMBody(hp, input_size=2).eval()
    x = torch.randn(3, 6, 2)

    _, (ends, _) = body.lstm(x)  # [2, 3, 4]: the last state of each direction

    torch.testing.assert_close(body(x), torch.cat([ends[0], ends[1]], dim=1))


def test_the_first_weights() -> None:
    lstm = forecaster(num_layers=2).body.lstm

    for layer in (0, 1):
        bias = getattr(lstm, f"bias_ih_l{layer}") + getattr(lstm, f"bias_hh_l{layer}")
        assert bias.tolist() == [0.0] * 8 + [1.0] * 8 + [0.0] * 16
        for gate in torch.split(getattr(lstm, f"weight_hh_l{layer}"), 8):
            torch.testing.assert_close(gate @ gate.T, torch.eye(8))


def test_parameters_are_counted() -> None:
    assert count_parameters(forecaster()) == 4 * 8 * (1 + 8) + 2 * 4 * 8 + 8 * 5 + 5
