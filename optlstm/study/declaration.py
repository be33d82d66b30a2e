"""Reads and checks a declaration of the search space, reporting every problem it has."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from optlstm.errors import InputError, did_you_mean
from optlstm.study.space import Param, Space, Value

KEYS = ("low", "high", "step", "log", "choices", "default", "when", "type")


def parse_space(
    section: Mapping[str, Any],
    known: Mapping[str, Value],
    check_value: Callable[[str, Value], str | None] = lambda name, value: None,
) -> Space:
    """Check a `[space]` section.

    Args:
        section: Name to a fixed value or a table with the keys of `KEYS`.
        known: Every hyperparameter there is, with its default; the default's type says what it may hold.
        check_value: What is wrong with a value of a param, or None.

    Raises:
        InputError: With every problem found.
    """
    problems: list[str] = []
    fixed: dict[str, Value] = {}
    params: dict[str, Param] = {}
    for name, spec in section.items():
        if name not in known:
            names = ", ".join(known)
            problems.append(f"space.{name}: no such hyperparameter{did_you_mean(name, known)} (known: {names})")
        elif isinstance(spec, Mapping):
            param = _Parser(name, spec, known[name], check_value, problems).param()
            if param is not None:
                params[name] = param
        elif reason := _wrong_type(spec, known[name]) or check_value(name, spec):
            problems.append(f"space.{name}: {reason}")
        else:
            fixed[name] = float(spec) if type(known[name]) is float else spec
    problems += _condition_problems(section, params, fixed)
    if problems:
        raise InputError(problems)
    return Space(tuple(_in_order_of_conditions(params)), fixed)


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with a user's entries: a complete declaration replaces the entry, part of one amends it."""
    merged = dict(base)
    for name, change in changes.items():
        old = merged.get(name)
        partial = isinstance(change, Mapping) and "choices" not in change and not {"low", "high"} <= change.keys()
        if partial and isinstance(old, Mapping):
            merged[name] = {**old, **change}
            default = old.get("default")
            if "default" not in change and not _holds(merged[name], default):
                del merged[name]["default"]  # the amended range no longer holds it
        else:
            merged[name] = change
    return merged


@dataclass(frozen=True)
class _Parser:
    """One table of the section; every problem goes into the shared list. fallback: the hyperparameter's default."""

    name: str
    spec: Mapping[str, Any]
    fallback: Value
    check_value: Callable[[str, Value], str | None]
    problems: list[str]

    def error(self, message: str) -> None:
        self.problems.append(f"space.{self.name}: {message}")

    def param(self) -> Param | None:
        before = len(self.problems)
        for key in self.spec:
            if key not in KEYS:
                self.error(f"unknown key '{key}'{did_you_mean(key, KEYS)} (keys: {', '.join(KEYS)})")
        param = self._categorical() if "choices" in self.spec else self._numeric()
        return param if len(self.problems) == before else None

    def _categorical(self) -> Param | None:
        choices = self.spec["choices"]
        if extra := [key for key in ("low", "high", "step", "log") if key in self.spec]:
            self.error(f"give either choices or a range, not both ({', '.join(extra)})")
        if not isinstance(choices, list | tuple) or not choices:
            self.error("choices is empty" if choices == [] else f"choices must be a list, got {choices!r}")
            return None
        for position, value in enumerate(choices):
            if reason := _wrong_type(value, self.fallback) or self.check_value(self.name, value):
                self.error(f"choice {value!r}: {reason}")
            elif value in choices[:position]:
                self.error(f"choice {value!r} is given twice")
        values = tuple(float(v) if type(self.fallback) is float and _is_number(v) else v for v in choices)
        default = self.spec.get("default", self.fallback if self.fallback in values else values[0])
        if default not in values:
            self.error(f"default {default!r} is none of the choices {list(values)}")
        return Param(self.name, "categorical", choices=values, default=default, when=self._when())

    def _numeric(self) -> Param | None:
        if type(self.fallback) not in (int, float):
            self.error(f"holds {type(self.fallback).__name__} values: give it choices = [...] or one value")
            return None
        missing = [key for key in ("low", "high") if key not in self.spec]
        if missing:
            self.error(f"{' and '.join(missing)} missing (or choices = [...])")
            return None
        kind = type(self.fallback).__name__
        if self.spec.get("type", kind) != kind:
            self.error(f"type must be {kind!r} or left out, got {self.spec['type']!r}")
            return None
        low, high, step, log = self.spec["low"], self.spec["high"], self.spec.get("step"), self.spec.get("log")
        if not self._bounds_are_sound(kind, low, high, step, log):
            return None
        for key in ("low", "high"):
            if reason := self.check_value(self.name, self.spec[key]):
                self.error(f"{key} = {self.spec[key]!r}: {reason}")
        cast = float if kind == "float" else int
        steps = None if step is None else cast(step)
        param = Param(self.name, kind, cast(low), cast(high), steps, bool(log), when=self._when())
        return replace(param, default=self._numeric_default(param))

    def _bounds_are_sound(self, kind: str, low: Any, high: Any, step: Any, log: Any) -> bool:
        before = len(self.problems)
        for key, value in (("low", low), ("high", high), ("step", step)):
            if value is None and key == "step":
                continue
            if not _is_number(value):
                self.error(f"{key} must be a number, got {value!r}")
            elif not math.isfinite(value):
                self.error(f"{key} is {value}; bounds must be finite")
            elif kind == "int" and not isinstance(value, int):
                self.error(f"{key} must be a whole number, got {value!r}")
        if log not in (None, True, False):
            self.error(f"log must be true or false, got {log!r}")
        if len(self.problems) > before:
            return False
        if low > high:
            self.error(f"low = {low} is above high = {high}")
        if log and low <= 0:
            self.error(f"log needs low > 0, got low = {low}")
        if log and step is not None:
            self.error("step and log cannot be combined; drop one")
        if step is not None and step <= 0:
            self.error(f"step must be above 0, got {step}")
        elif step is not None and not log and low <= high and not _on_steps(high - low, step):
            nearest = low + math.floor((high - low) / step) * step
            self.error(f"high = {high} is not low plus a multiple of step = {step}; use high = {nearest:g}")
        return len(self.problems) == before

    def _numeric_default(self, param: Param) -> Value:
        given = self.spec.get("default")
        if given is None:
            inside = param.low <= self.fallback <= param.high  # type: ignore[operator]
            middle = math.sqrt(param.low * param.high) if param.log else (param.low + param.high) / 2
            given = self.fallback if inside else middle
            if param.kind == "int" or param.step:
                step = param.step or 1
                # Rounded as a grid's values are: 0.1 + 2 * 0.1 is above 0.3.
                given = round(param.low + round((given - param.low) / step) * step, 12)  # type: ignore[operator]
        elif not _is_number(given) or not param.low <= given <= param.high:
            self.error(f"default {given!r} is outside [{param.low}, {param.high}]")
            return param.low
        elif reason := _wrong_type(given, self.fallback):
            self.error(f"default {given!r}: {reason}")
        elif param.step and not _on_steps(given - param.low, param.step):
            self.error(f"default {given!r} is not low = {param.low} plus a multiple of step = {param.step}")
        return int(given) if param.kind == "int" else float(given)

    def _when(self) -> dict[str, tuple[Value, ...]]:
        when = self.spec.get("when", {})
        if not isinstance(when, Mapping):
            self.error(f"when must be a table such as {{optimizer = 'sgd'}}, got {when!r}")
            return {}
        return {other: tuple(v) if isinstance(v, list | tuple) else (v,) for other, v in when.items()}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _on_steps(distance: float, step: float) -> bool:
    return abs(distance / step - round(distance / step)) <= 1e-9


