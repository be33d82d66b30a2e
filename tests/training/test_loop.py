"""Training: it learns, it resumes bit for bit, it stops early, and it says why it failed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from optlstm.errors import TrialFailed
from optlstm.training.checkpoints import read_checkpoint, write_checkpoint
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import Epoch, State, fit
from tests.training.problems import Scripted, Sine, params


def train(hp: Hyperparameters, *, epochs: int = 4, seed: int = 1, state: State | None = None) -> list[Epoch]:
    return list(fit(Sine(), hp, epochs=epochs, patience=None, seed=seed, state=state))


def assert_same(one: State, other: State) -> None:
    assert one.meta == other.meta
    assert one.tensors.keys() == other.tensors.keys()
    assert all(torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items())


def through_disk(state: State, folder: Path) -> State:
    write_checkpoint(folder, state.meta["epoch"], state.tensors, state.meta)
    return State(*read_checkpoint(folder, state.meta["epoch"]))


def test_it_learns_a_sine_wave() -> None:
    epochs = train(params(window_norm="none", hidden_size=16), epochs=25)

    assert epochs[0].value > 0.1
    assert epochs[-1].best_value < 0.005


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop", "sgd"])
@pytest.mark.parametrize("lr_schedule", ["constant", "cosine", "one_cycle", "plateau"])
def test_resuming_after_any_epoch_changes_not_one_bit(optimizer: str, lr_schedule: str, tmp_path: Path) -> None:
    hp = params(
        optimizer=optimizer, lr_schedule=lr_schedule, warmup=0.2, weight_decay=0.01, dropout=0.2, recurrent_dropout=0.2
    )
    whole = train(hp)

    for stop in (1, 2, 3):
        torch.rand(stop)  # the caller may draw what it likes in between
        rest = train(hp, state=through_disk(whole[stop - 1].state, tmp_path))

        assert [e.epoch for e in rest] == list(range(stop + 1, 5))
        assert [(e.value, e.train_loss) for e in rest] == [(e.value, e.train_loss) for e in whole[stop:]]
        for resumed, straight in zip(rest, whole[stop:], strict=True):
            assert_same(resumed.state, straight.state)


def test_a_state_is_not_changed_by_resuming_from_it() -> None:
    hp = params(optimizer="sgd")
    state = train(hp, epochs=2)[0].state
    before = {name: tensor.clone() for name, tensor in state.tensors.items()}

    train(hp, state=state)

    assert all(torch.equal(tensor, before[name]) for name, tensor in state.tensors.items())


def test_the_seed_decides() -> None:
    hp = params(dropout=0.2)

    assert_same(train(hp, seed=3)[-1].state, train(hp, seed=3)[-1].state)
    assert train(hp, seed=3)[-1].value != train(hp, seed=4)[-1].value


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.02},
        {"weight_decay": 0.5},
        {"optimizer": "adam", "weight_decay": 0.1},
        {"optimizer": "sgd"},
        {"batch_size": 50},
        {"dropout": 0.3},
    ],
)
def test_a_state_goes_on_under_other_hyperparameters(change: dict[str, object]) -> None:
    state = train(params())[1].state

    same = train(params(), state=state)
    other = train(params(**change), state=state)

    assert [e.epoch for e in other] == [3, 4]
    assert other[-1].value != same[-1].value


def test_a_state_takes_the_new_learning_rate() -> None:
    state = train(params(lr_schedule="constant"))[1].state

    still = train(params(lr_schedule="constant", learning_rate=1e-30), state=state)

    after, before = still[-1].state.part("network"), state.part("network")
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())


def test_the_best_epochs_weights_are_kept() -> None:
    problem = Scripted([3.0, 1.0, 2.0])

    epochs = list(fit(problem, params(), epochs=3, patience=None, seed=0))

    best, last = epochs[1].state, epochs[2].state
    assert (epochs[2].best_value, epochs[2].best_epoch) == (1.0, 2)
    assert all(torch.equal(t, best.part("network")[name]) for name, t in last.part("best").items())
    assert any(not torch.equal(t, last.part("network")[name]) for name, t in last.part("best").items())


@pytest.mark.parametrize(
    ("patience", "epochs", "ends"),
    [(2, 9, 4), (3, 9, 8), (2, 3, 3), (None, 9, 9), (0, 9, 9)],
)
def test_early_stopping(patience: int | None, epochs: int, ends: int) -> None:
    problem = Scripted([5.0, 4.0, 4.5, 4.0, 3.9, 5.0, 5.0, 5.0, 5.0])

    seen = list(fit(problem, params(), epochs=epochs, patience=patience, seed=0))

    assert [e.epoch for e in seen] == list(range(1, ends + 1))


def test_nothing_follows_a_state_that_had_ended() -> None:
    hp = params()
    state = list(fit(Scripted([1.0, 2.0, 2.0]), hp, epochs=9, patience=2, seed=0))[-1].state

    assert list(fit(Sine(), hp, epochs=9, patience=2, seed=0, state=state)) == []
    assert train(hp, epochs=3, state=state) == []


def test_a_loss_that_is_not_finite_fails_the_trial_and_says_where() -> None:
    problem = Sine()
    problem.train = problem.train.clone()
    problem.train[40] = float("nan")

    with pytest.raises(TrialFailed, match=r"training loss is nan at epoch 1, step \d of 4 \(learning_rate 0.01\)"):
        next(fit(problem, params(), epochs=1, patience=None, seed=0))


def test_a_validation_value_that_is_not_finite_fails_the_trial() -> None:
    training = fit(Scripted([1.0, float("inf")]), params(learning_rate=0.5), epochs=3, patience=None, seed=0)
    next(training)

    with pytest.raises(TrialFailed, match=r"validation mse is inf at epoch 2 \(learning_rate 0.5\)"):
        next(training)


def options() -> Iterable[dict[str, object]]:
    yield from ({"window_norm": name} for name in ("none", "last", "mean_std"))
    yield from (
        {"pooling": name, "bidirectional": two} for name, two in itertools.product(("mean", "max"), (True, False))
    )
    yield {"layer_norm": True, "projection": 4, "linear_skip": True, "num_layers": 2}
    yield {"grad_clip": 0.0}


@pytest.mark.parametrize("option", list(options()), ids=str)
def test_every_option_trains(option: dict[str, object]) -> None:
    epochs = train(params(**option), epochs=8)

    assert epochs[-1].train_loss < epochs[0].train_loss
