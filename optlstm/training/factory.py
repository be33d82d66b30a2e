"""Custom networks: `module:function` makes them, in place of the LSTMs here. No torch before it is used."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optlstm.errors import InputError, TrialFailed, named
from optlstm.training.hparams import FACETS, Hyperparameters
from optlstm.util.user_code import Stored, UserFunction

if TYPE_CHECKING:
    from torch import nn

_STEPS = 8  # of an example
SIGNATURE = "function(config, inputs, outputs) -> nn.Module"


@dataclass(frozen=True)
class Shape:
    """What a network takes and gives.

    Args:
        inputs: sizes by name. `window`: it takes x [batch, window]; with `covariates` also those [batch, covariates,
            window + horizon], of which the first `future` are known over the horizon (behind the window the others
            mean nothing), and the `static` ones [batch, static]. `channels`: it takes x [batch, steps, channels] and
            the steps of each sequence [batch], or None where all have all. `vocabulary`: it takes token numbers
            [batch, steps], and the same.
        outputs: it gives [batch, outputs]: the horizon's rows, or a score for each class; where `inputs` has
            `per_step`, [batch, steps, outputs]: those of each step's label. Where the loss has several
            numbers for each row ahead (quantiles, a distribution), those of the first row come first.
        horizon: rows to forecast.
    """

    inputs: Mapping[str, int]
    outputs: int
    horizon: int = 0

    @property
    def given(self) -> list[int]:
        """The shape of what the network gives for `example()`."""
        return [2, _STEPS, self.outputs] if "per_step" in self.inputs else [2, self.outputs]

    def example(self, more: int = 0) -> tuple[Any, ...]:
        """Two samples of zeros; of windows that are longer by `more` rows."""
        import torch

        inputs = self.inputs
        if "vocabulary" in inputs:
            return torch.zeros(2, _STEPS, dtype=torch.int64), None
        if "channels" in inputs:
            return torch.zeros(2, _STEPS, inputs["channels"]), None
        x = torch.zeros(2, inputs["window"] + more)
        if "covariates" not in inputs:
            return (x,)
        rows = inputs["window"] + more + self.horizon
        return x, torch.zeros(2, inputs["covariates"], rows), torch.zeros(2, inputs["static"])


@dataclass(frozen=True)
class InputSizes:
    """For each column, how many categories it has: 0 where it holds numbers.

    A category is a whole number from 1 on; 0 is one that the training rows do not have.

    Args:
        future: columns that are known over the horizon too; they come first.
        past: columns that are known up to the forecast's start.
        static: columns that do not change with time.
    """

    future: tuple[int, ...] = ()
    past: tuple[int, ...] = ()
    static: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.future or self.past or self.static)


class _Watched(Hyperparameters):
    """Remembers what is read of it, by name or as a whole."""

    names_read: set[str]

    @classmethod
    def of(cls, hp: Hyperparameters) -> _Watched:
        watched = cls(**{name: getattr(hp, name) for name in FACETS}, custom=hp.custom)
        object.__setattr__(watched, "names_read", set())
        return watched

    def __getattribute__(self, name: str) -> Any:
        values = super().__getattribute__("__dict__")
        if "names_read" in values:
            custom = [key for key, _ in values["custom"]]
            values["names_read"].update({"__dict__": [*FACETS, *custom], "custom": custom}.get(name, [name]))
        return super().__getattribute__(name)


@dataclass(frozen=True)
class Factory:
    """A function that makes networks."""

    function: UserFunction

    @classmethod
    def read(cls, reference: str, stored: Stored | None = None) -> Factory:
        """Import `module:function`. Raises InputError where that cannot be done, or must not: see `Stored`."""
        return cls(UserFunction.read("model.factory", reference, SIGNATURE, stored))

    @classmethod
    def named(cls, given: str | None, made_by: str | None, subject: str) -> Factory | None:
        """The factory of networks that `made_by` has made, where the command names it; None: optlstm has made them.

        Args:
            subject: That holds the networks, for messages: `model DIR`.

        Raises:
            InputError: The command names none, or another.
        """
        if given == made_by:
            return None if given is None else cls.read(given)
        if made_by is None:
            raise InputError(f"--factory: the networks of {subject} are optlstm's own; leave it out")
        was = f"--factory: {given} is not what made them" if given else "it is imported when you name it"
        raise InputError(
            f"{subject}: its networks are made by {made_by!r}; {was}: --factory {made_by} "
            f"(from Python: factory='{made_by}')"
        )

    @property
    def declared(self) -> Mapping[str, Any] | Callable[[Any], Mapping[str, Any]]:
        """Params that its module declares beside it: `search = {...}`, as [space] has them, or `space(trial)`.

        Raises InputError where importing the module raises.
        """
        try:
            self.function.load()
        except Exception as error:
            raise InputError(f"model.factory: {self.reference}: raised {named(error)}") from error
        module = vars(sys.modules[self.reference.partition(":")[0]])
        search, space = module.get("search"), module.get("space")
        if isinstance(search, Mapping):
            return search
        if inspect.isfunction(space) and [*inspect.signature(space).parameters] == ["trial"]:
            declares: Callable[[Any], Mapping[str, Any]] = space
            return declares
        return {}

    @property
    def reference(self) -> str:
        return self.function.reference

    def make(self, hp: Hyperparameters, shape: Shape) -> nn.Module:
        """A new network on the CPU.

        Raises:
            TrialFailed: the function gave something else.
        """
        from torch import nn

        made = self.function.load()(hp, dict(shape.inputs), shape.outputs)
        if not isinstance(made, nn.Module):
            raise TrialFailed(f"model.factory: {self.reference} gave {type(made).__name__}, not an nn.Module")
        return made

    def check(self, hp: Hyperparameters, shape: Shape) -> frozenset[str]:
        """Make one network and show it zeros.

        Returns:
            What was read of its hyperparameters on the way.

        Raises:
            InputError: it cannot be made, or gives another shape than the task needs.
        """
        import torch

        problem, hp = "", _Watched.of(hp)
        calls = [("__call__", 0, shape.given)]
        if hp.supervision == "every_step":
            calls.append(("every_step", hp.patch, [2, 2, shape.outputs]))
        try:
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                network = self.make(hp, shape).eval()
                for method, more, wanted in calls:
                    example = shape.example(more)
                    out = getattr(network, method)(*example)
                    given = list(getattr(out, "shape", ())) or type(out).__name__
                    if given != wanted and not problem:
                        what = "its network" if method == "__call__" else f"its network's {method}"
                        problem = f"{what} gives {given} for x of {list(example[0].shape)}, not {wanted}"
        except TrialFailed as error:
            raise InputError(str(error)) from error
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            problem = f"raised {named(error)}"
        if problem:
            raise InputError(f"model.factory: {self.reference}: {problem}")
        return frozenset(hp.names_read)
