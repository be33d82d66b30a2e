"""Hyperparameters are checked all at once, and each message says what to type."""

from __future__ import annotations

import subprocess
import sys

import pytest

from optlstm.errors import InputError
from optlstm.training.hparams import Hyperparameters, validate_value


def test_missing_names_get_their_defaults() -> None:
    hp = Hyperparameters.from_params({"hidden_size": 32, "dropout": 0})

    assert (hp.hidden_size, hp.window, hp.optimizer) == (32, 96, "adamw")
    assert isinstance(hp.dropout, float)


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(InputError) as caught:
        Hyperparameters.from_params({"hiden_size": 32, "dropout": 1.0, "optimizer": "rmsprob", "window": 0})

    assert caught.value.problems == [
        "space.hiden_size: no hyperparameter has this name; did you mean 'hidden_size'?",
        "space.dropout: must be a number of at least 0 and below 1, not 1.0",
        "space.optimizer: must be one of adam, adamw, rmsprop, sgd, not 'rmsprob'; did you mean 'rmsprop'?",
        "space.window: must be an integer of at least 1, not 0",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_size", 64.0),
        ("hidden_size", True),
        ("num_layers", "2"),
        ("dropout", False),
        ("dropout", -0.1),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("warmup", 1.1),
        ("linear_skip", 1),
        ("pooling", None),
    ],
)
def test_wrong_values_are_named(name: str, value: object) -> None:
    problem = validate_value(name, value)

    assert problem is not None
    assert repr(value) in problem


@pytest.mark.parametrize(
    ("name", "value"), [("warmup", 1.0), ("grad_clip", 0), ("projection", 0), ("bidirectional", True)]
)
def test_values_at_the_edge_are_right(name: str, value: object) -> None:
    assert validate_value(name, value) is None


def test_no_torch_is_imported_to_check_a_study() -> None:
    code = "import sys, optlstm.training.hparams; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
