from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from optlstm.errors import InputError
from optlstm.study.declaration import parse_space
from optlstm.study.space import Space
from tests.study.helpers import CONDITIONAL, FINITE, KNOWN, space


def test_a_trial_gets_the_distributions_that_were_declared() -> None:
    section = {
        "hidden_size": {"low": 16, "high": 128, "step": 16},
        "num_layers": {"low": 1, "high": 64, "log": True},
        "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "momentum": {"low": 0, "high": 1},
        "dropout": {"low": 0.0, "high": 0.3, "step": 0.1},
        "optimizer": {"choices": ["adam", "sgd"]},
    }
    trial = optuna.create_study().ask()

    chosen = space(section).suggest(trial)

    assert trial.distributions == {
        "hidden_size": IntDistribution(16, 128, step=16),
        "num_layers": IntDistribution(1, 64, log=True),
        "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
        "momentum": FloatDistribution(0.0, 1.0),
        "dropout": FloatDistribution(0.0, 0.3, step=0.1),
        "optimizer": CategoricalDistribution(("adam", "sgd")),
    }
    assert chosen == trial.params


def test_a_condition_stands_before_what_it_governs_and_inactive_params_are_absent() -> None:
    declared = space(CONDITIONAL)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))

    configurations = [declared.suggest(study.ask()) for _ in range(20)]

    assert [param.name for param in declared.params] == ["optimizer", "momentum", "hidden_size", "learning_rate"]
    assert all(("momentum" in c) == (c["optimizer"] == "sgd") for c in configurations)
    assert {c["optimizer"] for c in configurations} == {"adam", "adamw", "sgd"}
    assert all(c["num_layers"] == 2 for c in configurations)


@pytest.mark.parametrize(("optimizer", "layers", "present"), [("adam", 2, False), ("sgd", 1, False), ("sgd", 2, True)])
def test_a_chain_of_conditions_is_followed_to_its_end(optimizer: str, layers: int, present: bool) -> None:
    section = {
        "dropout": {"low": 0.0, "high": 0.5, "when": {"num_layers": [2, 3]}},
        "num_layers": {"choices": [1, 2, 3], "when": {"optimizer": "sgd"}},
        "optimizer": {"choices": ["adam", "sgd"]},
    }
    fixed = optuna.trial.FixedTrial({"optimizer": optimizer, "num_layers": layers, "dropout": 0.1})

    chosen = space(section).suggest(fixed)

    assert ("dropout" in chosen) is present
    assert ("num_layers" in chosen) is (optimizer == "sgd")


def test_a_condition_may_ask_for_several_params_and_for_a_fixed_value() -> None:
    section = {
        "bidirectional": True,
        "optimizer": {"choices": ["adam", "sgd"]},
        "dropout": {"choices": [0.1, 0.2], "when": {"bidirectional": True, "optimizer": ["sgd"]}},
    }

    assert "dropout" in space(section).suggest(optuna.trial.FixedTrial({"optimizer": "sgd", "dropout": 0.2}))
    assert "dropout" not in space(section).suggest(optuna.trial.FixedTrial({"optimizer": "adam", "dropout": 0.2}))


@pytest.mark.parametrize(
    ("spec", "default"),
    [
        ({"low": 16, "high": 128}, 64),
        ({"low": 16, "high": 128, "step": 28}, 72),
        ({"low": 16, "high": 32}, 24),
        ({"low": 100, "high": 400, "log": True}, 200),
        ({"low": 16, "high": 128, "default": 20}, 20),
        ({"choices": [8, 32]}, 8),
        ({"choices": [8, 64]}, 64),
        ({"choices": [8, 64], "default": 8}, 8),
    ],
)
def test_a_default_is_the_given_the_hyperparameters_own_or_the_middle(spec: dict[str, Any], default: int) -> None:
    chosen = space({"hidden_size": spec}).defaults()["hidden_size"]

    assert (chosen, type(chosen)) == (default, int)


def test_defaults_are_the_active_searched_params() -> None:
    section = {**CONDITIONAL, "optimizer": {"choices": ["adam", "sgd"], "default": "sgd"}}

    assert space(CONDITIONAL).defaults() == {"optimizer": "adamw", "hidden_size": 64, "learning_rate": 1e-3}
    assert space(section).defaults() == {
        "optimizer": "sgd",
        "momentum": 0.9,
        "hidden_size": 64,
        "learning_rate": 1e-3,
    }


@pytest.mark.parametrize(
    ("low", "high", "step", "own"),
    [(0.1, 0.3, 0.1, 0.3), (0.0, 0.7, 0.1, 0.7), (0.1, 0.7, 0.2, 0.7), (0.05, 0.3, 0.05, 0.3)],
)
def test_defaults_on_a_grid_of_fractions_are_inside_it(low: float, high: float, step: float, own: float) -> None:
    declared = parse_space({"dropout": {"low": low, "high": high, "step": step}}, {"dropout": own})
    study = optuna.create_study()
    study.enqueue_trial(declared.defaults())

    assert declared.suggest(study.ask()) == {"dropout": own}
    assert own in (declared.grid()["dropout"])


def test_a_grid_holds_every_value_as_optuna_rounds_it() -> None:
    declared = space(FINITE)

    assert declared.grid() == {
        "hidden_size": [32, 64, 96],
        "dropout": [0.0, 0.2, 0.4],
        "bidirectional": [False, True],
    }
    assert declared.combinations() == 18


def test_what_cannot_be_enumerated_is_named_all_at_once() -> None:
    with pytest.raises(InputError) as caught:
        space(CONDITIONAL).grid()
    with pytest.raises(InputError) as continuous:
        space(CONDITIONAL).check_finite()

    assert [p.split(":")[0] for p in caught.value.problems] == ["space.momentum", "space.learning_rate"]
    assert "brute-force" in caught.value.problems[0]
    assert [p.split(":")[0] for p in continuous.value.problems] == ["space.momentum", "space.learning_rate"]
    space(FINITE).check_finite()


@pytest.mark.parametrize("section", [CONDITIONAL, FINITE], ids=["conditional", "finite"])
def test_the_spec_of_a_space_gives_the_space_back(section: dict[str, Any]) -> None:
    declared = space(section)

    again: Space = parse_space(declared.spec(), KNOWN)

    assert again == declared
    assert again.spec() == declared.spec()


def test_fixed_numbers_take_the_hyperparameters_type() -> None:
    fixed = space({"dropout": 0, "learning_rate": 1, "momentum": {"choices": [0, 1]}})

    assert all(type(value) is float for value in fixed.fixed.values())
    assert all(type(value) is float for value in fixed.grid()["momentum"])


def test_largest_is_the_top_of_a_range_of_choices_or_a_fixed_value() -> None:
    declared = space({"hidden_size": {"low": 8, "high": 32}, "num_layers": {"choices": [3, 1]}, "dropout": 0.5})

    assert [declared.largest(n) for n in ("hidden_size", "num_layers", "dropout", "momentum")] == [32, 3, 0.5, None]
