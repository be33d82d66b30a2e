"""The optimizers by name, and their state as tensors named `PARAMETER/KEY`, so that it can be stored by weight."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from optlstm.training.hparams import Hyperparameters

_SAME_STATE = {"adam": "adam", "adamw": "adam"}  # the two keep the same moments, and can take over each other's


def build_optimizer(network: nn.Module, hp: Hyperparameters) -> Optimizer:
    """The optimizer `hp` names, fused where torch has that. Weight decay acts on matrices, not on biases or norms."""
    matrices = [p for p in network.parameters() if p.ndim >= 2]
    vectors = [p for p in network.parameters() if p.ndim < 2]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": hp.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    lr = hp.learning_rate
    _hide_from_compiler()
    if hp.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True, fused=True)
    if hp.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, lr=lr)
    kind = torch.optim.Adam if hp.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=lr, fused=True)


def eager_step(optimizer: Optimizer) -> Callable[[], object]:
    """`optimizer.step` for processes that compile nothing. Call it without gradients.

    Torch wraps an optimizer's methods so that its compiler sees them rightly, and the wrappers import the compiler: 2 s
    in every worker. The functions inside are what eager mode runs.
    """
    return partial(inspect.unwrap(type(optimizer).step), optimizer)


def _hide_from_compiler() -> None:
    """Where the wrapper of these methods finds this attribute, it calls that and leaves the compiler alone."""
    for method in (Optimizer.add_param_group, Optimizer.state_dict, Optimizer.load_state_dict, Optimizer.zero_grad):
        inner = inspect.unwrap(method)
        if not hasattr(inner, "__dynamo_disable"):
            inner.__dynamo_disable = inner


def optimizer_tensors(network: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimizer's state by the names of the network's parameters: `body.lstm.weight_ih_l0/exp_avg` and so on."""
    state = {name: optimizer.state.get(p, {}) for name, p in network.named_parameters()}
    return {f"{name}/{key}": t for name, kept in state.items() for key, t in kept.items() if isinstance(t, Tensor)}


def load_optimizer(
    network: nn.Module, optimizer: Optimizer, tensors: Mapping[str, Tensor], *, saved_by: str, hp: Hyperparameters
) -> None:
    """Put saved state into a new optimizer, whose learning rate and weight decay stay its own.

    Where another kind of optimizer saved it (`saved_by`), there is nothing to take over, and the new one begins empty.
    """
    if _SAME_STATE.get(saved_by, saved_by) != _SAME_STATE.get(hp.optimizer, hp.optimizer):
        return
    names = {id(p): name for name, p in network.named_parameters()}
    ordered = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, kept = key.rpartition("/")
        state.setdefault(ordered.index(name), {})[kept] = tensor.clone()  # the optimizer changes its state in place
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
