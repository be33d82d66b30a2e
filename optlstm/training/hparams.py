"""The hyperparameters of one training run: name, default, range, and who may use or change it, all at its field.

A new hyperparameter is a line in `Hyperparameters` and the code that reads it. Imports no torch.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from optlstm.errors import InputError, did_you_mean


@dataclass(frozen=True)
class Facets:
    """All that is known of a hyperparameter, except its name and default.

    Args:
        kind: Of its values.
        least: Smallest value; `most` the largest, `above` and `below` exclusive bounds.
        choices: Of a text; of a bool, what it can be beside true and false.
        tasks: The tasks that have a use for it; empty: all of them.
        weights: Whether it may change while a network's weights are kept. fixed: their shapes or their meaning depend
            on it; grows: `morph` can make it larger; free: they do not depend on it.
        pbt: Population based training changes it, unless it is told what to change.
        size: A network has at least so many weights; `size_needs`: only where this other hyperparameter is on.
        param: A trial may choose it.
        network: Networks alone read it; one that does not has no use for it.
    """

    kind: type
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    weights: Literal["fixed", "grows", "free"] = "fixed"
    pbt: bool = False
    size: bool = False
    size_needs: str | None = None
    param: bool = True
    network: bool = False

    def problem(self, value: object) -> str | None:
        """What is wrong with `value`, or None."""
        if self.kind is bool:
            choices = ", ".join(["true", *(f"'{choice}'" for choice in self.choices)])
            accepted = isinstance(value, bool) or value in self.choices
            return None if accepted else f"must be {choices} or false, not {value!r}"
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
        limits = [
            (words, bound, holds)
            for words, bound, holds in (
                ("of at least", self.least, operator.ge),
                ("above", self.above, operator.gt),
                ("at most", self.most, operator.le),
                ("below", self.below, operator.lt),
            )
            if bound is not None
        ]
        if right_kind and math.isfinite(value) and all(holds(value, bound) for _, bound, holds in limits):  # type: ignore[arg-type]
            return None
        noun = "an integer" if self.kind is int else "a number"
        return f"must be {noun} {' and '.join(f'{words} {bound:g}' for words, bound, _ in limits)}, not {value!r}"


def _param(default: Any, **facets: Any) -> Any:
    return field(default=default, metadata={"facets": Facets(type(default), **facets)})


_LABEL = ("sequence", "text")
_NUMERIC = ("forecast", "sequence")


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """Everything a trial may choose. Build it with `from_params`, which checks; the constructor does not.

    What each of them does stands in `MEANINGS`. Those of the lineage are no params:

        grown_layers: how many of num_layers were added to a trained network (`morph`); no param, see `with_growth`.
        pooled_width: what `last` takes of each direction where sequences differ in length (0: all of it); no param.
        custom: names and values of what a factory has declared, read as `hp.NAME`; nothing here knows them.
        Networks of the first versions took hidden_size, in layers of other widths too, and were trained with that.
    """

    window: int = _param(96, least=1, tasks=_NUMERIC, size=True, size_needs="linear_skip")
    batch_size: int = _param(64, least=1, weights="free")
    hidden_size: int = _param(64, least=1, weights="grows", size=True, network=True)
    num_layers: int = _param(1, least=1, weights="grows", size=True, network=True)
    hidden_size_2: int = _param(0, least=0, network=True)
    hidden_size_3: int = _param(0, least=0, network=True)
    dropout: float = _param(0.0, least=0.0, below=1.0, weights="free", pbt=True, network=True)
    recurrent_dropout: float = _param(0.0, least=0.0, below=1.0, weights="free", pbt=True, network=True)
    patch: int = _param(1, least=1, tasks=_NUMERIC, size=True, network=True)
    window_norm: str = _param("last", choices=("none", "last", "mean_std"), tasks=_NUMERIC, network=True)
    linear_skip: bool | str = _param(False, choices=("solved",), tasks=("forecast",), network=True)
    pooling: str = _param("last", choices=("last", "mean", "max"), network=True)
    layer_norm: bool = _param(False, network=True)
    projection: int = _param(0, least=0, size=True, network=True)
    bidirectional: bool = _param(False, network=True)
    conv_filters: int = _param(0, least=0, tasks=("sequence",), size=True, size_needs="conv_filters", network=True)
    conv_stride: int = _param(1, least=1, tasks=("sequence",), network=True)
    optimizer: str = _param("adamw", choices=("adam", "adamw", "rmsprop", "sgd"), weights="free")
    learning_rate: float = _param(1e-3, above=0.0, weights="free", pbt=True)
    weight_decay: float = _param(0.0, least=0.0, weights="free", pbt=True)
    lr_schedule: str = _param("one_cycle", choices=("constant", "cosine", "one_cycle", "plateau"), weights="free")
    warmup: float = _param(0.0, least=0.0, most=1.0, weights="free")
    grad_clip: float = _param(1.0, least=0.0, weights="free", pbt=True)
    averaging: float = _param(0.0, least=0.0, most=1.0, weights="free")
    supervision: str = _param("last_step", choices=("last_step", "every_step"), tasks=("forecast",))
    embedding_dim: int = _param(100, least=1, tasks=("text",), network=True)
    embedding_dropout: float = _param(0.0, least=0.0, below=1.0, tasks=("text",), weights="free", network=True)
    label_smoothing: float = _param(0.0, least=0.0, below=1.0, tasks=_LABEL, weights="free")
    input_noise: float = _param(0.0, least=0.0, tasks=("sequence",), weights="free", network=True)
    grown_layers: int = _param(0, weights="free", size=True, param=False)
    pooled_width: int = _param(0, weights="free", param=False)
    custom: tuple[tuple[str, Any], ...] = ()

    def __getattr__(self, name: str) -> Any:
        """Only what is no field comes to this. Raises AttributeError."""
        for custom, value in object.__getattribute__(self, "__dict__").get("custom", ()):
            if custom == name:
                return value
        raise AttributeError(f"there is no hyperparameter {name!r}")

    @classmethod
    def from_params(cls, params: Mapping[str, object], custom: Container[str] = ()) -> Hyperparameters:
        """Check `params` and fill the rest with defaults.

        Args:
            custom: Names that a factory has declared.

        Raises:
            InputError: one line `space.NAME: ...` for every unknown name and every value out of its range or kind.
        """
        theirs = tuple((name, value) for name, value in params.items() if name not in FACETS and name in custom)
        values: dict[str, Any] = {name: value for name, value in params.items() if (name, value) not in theirs}
        checked = ((name, validate_value(name, value)) for name, value in values.items())
        problems = [f"space.{name}: {problem}" for name, problem in checked if problem]
        if problems:
            raise InputError(problems)
        for name in values:
            if FACETS[name].kind is float:
                values[name] = float(values[name])
        return cls(**values, custom=theirs)

    def sizes(self) -> dict[str, int]:
        """Those that count weights: the network has at least so many of each."""
        needs = {name: facets.size_needs for name, facets in FACETS.items() if facets.size}
        return {name: getattr(self, name) for name, other in needs.items() if other is None or getattr(self, other)}


MEANINGS = {
    "window": "rows of input",
    "batch_size": "windows in a step of the optimizer",
    "hidden_size": "units of a layer, in each direction",
    "num_layers": "LSTM layers",
    "hidden_size_2": "units of the second layer, where they differ (0: hidden_size)",
    "hidden_size_3": "units of the third layer and those above it, where they differ (0: hidden_size)",
    "dropout": "share dropped between layers, and of the features that enter the head",
    "recurrent_dropout": "share of the recurrent weights dropped",
    "patch": "rows that make one LSTM step; the window is padded at its old end where it does not divide it",
    "window_norm": "taken out of each window and put back into its forecast: nothing, last value, mean and deviation",
    "linear_skip": "a linear map from window to forecast, added to the LSTM's: trained with it, or solved before",
    "pooling": "how the steps become one feature vector",
    "layer_norm": "normalise those features",
    "projection": "size of a linear bottleneck before the head (0: none)",
    "bidirectional": "read in both directions",
    "conv_filters": "filters of convolutions that read the sequence beside the LSTM, in three layers, twice as many in "
    "the middle one (0: none)",
    "conv_stride": "steps from one place of the first of them to the next",
    "optimizer": "what moves the weights",
    "learning_rate": "greatest learning rate",
    "weight_decay": "share of the weights taken off in a step, times the learning rate",
    "lr_schedule": "course of the learning rate",
    "warmup": "share of all steps in which the learning rate rises (one_cycle has its own)",
    "grad_clip": "greatest global norm of a gradient (0: no clipping)",
    "averaging": "memory of the weights' moving average, which is what is kept, as a share of all steps (0: none)",
    "supervision": "learn from each window's last step, or from every step of stretches as long as two windows, "
    "of which batch_size / 4 are a batch",
    "embedding_dim": "numbers that stand for a token",
    "embedding_dropout": "share of them dropped",
    "label_smoothing": "share of each label that is spread over all classes",
    "input_noise": "deviation of the noise that standardised inputs get in training (Bishop 1995)",
}

FACETS: dict[str, Facets] = {f.name: f.metadata["facets"] for f in fields(Hyperparameters) if f.metadata}
NO_PARAMS = (*(name for name, facets in FACETS.items() if not facets.param), "custom")
_PARAMS = [name for name, facets in FACETS.items() if facets.param]
GROWING = tuple(name for name, facets in FACETS.items() if facets.weights == "grows")
NETWORK_PARAMS = tuple(name for name, facets in FACETS.items() if facets.network)
PBT_PARAMS = tuple(name for name, facets in FACETS.items() if facets.pbt)


def used_by(task: str) -> dict[str, Any]:
    """The hyperparameters that a study of this task may set, with their defaults."""
    return {name: getattr(Hyperparameters, name) for name in _PARAMS if task in (FACETS[name].tasks or (task,))}


def validate_value(name: str, value: object) -> str | None:
    """What is wrong with hyperparameter `name` being `value`, worded to follow `space.NAME: `; None where nothing is.

    It serves the search space too: each bound and each choice of a parameter must itself be a valid value.
    """
    if name not in _PARAMS:
        return f"no hyperparameter has this name{did_you_mean(name, _PARAMS)}"
    return FACETS[name].problem(value)
