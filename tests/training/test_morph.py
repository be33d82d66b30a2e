"""Morphing: the same function before and after, and training that makes use of the new weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.profiler import profile

from optlstm.errors import InputError
from optlstm.training.checkpoints import read_checkpoint, write_checkpoint
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import State, fit
from optlstm.training.morph import growth_problems, morph, with_growth
from tests.training.morphing import (
    OPTIMIZERS,
    WINDOW,
    forecaster,
    growths,
    inputs,
    many,
    networks,
    outputs,
    state_of,
    stepped,
    with_changes,
)
from tests.training.problems import Sine, params


def trained(hp: Hyperparameters, epochs: int = 3, state: State | None = None) -> State:
    """The state after `epochs` in all on the sine wave."""
    hp = with_growth(hp, state.tensors) if state else hp
    return list(fit(Sine(), hp, epochs=epochs, patience=None, seed=1, state=state))[-1].state


def sine_error(hp: Hyperparameters, state: State) -> float:
    network = Sine().network(with_growth(hp, state.tensors))
    network.load_state_dict(state.part("network"))
    with torch.no_grad():
        return Sine().validate(network.eval(), hp)["mse"]


@many
@given(st.data(), st.integers(0, 2**63 - 1))
def test_the_function_is_the_same_after_one_and_after_two_morphs(data: st.DataObject, seed: int) -> None:
    hp = data.draw(networks())
    state = state_of(forecaster(hp), {}, hp)
    before = outputs(forecaster(hp, state))

    for _ in range(2):
        grown = data.draw(growths(hp))
        state, hp = morph(state, hp, grown, seed=seed), grown

        torch.testing.assert_close(outputs(forecaster(hp, state)), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("option", [{}, {"bidirectional": True, "dropout": 0.1, "recurrent_dropout": 0.1}], ids=str)
def test_training_goes_on_through_two_morphs(optimizer: str, option: dict[str, object], tmp_path: Path) -> None:
    rate = 0.01 if optimizer != "rmsprop" else 0.001
    hp = params(optimizer=optimizer, lr_schedule="constant", learning_rate=rate, weight_decay=0.001, **option)
    state = trained(hp, epochs=3)
    error = sine_error(hp, state)

    for changes in ({"hidden_size": 12, "num_layers": 2}, {"hidden_size": 20, "num_layers": 3}):
        grown = with_changes(hp, **changes)
        morphed = morph(state, hp, grown, seed=7)
        assert sine_error(grown, morphed) == pytest.approx(sine_error(hp, state), abs=1e-5)
        epoch = morphed.meta["epoch"]
        write_checkpoint(tmp_path, epoch, morphed.tensors, morphed.meta)
        state, hp = trained(grown, epochs=epoch + 3, state=State(*read_checkpoint(tmp_path, epoch))), grown
        assert all(torch.isfinite(tensor).all() for tensor in state.tensors.values())

    assert len(state.meta["values"]) == 9
    assert sine_error(hp, state) < error


def test_copies_come_apart_and_every_new_weight_is_trained_without_any_dropout() -> None:
    hp = params(lr_schedule="constant")
    state = trained(hp)
    grown = with_changes(hp, hidden_size=16, num_layers=2)
    morphed = morph(state, hp, grown, seed=7)

    after = trained(grown, epochs=6, state=morphed)

    start, end = (s.part("network")["body.lstm.weight_ih_l0"] for s in (morphed, after))
    assert pairs_apart(start) == 0
    assert pairs_apart(end) > 1e-3
    fresh = {name: t for name, t in morphed.part("network").items() if "grown" in name}
    assert len(fresh) == 4
    assert all((after.part("network")[name] != tensor).all() for name, tensor in fresh.items())


def pairs_apart(weights: Tensor) -> float:
    """The smallest distance between a cell's input weights and those of the unit most like it."""
    candidates = weights.reshape(4, 16, -1)[2]
    distances = torch.cdist(candidates, candidates, compute_mode="donot_use_mm_for_euclid_dist")
    return distances.fill_diagonal_(float("inf")).min().item()


