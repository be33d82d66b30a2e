"""The rules of a population: who copies whom, and what a copy's params are."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optlstm.errors import InputError
from optlstm.study.declaration import parse_space
from optlstm.study.pbt import Population, exploits, explored, read_explore
from optlstm.study.space import Space, Value

KNOWN: dict[str, Value] = {
    "learning_rate": 1e-3,
    "dropout": 0.1,
    "weight_decay": 0.0,
    "grad_clip": 1.0,
    "recurrent_dropout": 0.0,
    "hidden_size": 64,
    "num_layers": 1,
    "optimizer": "adamw",
}
SPACE = parse_space(
    {
        "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "dropout": {"low": 0.0, "high": 0.5, "step": 0.1},
        "weight_decay": {"low": 0.0, "high": 0.1},
        "grad_clip": {"choices": [0.5, 1.0, 2.0]},
        "hidden_size": {"low": 32, "high": 96, "step": 32},
        "num_layers": {"low": 1, "high": 2},
        "recurrent_dropout": {"low": 0.0, "high": 0.3, "when": {"num_layers": 2}, "default": 0.2},
        "optimizer": {"choices": ["adam", "adamw"]},
    },
    KNOWN,
)
OPTIONS = Population(
    population=8,
    epochs=12,
    interval=3,
    quantile=0.25,
    factors=(0.8, 1.25),
    resample_probability=0.25,
    params=("learning_rate", "dropout", "weight_decay", "grad_clip"),
)
PARAMS: dict[str, Value] = {
    "learning_rate": 1e-3,
    "dropout": 0.1,
    "weight_decay": 0.01,
    "grad_clip": 1.0,
    "hidden_size": 32,
    "num_layers": 1,
    "optimizer": "adam",
}


def test_boundaries_leave_the_last_epoch_out() -> None:
    assert OPTIONS.boundaries == [3, 6, 9]
    assert replace(OPTIONS, burn_in=4).boundaries == [6, 9]
    assert replace(OPTIONS, interval=12).boundaries == []


@given(
    scores=st.lists(st.one_of(st.floats(0, 10), st.just(math.nan), st.just(math.inf)), min_size=2, max_size=20),
    quantile=st.floats(0.01, 0.5),
    generation=st.integers(1, 9),
    direction=st.sampled_from(["minimize", "maximize"]),
)
@settings(max_examples=200, deadline=None)
def test_the_worst_are_replaced_by_the_best(
    scores: list[float], quantile: float, generation: int, direction: str
) -> None:
    by_member = dict(enumerate(scores))
    pairs = exploits(by_member, direction, quantile, 1, generation)
    assert pairs == exploits(by_member, direction, quantile, 1, generation)
    finite = sorted((v for v in scores if math.isfinite(v)), reverse=direction == "maximize")
    count = min(math.ceil(len(scores) * quantile), len(scores) // 2)
    for loser, donor in pairs.items():
        assert loser != donor
        assert donor not in pairs
        assert math.isfinite(scores[donor])
        assert scores[donor] in finite[:count]
    if finite:
        failed = {m for m, v in by_member.items() if not math.isfinite(v)}
        assert failed <= set(pairs)
        assert len(pairs) >= min(count, len(scores) - len(finite[:count]))
    else:
        assert pairs == {}


def test_donors_hang_on_seed_generation_and_member() -> None:
    scores = {m: float(m) for m in range(20)}
    drawn = {tuple(exploits(scores, "minimize", 0.25, seed, g).items()) for seed in range(3) for g in range(1, 4)}
    assert len(drawn) == 9


@given(seed=st.integers(0, 10_000), member=st.integers(0, 30), chance=st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=200, deadline=None)
def test_a_copy_stays_inside_the_declared_space(seed: int, member: int, chance: float) -> None:
    options = replace(OPTIONS, resample_probability=chance)
    params: Mapping[str, Value] = PARAMS
    for generation in range(1, 6):  # values must not drift out over generations
        params = explored(params, SPACE, options, seed, generation, member)
        for param in SPACE.params:
            if param.name in params:
                assert param.distribution()._contains(param.distribution().to_internal_repr(params[param.name]))
        assert {k: params[k] for k in ("hidden_size", "num_layers", "optimizer")} == {
            k: PARAMS[k] for k in ("hidden_size", "num_layers", "optimizer")
        }
        assert "recurrent_dropout" not in params


def test_a_number_is_multiplied_by_a_factor_and_a_grid_is_walked_by_steps() -> None:
    options = replace(OPTIONS, resample_probability=0.0)
    copies = [explored(PARAMS, SPACE, options, seed, 1, 0) for seed in range(40)]
    assert {round(float(c["learning_rate"]), 8) for c in copies} == {0.0008, 0.00125}
    assert {c["dropout"] for c in copies} == {0.0, 0.2}
    assert {c["grad_clip"] for c in copies} == {0.5, 2.0}


def test_a_zero_is_drawn_anew_because_no_factor_moves_it() -> None:
    options = replace(OPTIONS, resample_probability=0.0)
    assert explored({**PARAMS, "weight_decay": 0.0}, SPACE, options, 3, 1, 0)["weight_decay"] > 0  # type: ignore[operator]


def test_shapes_only_grow_and_bring_the_params_they_switch_on() -> None:
    options = replace(OPTIONS, params=("hidden_size", "num_layers"), growing=("hidden_size", "num_layers"))
    copies = [explored(PARAMS, SPACE, options, seed, 1, 0) for seed in range(60)]
    assert {c["hidden_size"] for c in copies} == {32, 64, 96}
    assert {c["num_layers"] for c in copies} == {1, 2}
    for copy in copies:
        assert copy.get("recurrent_dropout") == (0.2 if copy["num_layers"] == 2 else None)
    largest = {**PARAMS, "hidden_size": 96, "num_layers": 2, "recurrent_dropout": 0.1}
    assert {explored(largest, SPACE, options, seed, 1, 0)["hidden_size"] for seed in range(20)} == {96}


def halve(params: dict[str, Value], space: Space, draw: random.Random) -> dict[str, Value]:
    return {**params, "learning_rate": float(params["learning_rate"]) / 1e6}


def test_an_explore_of_ones_own_is_used_and_kept_inside_the_space() -> None:
    options = replace(OPTIONS, explore=read_explore("tests.study.test_pbt:halve"))
    assert explored(PARAMS, SPACE, options, 1, 1, 0) == {**PARAMS, "learning_rate": 1e-4}


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("nowhere:f", "there is no module 'nowhere'"),
        ("math:nothing", r"math has no nothing\(params, space, random\) -> params"),
        ("math", "must be module:function, got 'math'"),
        ("", "must be module:function, got ''"),
    ],
)
def test_an_explore_that_cannot_be_loaded_is_refused(reference: str, expected: str) -> None:
    with pytest.raises(InputError, match=rf"^pbt\.explore: {expected}"):
        read_explore(reference)
