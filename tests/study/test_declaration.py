from __future__ import annotations

import math
from typing import Any

import pytest

from optlstm.errors import InputError
from optlstm.study.declaration import merge, parse_space
from tests.study.helpers import KNOWN

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


def test_values_are_checked_by_the_given_function() -> None:
    section = {"dropout": {"low": 0.0, "high": 3.0}, "num_layers": {"choices": [1, 99]}, "hidden_size": 77}

    with pytest.raises(InputError) as caught:
        parse_space(section, KNOWN, lambda name, value: "too large" if value in (3.0, 99, 77) else None)

    assert caught.value.problems == [
        "space.dropout: high = 3.0: too large",
        "space.num_layers: choice 99: too large",
        "space.hidden_size: too large",
    ]


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
        (
            {"hidden_size": {"high": 32, "default": 16}},
            {"hidden_size": {"low": 16, "high": 32, "step": 16, "default": 16}},
        ),
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
