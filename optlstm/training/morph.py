"""Network morphism: widen and deepen a trained network, its function unchanged, so that training resumes from there.

Wider, as in Net2Net (Chen et al. 2016): a new unit is a copy of an old one, and what read the old one reads its copies
in shares that add up to 1: the recurrent weights, the next layer, the head. No noise is added. The shares are unequal
(Net2Net's are equal), because copies with equal shares get equal gradients, and without dropout would stay equal for
ever.

Deeper: a new layer goes on top, residual and silent at first (`model.grown_layer`). It is not one of the fused layers,
hence a network of 1 + 1 layers is not one of 2: `with_growth` reads from the weights which it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from optlstm.errors import InputError
from optlstm.training.hparams import FACETS, GROWING, Hyperparameters
from optlstm.training.loop import State
from optlstm.training.model import grown_layer

_GATES = 4  # rows of an LSTM's weights: input, forget, cell, output
_GROWN = re.compile(r"body\.grown\.(\d+)\.")
_MOMENTS = {"exp_avg": 1, "momentum_buffer": 1, "exp_avg_sq": 2, "square_avg": 2}  # powers of the gradient in them


def morph(state: State, old: Hyperparameters, new: Hyperparameters, *, seed: int) -> State:
    """The state of a network of `new`'s shape that computes what the state's network, of `old`'s shape, computes.

    It holds for every network that keeps an LSTMBody as `body` and reads its features by a linear `head`; every other
    tensor stays as it is. Outputs in eval mode agree to 1e-5; a network that is only deepened agrees in every bit.

    The optimizer's moments become those of the widened network's gradients (the gradient of a copy's own weights is its
    share of the original's). With `layer_norm` they are close to that: the way through mean and variance is shared out
    equally. New layers begin with moments and step count 0, as in a new optimizer: Adam corrects zeros by the count.
    All other counts and the meta are kept; `best.*` is left out, those weights being of the old shape.

    Args:
        old: as `state` was trained with. Its `grown_layers` is read from the state.
        new: as training resumes. `fit` needs it as `with_growth(new, result.tensors)`.
        seed: decides which units are copied, the shares, and the new layers' first weights.

    Raises:
        InputError: one line for everything that `growth_problems` finds.
        ValueError: `state` is not of `old`'s shape.
    """
    problems = growth_problems(old, new)
    if problems:
        raise InputError(problems)
    old = with_growth(old, state.tensors)
    new = replace(new, grown_layers=old.grown_layers + new.num_layers - old.num_layers)
    _check_shape(state, old)
    widening = _Widening.of(old, new, torch.Generator().manual_seed(seed))
    network = {f"network.{name}": widening.weight(name, tensor) for name, tensor in state.part("network").items()}
    optimizer = {f"optimizer.{key}": widening.kept(key, tensor) for key, tensor in state.part("optimizer").items()}
    average = {f"average.{name}": widening.weight(name, tensor) for name, tensor in state.part("average").items()}
    added = _new_layers(old, new, seed)
    if average:
        average |= {f"average.{name}": tensor.clone() for name, tensor in added.items()}
    network |= {f"network.{name}": tensor for name, tensor in added.items()}
    optimizer |= {f"optimizer.{key}": tensor for key, tensor in _zero_moments(added, state.part("optimizer")).items()}
    return State(tensors={**network, **average, **optimizer}, meta=dict(state.meta))


def with_growth(hp: Hyperparameters, tensors: Iterable[str]) -> Hyperparameters:
    """`hp` with the `grown_layers` of the network whose weights are named `tensors` (a State's, or a state_dict's)."""
    indices = (match[1] for match in map(_GROWN.search, tensors) if match)
    return replace(hp, grown_layers=max((int(index) + 1 for index in indices), default=0))


def growth_problems(old: Hyperparameters, new: Hyperparameters) -> list[str]:
    """Why a network of `old`'s shape cannot be grown into one of `new`'s, one line each; empty where it can."""
    problems = []
    for name, facets in FACETS.items():
        before, after = getattr(old, name), getattr(new, name)
        if facets.weights == "grows" and after < before:
            problems.append(f"pbt: {name} can only grow ({before} -> {after})")
        elif facets.weights == "fixed" and after != before:
            problems.append(f"pbt: {name} cannot change ({before} -> {after}); only {' and '.join(GROWING)} can grow")
    # Mean and variance over the units stay what they were only where every unit is copied equally often.
    if new.layer_norm and new.hidden_size > old.hidden_size and new.hidden_size % old.hidden_size:
        above = -(-new.hidden_size // old.hidden_size) * old.hidden_size
        change = f"{old.hidden_size} -> {new.hidden_size}"
        problems.append(f"pbt: with layer_norm, hidden_size can only grow to its multiples ({change}); take {above}")
    return problems


@dataclass(frozen=True)
class _Units:
    """One axis of the widened weights. index: whose copy each is; share: how much of the original it is. [new] each."""

    index: Tensor
    share: Tensor

    @classmethod
    def of(cls, old: int, new: int, generator: torch.Generator) -> _Units:
        """The `old` units, then copies, spread evenly: no unit has two copies more than another."""
        rounds = -(-new // old) - 1
        copies = [torch.randperm(old, generator=generator) for _ in range(rounds)]
        index = torch.cat([torch.arange(old), *copies])[:new]
        parts = torch.rand(new, generator=generator, dtype=torch.float64) + 0.5  # no unit gets next to nothing
        totals = torch.zeros(old, dtype=torch.float64).index_add(0, index, parts)
        return cls(index, parts / totals[index])

    def stacked(self, times: int, old: int) -> _Units:
        """The axis of `times` blocks of `old` units each."""
        return _Units(torch.cat([self.index + block * old for block in range(times)]), self.share.repeat(times))

    def along(self, dim: int, tensor: Tensor, power: int) -> Tensor:
        """`tensor` with this axis in place of its `dim`, times the shares to `power`."""
        shares = self.share.pow(power).to(tensor.dtype).reshape([-1] + [1] * (tensor.ndim - 1 - dim))
        return tensor.index_select(dim, self.index) * shares


@dataclass(frozen=True)
class _Widening:
    """The same units are copied in every layer and direction: what a residual layer adds to its input must fit it."""

    units: _Units
    gates: _Units
    features: _Units
    reader: str  # the weights that read the pooled features

    @classmethod
    def of(cls, old: Hyperparameters, new: Hyperparameters, generator: torch.Generator) -> _Widening:
        units = _Units.of(old.hidden_size, new.hidden_size, generator)
        return cls(
            units=units,
            gates=units.stacked(_GATES, old.hidden_size),
            features=units.stacked(2 if old.bidirectional else 1, old.hidden_size),
            reader="body.project.weight" if old.projection else "head.weight",
        )

    def weight(self, name: str, tensor: Tensor) -> Tensor:
        """The widened weights: each copy has its original's inputs, and its share of what reads the original."""
        return self._widened(name, tensor, made=0, read=1)

    def kept(self, key: str, tensor: Tensor) -> Tensor:
        """The optimizer's tensor `PARAMETER/KEY`. Gradients are shared out among the copies that a weight makes."""
        name, _, kept = key.rpartition("/")
        if kept == "step":
            return tensor
        return self._widened(name, tensor, made=_MOMENTS[kept], read=0)

    def _widened(self, name: str, tensor: Tensor, *, made: int, read: int) -> Tensor:
        rows, columns = self._axes(name)
        if rows is not None:
            tensor = rows.along(0, tensor, made)
        if columns is not None:
            tensor = columns.along(1, tensor, read)
        return tensor

    def _axes(self, name: str) -> tuple[_Units | None, _Units | None]:
        """The units that a parameter's rows make, and those its columns read; None for what is not a unit."""
        if name == self.reader:
            return None, self.features
        if name.startswith("body.norm."):
            return self.features, None
        if not name.startswith(("body.lstm.", "body.grown.")):
            return None, None
        if ".weight_hh" in name:
            return self.gates, self.units
        if ".weight_ih" in name and not name.startswith("body.lstm.weight_ih_l0"):
            return self.gates, self.features
        return self.gates, None


def _new_layers(old: Hyperparameters, new: Hyperparameters, seed: int) -> dict[str, Tensor]:
    """Weights of the layers that `new` has on top of `old`'s, by parameter name."""
    weights: dict[str, Tensor] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for index in range(old.grown_layers, new.grown_layers):
            layer: dict[str, Any] = grown_layer(new).state_dict()
            weights |= {f"body.grown.{index}.{name}": tensor for name, tensor in layer.items()}
    return weights


def _zero_moments(added: dict[str, Tensor], optimizer: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the optimizer keeps for each parameter, at zero. SGD wants all buffers or none, so they are not left out."""
    kinds = {key.rpartition("/")[2]: tensor for key, tensor in optimizer.items()}
    return {
        f"{name}/{kind}": torch.zeros_like(like if kind == "step" else weight)
        for name, weight in added.items()
        for kind, like in kinds.items()
    }


def _check_shape(state: State, hp: Hyperparameters) -> None:
    weights = state.part("network")
    layers = sum(re.fullmatch(r"body\.(lstm|grown\.\d+)\.weight_hh_l\d+", name) is not None for name in weights)
    shape = weights["body.lstm.weight_hh_l0"].shape[1], layers
    if shape != (hp.hidden_size, hp.num_layers):
        raise ValueError(f"the state has hidden_size and num_layers {shape}, not {(hp.hidden_size, hp.num_layers)}")
