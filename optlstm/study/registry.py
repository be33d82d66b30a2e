"""A named choice with options, as the config states it: `[sampler] name = "tpe"`, `n_startup_trials = 5`.

A registry maps names to factories. A factory's keyword-only parameters are the options: their names, types and
defaults are stated there and nowhere else.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from optlstm.errors import did_you_mean

Factory = Callable[..., Any]


def options_of(factory: Factory) -> dict[str, inspect.Parameter]:
    return {p.name: p for p in inspect.signature(factory).parameters.values() if p.kind is p.KEYWORD_ONLY}


def check(section: str, registry: Mapping[str, Factory], name: str, options: Mapping[str, Any]) -> list[str]:
    """The problems of a choice, one line each; empty when `registry[name](..., **options)` can be called."""
    from pydantic import TypeAdapter, ValidationError

    if name not in registry:
        return [f"{section}.name: no {section} '{name}'{did_you_mean(name, registry)} (one of: {', '.join(registry)})"]
    known = options_of(registry[name])
    hints = _types_of(registry[name])
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
            problems.append(f"{section}.{key}: {error.errors()[0]['msg']}, got {value!r}")
    return problems


def _types_of(factory: Factory) -> dict[str, Any]:
    # The options' annotations alone: the factory's return type is Optuna's, which is not imported here.
    annotations = {key: factory.__annotations__[key] for key in options_of(factory)}
    holder = type("Options", (), {"__annotations__": annotations})
    return typing.get_type_hints(holder, globalns=factory.__globals__, include_extras=True)


def resolved_options(factory: Factory, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options with their values, defaults filled in: what the study records."""
    return {key: options.get(key, parameter.default) for key, parameter in options_of(factory).items()}
