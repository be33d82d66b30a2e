"""The hyperparameters of one training run: every name, default, range and choice, stated once. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from optlstm.errors import InputError, did_you_mean


@dataclass(frozen=True)
class _Rule:
    """What one hyperparameter may be: a kind, and either bounds or choices. `above` and `below` are exclusive."""

    kind: type
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()

    def problem(self, value: object) -> str | None:
        """What is wrong with `value`, or None."""
        if self.kind is bool:
            return None if isinstance(value, bool) else f"must be true or false, not {value!r}"
        if self.kind is str:
            return self._choice_problem(value)
        return self._number_problem(value)

    def _choice_problem(self, value: object) -> str | None:
        if isinstance(value, str) and value in self.choices:
            return None
        near = did_you_mean(value, self.choices) if isinstance(value, str) else ""
        return f"must be one of {', '.join(self.choices)}, not {value!r}{near}"

    def _number_problem(self, value: object) -> str | None:
        accepted = (int,) if self.kind is int else (int, float)
        right_kind = isinstance(value, accepted) and not isinstance(value, bool)
        if right_kind and math.isfinite(value) and self._inside(value):  # type: ignore[arg-type]
            return None
        noun = "an integer" if self.kind is int else "a number"
        return f"must be {noun} {self._bounds()}, not {value!r}"

    def _inside(self, number: float) -> bool:
        return (
            (self.least is None or number >= self.least)
            and (self.most is None or number <= self.most)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )

    def _bounds(self) -> str:
        words = (("of at least", self.least), ("above", self.above), ("at most", self.most), ("below", self.below))
        return " and ".join(f"{word} {bound:g}" for word, bound in words if bound is not None)


def _integer(default: int, *, least: int) -> Any:
    return field(default=default, metadata={"rule": _Rule(int, least=least)})


def _number(default: float, **bounds: float) -> Any:
    return field(default=default, metadata={"rule": _Rule(float, **bounds)})  # type: ignore[arg-type]


def _choice(default: str, *choices: str) -> Any:
    return field(default=default, metadata={"rule": _Rule(str, choices=choices)})


def _flag(default: bool) -> Any:
    return field(default=default, metadata={"rule": _Rule(bool)})


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """Everything a trial may choose. Build it with `from_params`, which checks; the constructor does not.

    Data and shape of the input
        window: rows of input; patch: rows that make one LSTM step (the window is padded at its old end where the patch
        does not divide it); window_norm: what is taken out of each window and put back into its forecast (nothing, the
        last value, or mean and standard deviation); batch_size: windows per step.
    Network
        hidden_size, num_layers, bidirectional; hidden_size_2, hidden_size_3: units of the second, and of the third
        and those above it, where they differ (0: hidden_size); dropout: between layers, and on the features that enter
        the head; recurrent_dropout: share of recurrent weights dropped; pooling: how the steps become one feature
        vector; layer_norm: on those features; projection: size of a linear bottleneck before the head (0: none);
        linear_skip: a linear map from window to forecast, added to the LSTM's; embedding_dim: numbers that stand for a
        token; embedding_dropout: share of them dropped; input_noise: standard deviation of the Gaussian noise that a
        sequence's numbers get in training, on the scale they are standardised to (Bishop 1995).
    Optimisation
        optimizer, learning_rate, weight_decay, lr_schedule; warmup: share of all steps, linear (one_cycle has its own);
        grad_clip: greatest global norm (0: no clipping); averaging: memory of the moving average of the weights, as a
        share of all steps; it is validated and kept in their place (0: the weights themselves); label_smoothing: share
        of each label that is spread over all classes.
    Lineage
        grown_layers: how many of num_layers were added to a trained network (`morph`); no param, see `with_growth`.
    """

    window: int = _integer(96, least=1)
    batch_size: int = _integer(64, least=1)
    hidden_size: int = _integer(64, least=1)
    num_layers: int = _integer(1, least=1)
    hidden_size_2: int = _integer(0, least=0)
    hidden_size_3: int = _integer(0, least=0)
    dropout: float = _number(0.0, least=0.0, below=1.0)
    recurrent_dropout: float = _number(0.0, least=0.0, below=1.0)
    patch: int = _integer(1, least=1)
    window_norm: str = _choice("last", "none", "last", "mean_std")
    linear_skip: bool = _flag(False)
    pooling: str = _choice("last", "last", "mean", "max")
    layer_norm: bool = _flag(False)
    projection: int = _integer(0, least=0)
    bidirectional: bool = _flag(False)
    optimizer: str = _choice("adamw", "adam", "adamw", "rmsprop", "sgd")
    learning_rate: float = _number(1e-3, above=0.0)
    weight_decay: float = _number(0.0, least=0.0)
    lr_schedule: str = _choice("one_cycle", "constant", "cosine", "one_cycle", "plateau")
    warmup: float = _number(0.0, least=0.0, most=1.0)
    grad_clip: float = _number(1.0, least=0.0)
    averaging: float = _number(0.0, least=0.0, most=1.0)
    embedding_dim: int = _integer(100, least=1)
    embedding_dropout: float = _number(0.0, least=0.0, below=1.0)
    label_smoothing: float = _number(0.0, least=0.0, below=1.0)
    input_noise: float = _number(0.0, least=0.0)
    grown_layers: int = 0  # no choice, hence no rule: it follows from the trial's ancestors

    @classmethod
    def from_params(cls, params: Mapping[str, object]) -> Hyperparameters:
        """Check `params` and fill the rest with defaults.

        Raises:
            InputError: one line `space.NAME: ...` for every unknown name and every value out of its range or kind.
        """
        found = ((name, validate_value(name, value)) for name, value in params.items())
        problems = [f"space.{name}: {problem}" for name, problem in found if problem]
        if problems:
            raise InputError(problems)
        values: dict[str, Any] = dict(params)
        for name in values:
            if _RULES[name].kind is float:
                values[name] = float(values[name])
        return cls(**values)


_RULES: dict[str, _Rule] = {f.name: f.metadata["rule"] for f in fields(Hyperparameters) if "rule" in f.metadata}


def validate_value(name: str, value: object) -> str | None:
    """What is wrong with hyperparameter `name` being `value`, worded to follow `space.NAME: `; None where nothing is.

    It serves the search space too: each bound and each choice of a parameter must itself be a valid value.
    """
    if name not in _RULES:
        return f"no hyperparameter has this name{did_you_mean(name, _RULES)}"
    return _RULES[name].problem(value)
