"""A cross-validation in one training: each fold learns from its own, and the value is their mean."""

from __future__ import annotations

import pytest
import torch

from optlstm.training.folds import FoldedProblem, Folds, one_of
from optlstm.training.loop import fit
from optlstm.training.metric import Metric
from tests.training.problems import Scripted, Sine, params


def test_a_step_moves_one_fold_only() -> None:
    problem, hp = FoldedProblem([Sine(), Sine()]), params()
    network = problem.network(hp)
    assert isinstance(network, Folds)
    batch = next(problem.batches(hp, torch.Generator().manual_seed(0)))

    problem.loss(network, batch).backward()

    mine, other = (1, 0) if int(batch[-1]) else (0, 1)
    assert all(p.grad is not None for p in network[mine].parameters())
    assert all(p.grad is None for p in network[other].parameters())
    assert one_of(network) is network[0]


def test_the_folds_steps_are_spread_evenly_over_the_epoch() -> None:
    long, short = Sine(), Sine()
    short.train = short.train[:48]
    problem, hp = FoldedProblem([long, short]), params(batch_size=8)

    turns = [int(batch[-1]) for batch in problem.batches(hp, torch.Generator().manual_seed(0))]

    assert len(turns) == problem.steps_per_epoch(hp) == 12 + 6
    assert turns.count(1) == 6
    assert all(1 <= turns[i : i + 3].count(1) <= 1 for i in range(0, 18, 3))


def test_the_value_is_the_mean_over_the_folds() -> None:
    problem = FoldedProblem([Scripted([1.0, 4.0]), Scripted([3.0, 0.0])])

    assert [epoch.value for epoch in fit(problem, params(), epochs=2, patience=None, seed=0)] == [2.0, 2.0]


def test_both_networks_learn_and_go_on_bit_for_bit() -> None:
    def problem() -> FoldedProblem:
        return FoldedProblem([Sine(), Sine()])

    whole = list(fit(problem(), params(), epochs=4, patience=None, seed=5))
    state = whole[1].state
    rest = list(fit(problem(), params(), epochs=4, patience=None, seed=5, state=state))

    assert whole[-1].value < whole[0].value
    assert [epoch.value for epoch in rest] == [epoch.value for epoch in whole[2:]]
    for name, tensor in rest[-1].state.tensors.items():
        assert torch.equal(tensor, whole[-1].state.tensors[name]), name


@pytest.mark.parametrize(("higher", "values"), [(False, [0.8, 0.6]), (True, [0.2, 0.4])])
def test_a_metric_of_which_more_is_better_is_turned_round(higher: bool, values: list[float]) -> None:
    epochs = fit(Scripted([0.8, 0.6]), params(), epochs=2, patience=None, seed=0, metric=Metric("mse", higher=higher))

    assert [epoch.value for epoch in epochs] == pytest.approx(values)
