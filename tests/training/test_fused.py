"""Fused trials: every lane is what `fit` makes of it alone, whatever becomes of the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

from optlstm.data.scaling import Standardizer
from optlstm.data.splits import Splits
from optlstm.errors import InputError, TrialDiverged
from optlstm.tasks.forecast.series_data import ForecastData
from optlstm.tasks.forecast.series_problem import ForecastProblem
from optlstm.training.folds import FoldedProblem
from optlstm.training.fused import FusedFit
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import Epoch, Problem, State, fit
from tests.training.problems import Scripted, Sine, params

EPOCHS = 3
OWN: list[dict[str, object]] = [
    {"learning_rate": 0.01, "dropout": 0.3, "recurrent_dropout": 0.2, "lr_schedule": "one_cycle"},
    {"learning_rate": 0.003, "dropout": 0.0, "recurrent_dropout": 0.5, "lr_schedule": "cosine", "warmup": 0.2},
    {"learning_rate": 0.02, "dropout": 0.5, "weight_decay": 0.1, "grad_clip": 0.1, "lr_schedule": "plateau"},
    {"learning_rate": 0.005, "grad_clip": 0.0, "lr_schedule": "constant"},
]
SEEDS = [3, 1, 4, 1]


def lanes(**shape: object) -> list[Hyperparameters]:
    return [params(**{**shape, **own}) for own in OWN]


def alone(
    hp: Hyperparameters,
    seed: int,
    *,
    epochs: int = EPOCHS,
    state: State | None = None,
    problem: Problem | None = None,
) -> list[Epoch]:
    return list(fit(problem or Sine(), hp, epochs=epochs, patience=None, seed=seed, state=state))


def fused(hps: Sequence[Hyperparameters], *, epochs: int = EPOCHS, problem: Problem | None = None) -> FusedFit:
    return FusedFit(problem or Sine(), hps, epochs=epochs, patience=None, seeds=SEEDS[: len(hps)])


def of_lane(run: FusedFit, lane: int) -> list[Epoch]:
    """A lane's epochs, to the end of the run."""
    found = [outcomes[lane] for outcomes in run if lane in outcomes]
    assert all(isinstance(epoch, Epoch) for epoch in found)
    return found  # type: ignore[return-value]


def assert_same(found: Sequence[Epoch], expected: Sequence[Epoch]) -> None:
    assert [(e.epoch, e.best_epoch, e.last) for e in found] == [(e.epoch, e.best_epoch, e.last) for e in expected]
    for one, other in zip(found, expected, strict=True):
        for name in ("value", "train_loss", "best_value"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-5, abs=1e-5)
        assert one.metrics == pytest.approx(other.metrics, rel=1e-5, abs=1e-5)
        mine, its = one.state(), other.state()
        assert mine.tensors.keys() == its.tensors.keys()
        assert {**mine.meta, "values": [], "best_value": 0} == {**its.meta, "values": [], "best_value": 0}
        torch.testing.assert_close(mine.tensors, its.tensors, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"num_layers": 2, "window_norm": "none"},
        {"num_layers": 3, "bidirectional": True, "pooling": "last", "optimizer": "adam"},
        {"num_layers": 2, "bidirectional": True, "pooling": "mean", "layer_norm": True, "projection": 5},
        {"pooling": "max", "linear_skip": True, "patch": 5, "window_norm": "mean_std", "layer_norm": True},
    ],
    ids=lambda shape: "-".join(shape) or "plain",
)
def test_every_lane_is_what_it_is_alone(shape: dict[str, object]) -> None:
    hps = lanes(**shape)

    rounds = list(fused(hps))

    for lane, (hp, seed) in enumerate(zip(hps, SEEDS, strict=True)):
        assert_same([outcomes[lane] for outcomes in rounds], alone(hp, seed))


def test_lanes_of_a_table_with_several_columns() -> None:
    values = np.sin(np.arange(100)[:, None] * 0.3 + np.arange(2)).astype(np.float32)
    splits = Splits(range(60), range(60, 80), range(80, 100))
    table = ForecastData(values, ("a", "b"), Standardizer.fit(values.astype(np.float64)), splits, horizon=4)
    problem = ForecastProblem(table, torch.device("cpu"))
    hps = lanes(num_layers=2)

    rounds = list(fused(hps, problem=problem))

    for lane, (hp, seed) in enumerate(zip(hps, SEEDS, strict=True)):
        assert_same([outcomes[lane] for outcomes in rounds], alone(hp, seed, problem=problem))


