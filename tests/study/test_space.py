from __future__ import annotations

import math
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from optlstm.errors import InputError
from optlstm.study.declaration import merge, parse_space
from optlstm.study.space import Space
from tests.study.helpers import CONDITIONAL, FINITE, KNOWN, space

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown name": ({"hiden_size": 3}, "did you mean 'hidden_size'?"),
    "unknown key": ({"dropout": {"low": 0.0, "hihg": 0.5, "high": 0.4}}, "unknown key 'hihg'; did you mean 'high'?"),
    "fixed of a wrong type": ({"hidden_size": 1.5}, "must be a whole number, got 1.5"),
    "text for a number": ({"dropout": "0.1"}, "must be a number, got '0.1'"),
    "a truth for a number": ({"dropout": True}, "must be a number, got True"),
    "number for a truth": ({"bidirectional": 1}, "must be true or false, got 1"),
    "number for text": ({"optimizer": 3}, "must be text, got 3"),
    "fixed nan": ({"dropout": math.nan}, "nan"),
    "range of text": ({"optimizer": {"low": 0, "high": 1}}, "give it choices"),
    "bound of a wrong type": ({"dropout": {"low": "0", "high": 0.5}}, "low must be a number, got '0'"),
    "fraction for a whole bound": ({"hidden_size": {"low": 1.5, "high": 4}}, "low must be a whole number, got 1.5"),
    "fraction for a whole number": ({"hidden_size": {"type": "float", "low": 1, "high": 4}}, "type"),
    "unknown type": ({"dropout": {"type": "real", "low": 0.0, "high": 0.4}}, "type"),
    "choice of a wrong type": ({"num_layers": {"choices": [1, 2.5]}}, "choice 2.5: must be a whole number"),
    "choice that is nan": ({"dropout": {"choices": [0.1, math.nan]}}, "nan"),
    "low above high": ({"hidden_size": {"low": 8, "high": 4}}, "low = 8 is above high = 4"),
    "log from zero": ({"learning_rate": {"low": 0.0, "high": 1.0, "log": True}}, "log needs low > 0, got low = 0.0"),
    "log below zero": ({"learning_rate": {"low": -1.0, "high": 1.0, "log": True}}, "log needs low > 0"),
    "step with log": ({"hidden_size": {"low": 1, "high": 9, "step": 2, "log": True}}, "cannot be combined"),
    "log of a wrong type": ({"hidden_size": {"low": 1, "high": 9, "log": "yes"}}, "log must be true or false"),
    "step of zero": ({"hidden_size": {"low": 1, "high": 9, "step": 0}}, "step must be above 0, got 0"),
    "step below zero": ({"dropout": {"low": 0.0, "high": 0.4, "step": -0.1}}, "step must be above 0, got -0.1"),
    "high off the steps": ({"hidden_size": {"low": 16, "high": 100, "step": 16}}, "use high = 96"),
    "float high off the steps": ({"dropout": {"low": 0.0, "high": 0.5, "step": 0.2}}, "use high = 0.4"),
    "no choices": ({"optimizer": {"choices": []}}, "choices is empty"),
    "choices are no list": ({"optimizer": {"choices": "adam"}}, "choices must be a list, got 'adam'"),
    "a choice twice": ({"optimizer": {"choices": ["adam", "sgd", "adam"]}}, "choice 'adam' is given twice"),
    "a number twice": ({"dropout": {"choices": [0, 0.5, 0.0]}}, "choice 0.0 is given twice"),
    "nan bound": ({"dropout": {"low": math.nan, "high": 0.5}}, "low is nan; bounds must be finite"),
    "infinite bound": ({"dropout": {"low": 0.0, "high": math.inf}}, "high is inf; bounds must be finite"),
    "infinite step": ({"dropout": {"low": 0.0, "high": 0.5, "step": math.inf}}, "step is inf"),
    "choices and a range": ({"num_layers": {"choices": [1, 2], "low": 1}}, "either choices or a range"),
    "low alone": ({"dropout": {"low": 0.1}}, "high missing"),
    "high alone": ({"dropout": {"high": 0.1}}, "low missing"),
    "nothing": ({"dropout": {}}, "low and high missing"),
    "default outside": ({"dropout": {"low": 0.0, "high": 0.4, "default": 0.5}}, "default 0.5 is outside [0.0, 0.4]"),
    "default is nan": ({"dropout": {"low": 0.0, "high": 0.4, "default": math.nan}}, "default nan is outside"),
    "default of a wrong type": ({"dropout": {"low": 0.0, "high": 0.4, "default": "x"}}, "default 'x'"),
    "default off the steps": ({"hidden_size": {"low": 16, "high": 96, "step": 16, "default": 20}}, "default 20"),
    "fraction for a default": ({"hidden_size": {"low": 16, "high": 96, "default": 20.5}}, "default 20.5"),
    "default is no choice": ({"optimizer": {"choices": ["adam", "sgd"], "default": "x"}}, "default 'x' is none of"),
    "condition is no table": ({"dropout": {"low": 0.0, "high": 0.4, "when": "sgd"}}, "when must be a table"),
    "condition on nothing known": (
        {"optimizer": "sgd", "dropout": {"low": 0.0, "high": 0.4, "when": {"optimiser": "sgd"}}},
        "when names 'optimiser', which is not in the space; did you mean 'optimizer'?",
    ),
    "condition on an impossible choice": (
        {"optimizer": {"choices": ["adam", "sgd"]}, "dropout": {"low": 0.0, "high": 0.4, "when": {"optimizer": "x"}}},
        "when optimizer = 'x', but optimizer is one of ['adam', 'sgd']",
    ),
    "condition on an impossible fixed value": (
        {"optimizer": "adam", "dropout": {"low": 0.0, "high": 0.4, "when": {"optimizer": "sgd"}}},
        "when optimizer = 'sgd', but optimizer is one of ['adam']",
    ),
    "condition outside a range": (
        {"learning_rate": {"low": 1e-3, "high": 1e-2}, "dropout": {"choices": [0.1], "when": {"learning_rate": 5.0}}},
        "when learning_rate = 5.0",
    ),
    "condition on no value": (
        {"optimizer": {"choices": ["adam"]}, "dropout": {"low": 0.0, "high": 0.4, "when": {"optimizer": []}}},
        "when optimizer",
    ),
    "condition on itself": ({"num_layers": {"choices": [1, 2], "when": {"num_layers": 1}}}, "depends on itself"),
}