def test_deepening_alone_changes_not_one_bit_and_keeps_the_fused_kernel() -> None:
    hp = params(window=WINDOW, bidirectional=True)
    old = stepped(hp)

    network = forecaster(with_changes(hp, num_layers=3), morph(old, hp, with_changes(hp, num_layers=3), seed=0))

    assert torch.equal(outputs(network), outputs(forecaster(hp)))
    if torch.backends.mkldnn.is_available():
        with profile() as seen:
            network.train()(inputs()[0]).sum().backward()
        fused = {event.key: event.count for event in seen.key_averages()}
        assert fused["aten::mkldnn_rnn_layer"] == 3 * 2


def test_a_morph_follows_from_its_seed_and_leaves_state_and_random_numbers_alone() -> None:
    hp = params()
    state = trained(hp)
    before = {name: tensor.clone() for name, tensor in state.tensors.items()}
    random = torch.get_rng_state()
    grown = with_changes(hp, hidden_size=11, num_layers=2)

    one, same, other = (morph(state, hp, grown, seed=seed).tensors for seed in (1, 1, 2))

    assert all(torch.equal(tensor, same[name]) for name, tensor in one.items())
    assert any(not torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in state.tensors.items())
    assert torch.equal(torch.get_rng_state(), random)


def test_where_nothing_grows_all_but_the_best_weights_stays() -> None:
    hp = params(num_layers=2, bidirectional=True)
    state = trained(hp)

    same = morph(state, hp, with_changes(hp, learning_rate=0.5, optimizer="sgd", dropout=0.2), seed=1)

    assert same.meta == state.meta
    assert same.tensors.keys() == {name for name in state.tensors if not name.startswith("best.")}
    assert all(torch.equal(tensor, state.tensors[name]) for name, tensor in same.tensors.items())


def test_grown_layers_are_read_from_the_weights_and_are_no_param() -> None:
    hp = params()
    deeper = with_changes(hp, num_layers=3)

    morphed = morph(trained(hp), hp, deeper, seed=1)

    assert with_growth(deeper, morphed.tensors).grown_layers == 2
    assert with_growth(deeper, morphed.part("network")).grown_layers == 2
    assert with_growth(with_growth(deeper, morphed.tensors), trained(hp).tensors) == deeper
    with pytest.raises(InputError, match=r"space\.grown_layers: no hyperparameter has this name"):
        Hyperparameters.from_params({"grown_layers": 1})


def test_what_cannot_be_grown_is_refused_all_at_once() -> None:
    hp = params(hidden_size=64, num_layers=2)
    state = trained(params())
    shrunk = with_changes(hp, hidden_size=48, num_layers=1, pooling="max", window=24, dropout=0.5)

    with pytest.raises(InputError) as caught:
        morph(state, hp, shrunk, seed=1)

    assert caught.value.problems == [
        "pbt: window cannot change (12 -> 24); only hidden_size and num_layers can grow",
        "pbt: hidden_size can only grow (64 -> 48)",
        "pbt: num_layers can only grow (2 -> 1)",
        "pbt: pooling cannot change (last -> max); only hidden_size and num_layers can grow",
    ]


def test_layer_norm_grows_by_whole_factors() -> None:
    hp = params(hidden_size=32, layer_norm=True)

    assert growth_problems(hp, with_changes(hp, hidden_size=96)) == []
    assert growth_problems(hp, with_changes(hp, hidden_size=48)) == [
        "pbt: with layer_norm, hidden_size can only grow to its multiples (32 -> 48); take 64"
    ]


def test_a_state_of_another_shape_is_refused() -> None:
    wrong = params(hidden_size=6)

    with pytest.raises(ValueError, match=r"the state has hidden_size and num_layers \(8, 1\), not \(6, 1\)"):
        morph(trained(params()), wrong, wrong, seed=1)
