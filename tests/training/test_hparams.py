"""Hyperparameters are checked all at once, and each message says what to type."""

from __future__ import annotations

import subprocess
import sys

import pytest

from optlstm.errors import InputError
from optlstm.tasks.registry import TASKS
from optlstm.training.hparams import FACETS, GROWING, PBT_PARAMS, Hyperparameters, used_by, validate_value


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
        ("linear_skip", "solve"),
        ("bidirectional", "solved"),
        ("pooling", None),
    ],
)
def test_wrong_values_are_named(name: str, value: object) -> None:
    problem = validate_value(name, value)

    assert problem is not None
    assert repr(value) in problem


@pytest.mark.parametrize(
    ("name", "value"),
    [("warmup", 1.0), ("grad_clip", 0), ("projection", 0), ("bidirectional", True), ("linear_skip", "solved")],
)
def test_values_at_the_edge_are_right(name: str, value: object) -> None:
    assert validate_value(name, value) is None


def test_a_task_is_offered_what_it_has_a_use_for() -> None:
    assert {"window", "linear_skip", "patch"} <= set(used_by("forecast"))
    assert {"embedding_dim", "input_noise", "label_smoothing", "grown_layers"}.isdisjoint(used_by("forecast"))
    assert {"linear_skip", "embedding_dim", "grown_layers"}.isdisjoint(used_by("sequence"))
    assert {"window", "patch", "window_norm", "linear_skip", "input_noise"}.isdisjoint(used_by("text"))
    assert used_by("text")["embedding_dim"] == 100


def test_the_facets_agree_with_each_other() -> None:
    assert {task for facets in FACETS.values() for task in facets.tasks} <= set(TASKS)
    assert all(FACETS[name].weights == "free" for name in PBT_PARAMS)
    assert GROWING == ("hidden_size", "num_layers")
    assert all(facets.size_needs in (None, *FACETS) for facets in FACETS.values())


def test_a_size_counts_where_the_network_has_such_weights() -> None:
    assert Hyperparameters(window=96, linear_skip=True, projection=8).sizes() == {
        "window": 96,
        "hidden_size": 64,
        "num_layers": 1,
        "patch": 1,
        "projection": 8,
        "grown_layers": 0,
    }
    assert "window" not in Hyperparameters(linear_skip=False).sizes()


def test_no_torch_is_imported_to_check_a_study() -> None:
    code = "import sys, optlstm.training.hparams; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
