"""The moving average of the weights: its rule, what is validated, and that it is resumed and grown with its network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from optlstm.training.averaging import WeightAverage
from optlstm.training.checkpoints import read_checkpoint, write_checkpoint
from optlstm.training.hparams import NO_PARAMS, Hyperparameters
from optlstm.training.loop import Epoch, State, fit
from optlstm.training.morph import morph, with_growth
from tests.training.problems import Sine, params

EMA = params(averaging=0.4, dropout=0.2)


def train(hp: Hyperparameters, state: State | None = None) -> list[Epoch]:
    return list(fit(Sine(), hp, epochs=4, patience=None, seed=1, state=state))


def error_of(hp: Hyperparameters, state: State) -> float:
    network = Sine().network(with_growth(hp, state.tensors))
    network.load_state_dict(state.weights)
    with torch.no_grad():
        return Sine().validate(network.eval(), hp)["mse"]


def test_it_is_the_average_of_the_rule() -> None:
    network = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        network.weight.fill_(5.0)
    average, seen = WeightAverage(network, memory=4), list[float]()
    for step, weight in enumerate([1.0, 2.0, 4.0, 8.0, 0.0, 1.0, 3.0, 3.0, 7.0, 2.0, 9.0]):
        seen.append(weight)
        with torch.no_grad():
            network.weight.fill_(weight)
        average.update(step)
        counts = [0.75**age for age in range(step, -1, -1)]
        expected = sum(c * w for c, w in zip(counts, seen, strict=True)) / sum(counts)
        with average.in_place():
            assert network.weight.item() == pytest.approx(expected, rel=1e-6)
        assert network.weight.item() == weight


def test_the_average_is_what_is_validated_and_kept() -> None:
    epochs = train(EMA)
    for epoch in epochs:
        assert error_of(EMA, epoch.state) == epoch.value
        assert any(not torch.equal(t, epoch.state.weights[k]) for k, t in epoch.state.part("network").items())
    best = epochs[epochs[-1].best_epoch - 1].state
    assert all(torch.equal(tensor, best.weights[name]) for name, tensor in epochs[-1].state.part("best").items())


def test_without_a_memory_there_is_none() -> None:
    state = train(params())[-1].state
    assert state.part("average") == {}
    assert state.weights.keys() == state.part("network").keys()


@pytest.mark.parametrize("stop", [1, 3])
def test_resumed_it_goes_on_to_the_last_bit(stop: int, tmp_path: Path) -> None:
    whole = train(EMA)
    left = whole[stop - 1].state
    write_checkpoint(tmp_path, stop, left.tensors, left.meta)
    rest = train(EMA, State(*read_checkpoint(tmp_path, stop)))
    assert [epoch.value for epoch in rest] == [epoch.value for epoch in whole[stop:]]
    one, other = rest[-1].state.tensors, whole[-1].state.tensors
    assert one.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_a_state_without_one_begins_one_at_its_weights() -> None:
    state = train(params())[1].state
    assert train(EMA, state)[-1].state.part("average")


def test_it_grows_with_its_network() -> None:
    state = train(EMA)[1].state
    wider = Hyperparameters.from_params(
        {**{k: v for k, v in vars(EMA).items() if k not in NO_PARAMS}, "hidden_size": 2 * EMA.hidden_size + 1}
    )
    deeper = Hyperparameters.from_params(
        {**{k: v for k, v in vars(wider).items() if k not in NO_PARAMS}, "num_layers": EMA.num_layers + 1}
    )
    before = error_of(EMA, state)
    state = morph(morph(state, EMA, wider, seed=1), wider, deeper, seed=2)
    assert error_of(deeper, state) == pytest.approx(before, rel=1e-4)
    assert train(with_growth(deeper, state.tensors), state)[-1].state.part("average")
