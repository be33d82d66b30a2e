"""The search space: declared once as plain data, checked, and drawn from by any object with Optuna's `suggest_*`.

[space]
hidden_size = {low = 16, high = 128, step = 16}           # int, because the bounds are
learning_rate = {low = 1e-4, high = 1e-2, log = true}     # float
optimizer = {choices = ["adam", "adamw"], default = "adamw"}
momentum = {low = 0.0, high = 0.99, when = {optimizer = "sgd"}}
num_layers = 1                                            # fixed
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from optlstm.errors import InputError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Value = int | float | str | bool
_CONTINUOUS = "is continuous; to enumerate it give it a step or choices"


def chosen(name: str, choices: Iterable[Any], ask: Callable[[tuple[Any, ...]], Any]) -> Any:
    """The choice that `ask` picks of what a study keeps for them: of tuples their text, of classes their name.

    As by Optuna, these are warned of.

    Raises:
        ValueError: A choice has no such text, or that of another.
    """
    kept, originals = list[Any](), dict[str, Any]()
    for choice in choices:
        if choice is None or isinstance(choice, bool | int | float | str):
            kept.append(choice)
            continue
        kind = type(choice).__name__
        text = _text_of(choice)
        if text is None or text in kept:
            why = "has no name and is nothing that JSON holds" if text is None else f"is as {text!r} as another"
            raise ValueError(
                f"suggest {name!r}: a study keeps its choices, and one of type {kind} {why}; suggest names"
            )
        warnings.warn(
            "Choices for a categorical distribution should be a tuple of None, bool, int, float and str for persistent"
            f" storage but contains {choice} which is of type {kind}: the study has {text!r} for it.",
            stacklevel=4,
        )
        kept.append(text)
        originals[text] = choice
    value = ask(tuple(kept))
    return originals.get(value, value) if isinstance(value, str) else value


def _text_of(choice: Any) -> str | None:
    try:
        return json.dumps(choice)
    except (TypeError, ValueError):
        return getattr(choice, "__qualname__", None)


def conflict(first: Param, again: Param) -> str:
    """Why a trial cannot have a param that it was asked for by another declaration before, as Optuna says it.

    Another range is warned of: the value of the first call stands.
    """
    if first.kind != again.kind:
        return "Cannot set different distribution kind to the same parameter name."
    if first.log != again.log:
        return "Cannot set different log configuration to the same parameter name."
    if first.choices != again.choices:
        return "CategoricalDistribution does not support dynamic value space."
    if first != again:
        spans = [f"low={p.low}, high={p.high}, step={p.step}" for p in (first, again)]
        warnings.warn(
            f'Inconsistent parameter values for distribution with name "{first.name}"! The value of the first call'
            f" ({spans[0]}) is used, not one of {spans[1]}.",
            RuntimeWarning,
            stacklevel=4,
        )
    return ""


class Suggester(Protocol):
    """The part of an Optuna trial that a space asks."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...


