"""A named choice with options, as the config states it: `[sampler] name = "tpe"`, `n_startup_trials = 5`.

A registry maps names to factories. A factory's keyword-only parameters are the options: their names, types and
defaults are stated there and nowhere else.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from optlstm.errors import Problem, did_you_mean, nearest

# The names of samplers and pruners, which `--help` lists without importing Optuna.
SAMPLER_NAMES = ("tpe", "random", "grid", "gp", "cmaes", "qmc", "nsga2", "nsga3", "brute-force", "narrowing")
PRUNER_NAMES = ("asha", "hyperband", "median", "percentile", "patient", "wilcoxon", "threshold", "none")
# These enumerate the space: every param needs finitely many values, and the study ends when all were tried.
EXHAUSTIVE = frozenset({"grid", "brute-force"})
# These take several objectives; the others learn from one value, and refuse more.
MULTI_OBJECTIVE = frozenset({"tpe", "random", "grid", "gp", "qmc", "nsga2", "nsga3", "brute-force"})

Factory = Callable[..., Any]
# Pydantic's kinds of errors, after "must be".
_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "literal_error": "{expected}",
    "too_short": "a list of at least {min_length}",
    "greater_than_equal": "at least {ge}",
    "greater_than": "above {gt:g}",
    "less_than_equal": "at most {le}",
    "less_than": "below {lt:g}",
}


def in_words(errors: Sequence[ErrorDetails]) -> str:
    """What one value must be, from all that pydantic says of it: one error per alternative of its type."""
    if errors[0]["type"] not in _EXPECTED:
        return errors[0]["msg"].removeprefix("Value error, ")
    known = [_EXPECTED[e["type"]].format(**e.get("ctx", {})) for e in errors if e["type"] in _EXPECTED]
    return "must be " + " or ".join(dict.fromkeys(known))


def options_of(factory: Factory) -> dict[str, inspect.Parameter]:
    return {p.name: p for p in inspect.signature(factory).parameters.values() if p.kind is p.KEYWORD_ONLY}


def check(section: str, registry: Mapping[str, Factory], name: str, options: Mapping[str, Any]) -> list[str]:
    """The problems of a choice, one line each; empty when `registry[name](..., **options)` can be called."""
    if name not in registry:
        line = f"{section}.name: no {section} '{name}'{did_you_mean(name, registry)} (one of: {', '.join(registry)})"
        near = nearest(name, registry)
        return [Problem(line, {f"{section}.name": near} if near else None)]
    known = options_of(registry[name])
    hints = typing.get_type_hints(registry[name], include_extras=True)
    problems = []
    for key, value in options.items():
        if key not in known:
            allowed = f"options of {name}: {', '.join(known)}" if known else f"{name} has no options"
            problems.append(f"{section}.{key}: unknown option{did_you_mean(key, known)} ({allowed})")
            continue
        try:
            # Strict still takes a whole number for a float, but no truth value for a number.
            TypeAdapter(hints[key]).validate_python(value, strict=True)
        except ValidationError as error:
            problems.append(f"{section}.{key}: {in_words(error.errors())}, got {value!r}")
    return problems


def resolved_options(factory: Factory, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options with their values, defaults filled in: what the study records."""
    return {key: options.get(key, parameter.default) for key, parameter in options_of(factory).items()}
