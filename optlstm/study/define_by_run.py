"""A search space that a function defines while it runs, as Optuna's own are: `space(trial) -> dict`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from optlstm.errors import InputError, named
from optlstm.study.space import Param, Space, Suggester, Value

Function = Callable[[Suggester], Mapping[str, Any]]


@dataclass(frozen=True)
class FunctionSpace(Space):
    """Asks a function for every configuration; `params` are those it was seen to ask for.

    Args:
        sometimes: Params that it does not ask for every time.
    """

    function: Function = lambda trial: {}
    sometimes: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def probe(cls, function: Function) -> FunctionSpace:
        """Runs the function once, and once more for every choice that it offers.

        Raises:
            InputError: What it returns is no dict, or it raises.
        """
        first = _asked(function, {})
        seen, always = dict(first), set(first)
        for param in first.values():
            for choice in param.choices[1:]:
                again = _asked(function, {param.name: choice})
                seen = {**again, **seen}
                always &= set(again)
        return cls(tuple(seen.values()), {}, function, frozenset(set(seen) - always))

    def suggest(self, trial: Suggester) -> dict[str, Any]:
        """What the function makes of the trial; it may hold more than was suggested."""
        return dict(self.function(trial))

    def defaults(self) -> dict[str, Value]:
        """A function states none: the sampler proposes the first trial too."""
        return {}

    def grid(self) -> dict[str, list[Value]]:
        problems = [
            f"space: '{name}' is not asked for every time, which a grid cannot enumerate; use --sampler brute-force"
            for name in sorted(self.sometimes)
        ]
        if problems:
            raise InputError(problems)
        return super().grid()


class _Probe:
    """A trial that answers with the first choice, the middle of a range, or what it is told to."""

    def __init__(self, told: Mapping[str, Value]) -> None:
        self.told = told
        self.asked: dict[str, Param] = {}

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        middle = int(low + (high - low) // 2 // step * step)
        self.asked[name] = Param(name, "int", low, high, None if log else step, log, default=middle)
        return middle

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        middle = math.sqrt(low * high) if log else (low + high) / 2
        if step is not None:
            middle = low + round((middle - low) / step) * step
        self.asked[name] = Param(name, "float", low, high, step, log, default=middle)
        return middle

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        values = tuple(choices)
        self.asked[name] = Param(name, "categorical", choices=values, default=values[0])
        return self.told.get(name, values[0])


def _asked(function: Function, told: Mapping[str, Value]) -> dict[str, Param]:
    probe = _Probe(told)
    try:
        params = function(probe)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise InputError(f"space(trial) raised {named(error)}") from error
    if not isinstance(params, Mapping):
        raise InputError(f"space(trial) must return a dict of params, and returned {type(params).__name__}")
    return probe.asked