def test_a_pruned_lane_leaves_and_changes_no_other() -> None:
    hps = lanes(num_layers=2)
    seen, run = [], fused(hps)
    for outcomes in run:
        seen.append(outcomes)
        if len(seen) == 1:
            run.prune(0)
            run.prune(2)
            assert run.alive == (1, 3)

    assert [tuple(outcomes) for outcomes in seen] == [(0, 1, 2, 3), (1, 3), (1, 3)]
    for lane in (1, 3):
        assert_same([outcomes[lane] for outcomes in seen], alone(hps[lane], SEEDS[lane]))


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_a_lane_goes_on_alone_from_its_state(optimizer: str) -> None:
    hps = lanes(num_layers=2, optimizer=optimizer)
    outcomes = next(iter(fused(hps)))

    for lane, (hp, seed) in enumerate(zip(hps, SEEDS, strict=True)):
        assert_same(alone(hp, seed, state=outcomes[lane].state()), alone(hp, seed)[1:])


def test_a_lane_that_diverges_ends_alone() -> None:
    hps = [params(), params(learning_rate=1e30, lr_schedule="constant", grad_clip=0.0), params(learning_rate=0.02)]
    with pytest.raises(TrialDiverged) as its_own:
        alone(hps[1], SEEDS[1])

    seen = list(fused(hps))

    assert isinstance(seen[0][1], TrialDiverged)
    assert str(seen[0][1]) == str(its_own.value)
    assert [tuple(outcomes) for outcomes in seen] == [(0, 1, 2), (0, 2), (0, 2)]
    for lane in (0, 2):
        assert_same([outcomes[lane] for outcomes in seen], alone(hps[lane], SEEDS[lane]))


def test_a_validation_value_that_is_not_finite_ends_its_lane() -> None:
    values = [1.0, 2.0, float("nan"), 2.0, 2.0]  # lane 0, lane 1, and again; then lane 1 alone

    seen = list(fused([params(), params()], problem=Scripted(values)))

    assert "validation mse is nan at epoch 2" in str(seen[1][0])
    assert [tuple(outcomes) for outcomes in seen] == [(0, 1), (0, 1), (1,)]


def test_each_lane_stops_early_by_its_own_values() -> None:
    values = [1.0, 1.0, 2.0, 0.9, 0.8, 0.7]  # lane 1 goes on alone after the second epoch
    run = FusedFit(Scripted(values), [params(), params()], epochs=4, patience=1, seeds=[1, 2])

    seen = list(run)

    assert [tuple(outcomes) for outcomes in seen] == [(0, 1), (0, 1), (1,), (1,)]
    assert seen[1][0].last
    assert seen[1][0].best_value == 1.0


def test_one_lane_and_many_of_one_kind() -> None:
    hp = params(dropout=0.2)

    assert_same(of_lane(fused([hp]), 0), alone(hp, SEEDS[0]))
    assert_same(of_lane(FusedFit(Sine(), [hp, hp], epochs=2, patience=0, seeds=[5, 5]), 1), alone(hp, 5, epochs=2))


def test_the_plateau_schedule_looks_at_the_lanes_own_values() -> None:
    hp, values = params(lr_schedule="plateau"), [1.0, 2.0, 2.0, 2.0, 2.0]

    expected = alone(hp, SEEDS[0], epochs=5, problem=Scripted(values))

    assert_same(of_lane(fused([hp], epochs=5, problem=Scripted(values)), 0), expected)


@pytest.mark.parametrize(
    ("hps", "problems"),
    [
        (
            [params(hidden_size=8, window=12), params(hidden_size=16, window=12), params(hidden_size=8, window=10)],
            ["window: fused trials must agree in it, and have 12, 10", "hidden_size: fused trials must agree in it"],
        ),
        ([params(optimizer="sgd")] * 2, ["optimizer: sgd cannot be fused, adam and adamw can"]),
        ([params(optimizer="adam"), params()], ["optimizer: fused trials must agree in it, and have adam, adamw"]),
        ([params(averaging=0.1)] * 2, ["averaging: a trial that averages its weights cannot be fused"]),
        ([params(num_layers=2, hidden_size_2=4)] * 2, ["hidden_size_2, hidden_size_3: layers of different sizes"]),
        ([], ["seeds: each of 0 trials needs one (and there must be a trial)"]),
    ],
)
def test_what_cannot_be_fused_is_refused_in_words(hps: list[Hyperparameters], problems: list[str]) -> None:
    with pytest.raises(InputError) as refused:
        fused(hps)

    assert len(refused.value.problems) == len(problems)
    for found, start in zip(refused.value.problems, problems, strict=True):
        assert found.startswith(start)


def test_a_network_of_another_kind_is_refused() -> None:
    class Own(Sine):
        def network(self, hp: Hyperparameters) -> nn.Module:
            return nn.Linear(12, 3)

    with pytest.raises(InputError, match="a Linear cannot be fused, an LSTMForecaster can"):
        fused([params()], problem=Own())
    with pytest.raises(InputError, match="a Folds cannot be fused"):
        fused([params()], problem=FoldedProblem([Sine(), Sine()]))
    with pytest.raises(InputError, match=r"2 trials needs one .* got 1"):
        FusedFit(Sine(), [params()] * 2, epochs=1, patience=0, seeds=[1])