@dataclass(frozen=True)
class Param:
    """One searched hyperparameter; `when` maps other params to the values that make this one active."""

    name: str
    kind: str  # "int", "float" or "categorical"
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False
    choices: tuple[Value, ...] = ()
    default: Value = 0
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)

    def suggest(self, trial: Suggester) -> Value:
        if self.kind == "categorical":
            value: Value = trial.suggest_categorical(self.name, self.choices)
        elif self.kind == "int":
            step = int(self.step or 1)
            value = trial.suggest_int(self.name, int(self.low), int(self.high), step=step, log=self.log)
        else:
            value = trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)
        return value

    def values(self) -> list[Value] | None:
        """Every value it can take, or None where there are too many to count."""
        if self.kind == "categorical":
            return list(self.choices)
        if self.log or (self.kind == "float" and self.step is None):
            return None
        step = self.step or 1
        # As Optuna rounds its steps: counted from low, never accumulated.
        raw = [self.low + k * step for k in range(round((self.high - self.low) / step) + 1)]
        return [int(v) for v in raw] if self.kind == "int" else [float(round(v, 12)) for v in raw]

    def clip(self, value: Value) -> Value:
        """The nearest value it can take; a categorical that does not know the value takes its default."""
        if self.kind == "categorical":
            return value if value in self.choices else self.default
        inside = min(max(float(value), self.low), self.high)
        if self.step is not None:
            inside = round(self.low + round((inside - self.low) / self.step) * self.step, 12)
        return round(inside) if self.kind == "int" else inside

    def at(self, position: float | str | bool) -> Value:
        """The value at a position of the range, 0 to 1, on its scale; of choices that are no numbers, the choice.

        So a configuration of one data set is one of another, whose ranges differ.
        """
        if self.kind != "categorical":
            low, high = (math.log(v) if self.log else v for v in (self.low, self.high))
            value = low + float(position) * (high - low)
            return self.clip(math.exp(value) if self.log else value)
        if all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in self.choices):
            return self.choices[round(float(position) * (len(self.choices) - 1))]
        return self.clip(position)

    def distribution(self) -> BaseDistribution:
        """What Optuna records beside a value of this param: as `suggest` on one of its trials would."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.kind == "categorical":
            return CategoricalDistribution(self.choices)
        if self.kind == "int":
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = (
            {"choices": list(self.choices)}
            if self.kind == "categorical"
            else {"type": self.kind, "low": self.low, "high": self.high}
        )
        if self.step is not None:
            spec["step"] = self.step
        if self.log:
            spec["log"] = True
        spec["default"] = self.default
        if self.when:
            spec["when"] = {name: list(values) for name, values in self.when.items()}
        return spec


@dataclass(frozen=True)
class Space:
    """Searched params, each after those that its condition depends on, and fixed values."""

    params: tuple[Param, ...]
    fixed: Mapping[str, Value]

    @property
    def is_open(self) -> bool:
        """Whether trials ask for params that are not listed here."""
        return False

    def choose(self, value_of: Callable[[Param], Any]) -> dict[str, Any]:
        """One configuration: fixed values, and a value for every active param. Inactive params are absent."""
        chosen: dict[str, Any] = dict(self.fixed)
        for param in self.params:
            if all(chosen.get(name) in values for name, values in param.when.items()):
                chosen[param.name] = value_of(param)
        return chosen

    def searched(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """A configuration without the fixed values."""
        return {param.name: chosen[param.name] for param in self.params if param.name in chosen}

    def suggest(self, trial: Suggester) -> dict[str, Any]:
        """One configuration, as `trial` answers."""
        return self.choose(lambda param: param.suggest(trial))

    def defaults(self) -> dict[str, Value]:
        """The searched params of trial 0."""
        return self.searched(self.choose(lambda param: param.default))

    def at(self, point: Mapping[str, float | str | bool]) -> dict[str, Value]:
        """The searched params at a point of the unit cube: see `Param.at`. Those it does not name are the defaults."""
        return self.searched(self.choose(lambda p: p.at(point[p.name]) if p.name in point else p.default))

    def distributions(self, names: Container[str]) -> dict[str, BaseDistribution]:
        """What Optuna records beside the params of these names."""
        return {param.name: param.distribution() for param in self.params if param.name in names}

    def grid(self) -> dict[str, list[Value]]:
        """Every param's values, for samplers that enumerate.

        Raises:
            InputError: A param is continuous, or active only under a condition.
        """
        reason = "depends on another param, which a grid cannot enumerate; use --sampler brute-force"
        problems = [
            f"space.{p.name}: {reason if p.when else _CONTINUOUS}" for p in self.params if p.when or p.values() is None
        ]
        if problems:
            raise InputError(problems)
        return {p.name: p.values() or [] for p in self.params}

    def check_finite(self) -> None:
        """Raises InputError where a param is continuous, so that its values cannot be enumerated."""
        problems = [f"space.{p.name}: {_CONTINUOUS}" for p in self.params if p.values() is None]
        if problems:
            raise InputError(problems)

    def combinations(self) -> int:
        """How many configurations a grid has."""
        return math.prod(len(values) for values in self.grid().values())

    def largest(self, name: str) -> Value | None:
        """The largest value a numeric param can take, fixed or searched."""
        for param in self.params:
            if param.name == name:
                return max(param.choices) if param.kind == "categorical" else param.high
        return self.fixed.get(name)

    def allows(self, **values: Value) -> bool:
        """Whether a configuration can have all of these values of fixed and categorical params."""
        params = {param.name: param for param in self.params}
        return all(
            value in params[name].choices
            and all(values.get(other, allowed[0]) in allowed for other, allowed in params[name].when.items())
            if name in params
            else self.fixed.get(name) == value
            for name, value in values.items()
        )

    def spec(self) -> dict[str, Any]:
        """The space as plain data: `parse_space` of it gives it back."""
        return {**self.fixed, **{p.name: p.spec() for p in self.params}}