@pytest.mark.parametrize(("section", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_declaration_is_one_line_that_names_the_param(section: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_space(section, KNOWN)

    (problem,) = caught.value.problems
    assert message in problem
    assert problem.startswith("space.")
    assert "\n" not in problem


def test_every_problem_is_reported_at_once() -> None:
    section = {
        "hiden_size": 3,
        "optimizer": {"choices": []},
        "dropout": {"low": 0.5, "high": 0.1, "colour": 1},
        "learning_rate": {"low": 0.0, "high": 1.0, "log": True, "when": {"nothing": 1}},
        "num_layers": "two",
    }

    with pytest.raises(InputError) as caught:
        parse_space(section, KNOWN)

    named = sorted(problem.split(":")[0] for problem in caught.value.problems)
    expected = ["hiden_size", "optimizer", "dropout", "dropout", "learning_rate", "num_layers"]
    assert named == sorted(f"space.{name}" for name in expected)
    assert str(caught.value).splitlines() == caught.value.problems


def test_every_member_of_a_cycle_of_conditions_is_named() -> None:
    section = {
        "num_layers": {"choices": [1, 2], "when": {"bidirectional": True}},
        "bidirectional": {"choices": [False, True], "when": {"optimizer": "sgd"}},
        "optimizer": {"choices": ["adam", "sgd"], "when": {"num_layers": 2}},
        "dropout": {"low": 0.0, "high": 0.5, "when": {"num_layers": 2}},
    }

    with pytest.raises(InputError) as caught:
        parse_space(section, KNOWN)

    assert caught.value.problems == [
        f"space.{name}: its condition depends on itself" for name in ("num_layers", "bidirectional", "optimizer")
    ]


def test_values_are_checked_by_whoever_knows_them() -> None:
    section = {"dropout": {"low": 0.0, "high": 3.0}, "num_layers": {"choices": [1, 99]}, "hidden_size": 77}

    with pytest.raises(InputError) as caught:
        parse_space(section, KNOWN, lambda name, value: "too large" if value in (3.0, 99, 77) else None)

    assert caught.value.problems == [
        "space.dropout: high = 3.0: too large",
        "space.num_layers: choice 99: too large",
        "space.hidden_size: too large",
    ]


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


@pytest.mark.parametrize(
    ("optimizer", "layers", "present"), [("adam", 2, False), ("sgd", 1, False), ("sgd", 2, True)]
)
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
    ("low", "high", "step", "own"), [(0.1, 0.3, 0.1, 0.3), (0.0, 0.7, 0.1, 0.7), (0.1, 0.7, 0.2, 0.7), (0.05, 0.3, 0.05, 0.3)]
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


BASE: dict[str, Any] = {
    "hidden_size": {"low": 16, "high": 128, "step": 16, "default": 64},
    "optimizer": {"choices": ["adam", "sgd"], "default": "adam"},
    "num_layers": 1,
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"num_layers": 2}, {"num_layers": 2}),
        ({"hidden_size": 32}, {"hidden_size": 32}),
        ({"dropout": {"low": 0.0, "high": 0.5}}, {"dropout": {"low": 0.0, "high": 0.5}}),
        ({"hidden_size": {"high": 256}}, {"hidden_size": {"low": 16, "high": 256, "step": 16, "default": 64}}),
        ({"hidden_size": {"high": 32}}, {"hidden_size": {"low": 16, "high": 32, "step": 16}}),
        ({"hidden_size": {"high": 32, "default": 16}}, {"hidden_size": {"low": 16, "high": 32, "step": 16, "default": 16}}),
        ({"hidden_size": {"step": 28}}, {"hidden_size": {"low": 16, "high": 128, "step": 28}}),
        ({"hidden_size": {"low": 8, "high": 9}}, {"hidden_size": {"low": 8, "high": 9}}),
        ({"hidden_size": {"choices": [1, 2]}}, {"hidden_size": {"choices": [1, 2]}}),
        ({"optimizer": {"default": "sgd"}}, {"optimizer": {"choices": ["adam", "sgd"], "default": "sgd"}}),
        ({"num_layers": {"low": 1, "high": 3}}, {"num_layers": {"low": 1, "high": 3}}),
    ],
)
def test_a_users_entries_amend_or_replace_the_defaults(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    before = {name: dict(spec) if isinstance(spec, dict) else spec for name, spec in BASE.items()}

    assert merge(BASE, changes) == {**BASE, **expected}
    assert before == BASE


def test_a_merge_leaves_bad_bounds_to_the_check() -> None:
    with pytest.raises(InputError, match="low must be a number, got 'x'"):
        parse_space(merge(BASE, {"hidden_size": {"low": "x"}}), KNOWN)
