"""The optimizer's moments after a morph: those of the grown network, so that the next step is a good one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import State
from optlstm.training.morph import morph
from optlstm.training.optimizers import build_optimizer, load_optimizer
from tests.training.morphing import WINDOW, collected, forecaster, growths, many, networks, step, stepped, with_changes
from tests.training.problems import params


@many
@given(st.data())
def test_the_moments_are_those_of_the_grown_networks_gradients(data: st.DataObject) -> None:
    hp = data.draw(networks(layer_norm=False))
    grown = data.draw(growths(hp))
    old = stepped(hp)

    morphed = morph(old, hp, grown, seed=3)

    expected, moments = collected(grown, morphed), morphed.part("optimizer")
    assert moments.keys() == expected.keys()
    for key, tensor in moments.items():
        if f"optimizer.{key}" in old.tensors:
            largest = expected[key].abs().max().item()
            torch.testing.assert_close(tensor, expected[key], rtol=1e-3, atol=1e-5 * largest + 1e-12)
        else:
            assert tensor.shape == expected[key].shape
            assert not tensor.any()


@pytest.mark.parametrize("factor", [2, 3])
def test_with_layer_norm_the_moments_are_near_that(factor: int) -> None:
    hp = params(window=WINDOW, layer_norm=True, optimizer="sgd", hidden_size=16)
    grown = with_changes(hp, hidden_size=16 * factor)
    morphed = morph(stepped(hp), hp, grown, seed=3)

    for key, expected in collected(grown, morphed).items():
        similarity = F.cosine_similarity(morphed.part("optimizer")[key].flatten(), expected.flatten(), dim=0)
        assert similarity > 0.95, key


@many
@given(st.data())
def test_a_step_lowers_the_loss_as_much_as_before_within_the_number_of_copies(data: st.DataObject) -> None:
    """To first order a gradient step gains lr * |gradient|^2. A unit's n copies keep 1/n to 1 of what the weights that
    make it had, and have n times what those that read it had; new layers only add.
    """
    hp = data.draw(networks(layer_norm=False, optimizer="sgd"))
    grown = data.draw(growths(hp))
    old = stepped(hp)
    morphed = morph(old, hp, grown, seed=5)

    before, after = gain(hp, old), gain(grown, morphed)

    most_copies = -(-grown.hidden_size // hp.hidden_size)
    assert after > 0.98 * before / most_copies
    if grown.num_layers == hp.num_layers:
        assert after < 1.02 * before * most_copies


def gain(hp: Hyperparameters, state: State) -> float:
    """How much one small step of SGD, its momentum loaded, lowers the loss; in float64, to see a small difference."""
    network = forecaster(hp, state).double()
    optimizer = build_optimizer(network, with_changes(hp, learning_rate=1e-6))
    load_optimizer(network, optimizer, state.part("optimizer"), saved_by="sgd", hp=hp)
    return step(network, optimizer) - step(network, optimizer)


def test_adam_moves_each_copy_as_it_would_have_moved_the_original() -> None:
    hp = params(window=WINDOW, optimizer="adam", hidden_size=16)
    old = stepped(hp)
    grown = with_changes(hp, hidden_size=24)
    morphed = morph(old, hp, grown, seed=2)

    moves = []
    for shape, state in ((hp, old), (grown, morphed)):
        network = forecaster(shape, state)
        optimizer = build_optimizer(network, with_changes(shape, learning_rate=1e-3))
        load_optimizer(network, optimizer, state.part("optimizer"), saved_by="adam", hp=shape)
        step(network, optimizer)
        start = state.tensors["network.body.lstm.weight_ih_l0"]
        moves.append((network.body.lstm.weight_ih_l0.detach() - start).reshape(4, shape.hidden_size, -1)[:, :16])

    assert moves[0].abs().max() > 1e-4
    torch.testing.assert_close(moves[1], moves[0], rtol=1e-2, atol=1e-5)  # Adam's eps weighs more in a share
