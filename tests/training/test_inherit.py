"""A copy of another run's state (PBT): the new hyperparameters are in force, the values before it are not its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import Epoch, State, fit
from tests.training.problems import Sine

HP = Hyperparameters(window=12, patch=4, hidden_size=8, batch_size=32, learning_rate=1e-2, lr_schedule="constant")


def trained(hp: Hyperparameters, epochs: int = 2) -> State:
    *_, last = fit(Sine(), hp, epochs=epochs, patience=0, seed=1)
    return last.state


def next_epoch(state: State, hp: Hyperparameters, seed: int = 2) -> Epoch:
    since = state.meta["epoch"]
    return next(iter(fit(Sine(), hp, epochs=since + 1, patience=0, seed=seed, state=state, since=since)))


def moved(state: State, hp: Hyperparameters) -> float:
    """How far one epoch takes the weights."""
    before, after = state.part("network"), next_epoch(state, hp).state.part("network")
    return float(sum((after[name] - before[name]).abs().sum() for name in before))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop", "sgd"])
@pytest.mark.parametrize("lr_schedule", ["constant", "cosine", "one_cycle", "plateau"])
def test_the_new_learning_rate_is_in_force(optimizer: str, lr_schedule: str) -> None:
    hp = replace(HP, optimizer=optimizer, lr_schedule=lr_schedule)
    state = trained(hp)
    assert moved(state, replace(hp, learning_rate=1e-12)) < 1e-6
    assert moved(state, hp) > 1e-3


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop", "sgd"])
def test_the_new_weight_decay_is_in_force(optimizer: str) -> None:
    hp = replace(HP, optimizer=optimizer)
    state = trained(hp)
    kept = next_epoch(state, hp).state.part("network")
    decayed = next_epoch(state, replace(hp, weight_decay=10.0)).state.part("network")
    name = "body.lstm.weight_hh_l0"
    assert (decayed[name] - kept[name]).abs().max() > 1e-2
    assert decayed[name].norm() < kept[name].norm()


def test_the_new_dropout_is_in_force() -> None:
    state = trained(HP)
    assert next_epoch(state, replace(HP, dropout=0.9)).train_loss > 1.2 * next_epoch(state, HP).train_loss


def test_the_copys_best_is_its_own() -> None:
    state = trained(HP, epochs=6)
    bad = replace(HP, learning_rate=0.3, optimizer="sgd", grad_clip=0.0, dropout=0.9)
    epochs = list(fit(Sine(), bad, epochs=9, patience=0, seed=3, state=state, since=6))
    values = [epoch.value for epoch in epochs]
    assert min(values) > state.meta["best_value"]
    last = epochs[-1]
    assert (last.best_value, last.best_epoch) == (min(values), 7 + values.index(min(values)))
    assert last.state.meta["best_value"] == min(values)
    best = epochs[values.index(min(values))].state.part("network")
    assert all(torch.equal(tensor, best[name]) for name, tensor in last.state.part("best").items())


def test_a_copy_resumed_goes_on_bit_for_bit() -> None:
    state = trained(HP)
    whole = list(fit(Sine(), HP, epochs=6, patience=0, seed=4, state=state, since=2))
    again = list(fit(Sine(), HP, epochs=6, patience=0, seed=4, state=whole[1].state, since=2))
    assert [e.value for e in again] == [e.value for e in whole[2:]]
    assert (again[-1].best_value, again[-1].best_epoch) == (whole[-1].best_value, whole[-1].best_epoch)
    mine, theirs = again[-1].state.tensors, whole[-1].state.tensors
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
