"""Random networks and how they grow, one fixed batch, and what a step on it leaves behind."""

from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from optlstm.training.hparams import NO_PARAMS, Hyperparameters
from optlstm.training.loop import State
from optlstm.training.model import LSTMForecaster
from optlstm.training.morph import with_growth
from optlstm.training.optimizers import build_optimizer, optimizer_tensors

WINDOW, HORIZON = 10, 3
many = settings(
    max_examples=120, deadline=None, database=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
OPTIMIZERS = ("adam", "adamw", "rmsprop", "sgd")


@st.composite
def networks(draw: st.DrawFn, /, **fixed: object) -> Hyperparameters:
    drawn = {
        "window": WINDOW,
        "hidden_size": draw(st.integers(1, 6)),
        "num_layers": draw(st.integers(1, 3)),
        "supervision": (supervision := draw(st.sampled_from(["last_step", "every_step"]))),
        "bidirectional": draw(st.booleans()) and supervision == "last_step",
        "pooling": draw(st.sampled_from(["last", "mean", "max"])),
        "projection": draw(st.sampled_from([0, 4])),
        "layer_norm": draw(st.booleans()),
        "linear_skip": draw(st.booleans()),
        "window_norm": draw(st.sampled_from(["none", "last", "mean_std"])),
        "patch": draw(st.integers(1, 4)),
        "dropout": draw(st.sampled_from([0.0, 0.3])),
        "recurrent_dropout": draw(st.sampled_from([0.0, 0.3])),
        "optimizer": draw(st.sampled_from(OPTIMIZERS)),
    }
    hp = Hyperparameters.from_params({**drawn, **fixed})
    return replace(hp, grown_layers=draw(st.integers(0, hp.num_layers - 1)))  # some have grown before


@st.composite
def growths(draw: st.DrawFn, /, hp: Hyperparameters) -> Hyperparameters:
    if hp.layer_norm:
        hidden = hp.hidden_size * draw(st.integers(1, 3))
    else:
        hidden = hp.hidden_size + draw(st.integers(0, 8))
    return with_changes(hp, hidden_size=hidden, num_layers=hp.num_layers + draw(st.integers(0, 2)))


def with_changes(hp: Hyperparameters, **changes: object) -> Hyperparameters:
    known = {name: value for name, value in vars(hp).items() if name not in NO_PARAMS}
    return Hyperparameters.from_params({**known, **changes})


def forecaster(hp: Hyperparameters, state: State | None = None) -> LSTMForecaster:
    """The network of `state`, or a new one whose every weight is away from where it was initialised."""
    if state is not None:
        network = LSTMForecaster(with_growth(hp, state.tensors), HORIZON)
        network.load_state_dict(state.part("network"))
        return network
    torch.manual_seed(0)
    network = LSTMForecaster(hp, HORIZON)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return network


def inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(8, WINDOW, generator=generator), torch.randn(8, HORIZON, generator=generator)


def outputs(network: nn.Module) -> Tensor:
    with torch.no_grad():
        out: Tensor = network.eval()(inputs()[0])
    return out


def step(network: nn.Module, optimizer: torch.optim.Optimizer) -> float:
    """One step of the optimizer, on the same batch every time, in the network's precision; the loss before it."""
    x, y = (t.to(next(network.parameters()).dtype) for t in inputs())
    optimizer.zero_grad()
    loss = F.mse_loss(network.eval()(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def collected(hp: Hyperparameters, state: State | None = None) -> dict[str, Tensor]:
    """What a new optimizer has after one step, too small to move a weight: the moments of one gradient."""
    network = forecaster(hp, state)
    optimizer = build_optimizer(network, with_changes(hp, learning_rate=1e-30))
    step(network, optimizer)
    return optimizer_tensors(network, optimizer)


def stepped(hp: Hyperparameters) -> State:
    """The state after such a step."""
    return state_of(forecaster(hp), collected(hp), hp)


def state_of(network: nn.Module, optimizer: dict[str, Tensor], hp: Hyperparameters) -> State:
    weights = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    moments = {f"optimizer.{key}": tensor for key, tensor in optimizer.items()}
    return State({**weights, **moments}, {"epoch": 1, "step": 1, "values": [1.0], "optimizer": hp.optimizer})