def _holds(spec: Mapping[str, Any], value: Any) -> bool:
    """Whether a range holds a value; what is no number is left to the parser to report."""
    low, high, step = spec.get("low", value), spec.get("high", value), spec.get("step") or 0
    if not all(_is_number(number) and math.isfinite(number) for number in (value, low, high, step)):
        return True
    return low <= value <= high and (step == 0 or _on_steps(value - low, step))


def _wrong_type(value: Any, like: Value) -> str | None:
    expected = type(like)
    if expected is float and _is_number(value) and not math.isfinite(value):
        return f"must be finite, got {value}"
    fits = _is_number(value) if expected is float else type(value) is expected
    if expected is bool and isinstance(value, str):  # some can be more than true and false: their own check says
        return None
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    hint = "; several to search: {choices = [...]}" if isinstance(value, list) else ""
    return None if fits else f"must be {words[expected]}, got {value!r}{hint}"


def _condition_problems(
    section: Mapping[str, Any], params: Mapping[str, Param], fixed: Mapping[str, Value]
) -> list[str]:
    problems = []
    for param in params.values():
        for other, values in param.when.items():
            if other not in section:
                near = did_you_mean(other, section)
                problems.append(f"space.{param.name}: when names '{other}', which is not in the space{near}")
                continue
            if not values:
                problems.append(f"space.{param.name}: when {other} = [] names no value")
            problems += [
                f"space.{param.name}: when {other} = {value!r}, but {other} is {reason}"
                for value in values
                if (reason := _impossible(value, params.get(other), fixed.get(other)))
            ]
        if param.name in _depends_on(param.name, params):
            problems.append(f"space.{param.name}: its condition depends on itself")
    return problems


def _impossible(value: Value, param: Param | None, fixed: Value | None) -> str | None:
    """What a condition's param can be, if not `value`; None where it can, or where that param itself is unsound."""
    if param is None and fixed is None:
        return None
    possible = param.values() if param else [fixed]
    if param and possible is None:  # too many to list
        inside = _is_number(value) and param.low <= value <= param.high  # type: ignore[operator]
        return None if inside else f"between {param.low} and {param.high}"
    return None if value in (possible or []) else f"one of {possible}"


def _depends_on(name: str, params: Mapping[str, Param]) -> set[str]:
    """The params that a param's condition depends on, directly or by way of others."""
    reached: set[str] = set()
    waiting = [name]
    while waiting:
        others = (params[waiting.pop()].when.keys() & params.keys()) - reached
        reached |= others
        waiting += others
    return reached


def _in_order_of_conditions(params: Mapping[str, Param]) -> list[Param]:
    ordered: dict[str, Param] = {}

    def add(param: Param) -> None:
        for other in param.when:
            if other in params and other not in ordered:
                add(params[other])
        ordered.setdefault(param.name, param)

    for param in params.values():
        add(param)
    return list(ordered.values())
