"""A search space that a function defines while it runs, as Optuna's own are: `space(trial) -> dict`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from optlstm.errors import InputError, named
from optlstm.study.space import Param, Space, Suggester, Value, chosen, conflict

Function = Callable[[Suggester], Mapping[str, Any]]


@dataclass(frozen=True)
class FunctionSpace(Space):
    """Asks a function for every configuration; `params` are those that it asked for when it was probed.

    Args:
        conditional: Names of the params that it does not ask for every time.
    """

    function: Function = lambda trial: {}
    conditional: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def probe(cls, function: Function) -> FunctionSpace:
        """Runs the function once, and once more for every choice that it offers.

        Raises:
            InputError: What it returns is no dict, or it raises.
        """
        first = _probed(function, {})
        params, always = dict(first), set(first)
        for param in first.values():
            for choice in param.choices[1:]:
                others = _probed(function, {param.name: choice})
                params = {**others, **params}
                always &= set(others)
        return cls(tuple(params.values()), {}, function, frozenset(set(params) - always))

    def suggest(self, trial: Suggester) -> dict[str, Any]:
        """What the function makes of the trial; it may hold more than was suggested."""
        return dict(self.function(_AsKept(trial)))

    def defaults(self) -> dict[str, Value]:
        """A function states none: the sampler proposes the first trial too."""
        return {}

    def grid(self) -> dict[str, list[Value]]:
        problems = [
            f"space: '{name}' is not asked for every time, which a grid cannot enumerate; use --sampler brute-force"
            for name in sorted(self.conditional)
        ]
        if problems:
            raise InputError(problems)
        return super().grid()


@dataclass(frozen=True)
class OpenSpace(Space):
    """Params that an objective asks for while it trains: those of a trial are known once it has run."""

    @property
    def is_open(self) -> bool:
        return True

    def grid(self) -> dict[str, list[Value]]:
        raise InputError(
            "space: the objective asks for its params while it runs, which a grid cannot enumerate; "
            "use --sampler brute-force, or give it space(trial) and objective(trial, params)"
        )


def middle(param: Param) -> Value:
    """The first choice, or the middle of a range, on its scale."""
    if param.kind == "categorical":
        return param.choices[0]
    low, high = param.low, param.high
    if param.kind == "int":
        step = int(param.step or 1)
        return int(low + (high - low) // 2 // step * step)
    value = math.sqrt(low * high) if param.log else (low + high) / 2
    return value if param.step is None else low + round((value - low) / param.step) * param.step


@dataclass(frozen=True)
class _AsKept:
    """A trial that is asked for choices as a study keeps them."""

    trial: Suggester

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return self.trial.suggest_int(name, low, high, step=step, log=log)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return self.trial.suggest_float(name, low, high, step=step, log=log)

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return chosen(name, choices, lambda kept: self.trial.suggest_categorical(name, kept))


class _Probe:
    """A trial that answers with the first choice, the middle of a range, or what `answers` has for a param."""

    def __init__(self, answers: Mapping[str, Value]) -> None:
        self.answers = answers
        self.asked: dict[str, Param] = {}

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> Any:
        default = middle(Param(name, "int", low, high, step))
        return self._answer(Param(name, "int", low, high, None if log else step, log, default=default))

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False) -> Any:
        default = middle(Param(name, "float", low, high, step, log))
        return self._answer(Param(name, "float", low, high, step, log, default=default))

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        def answer(kept: tuple[Any, ...]) -> Any:
            return self._answer(Param(name, "categorical", choices=kept, default=kept[0]))

        return chosen(name, choices, answer)

    def _answer(self, param: Param) -> Any:
        first = self.asked.setdefault(param.name, param)
        if problem := conflict(first, param):
            raise ValueError(f"suggest {param.name!r}: {problem}")
        return self.answers.get(param.name, first.default)


def _probed(function: Function, answers: Mapping[str, Value]) -> dict[str, Param]:
    probe = _Probe(answers)
    try:
        params = function(probe)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise InputError(f"space(trial) raised {named(error)}") from error
    if not isinstance(params, Mapping):
        raise InputError(f"space(trial) must return a dict of params, and returned {type(params).__name__}")
    return probe.asked
