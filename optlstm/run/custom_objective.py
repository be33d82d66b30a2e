"""A custom objective: a Python file with any training code, that runs under the same ledger, on the same backends.

It has `space(trial)` and `objective(trial, params)`, or as Optuna has it `objective(trial)`, which asks for its params
while it runs.
"""

from __future__ import annotations

import ast
import inspect
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from optlstm.errors import InputError, TrialFailed, did_you_mean
from optlstm.run.custom_trial import Trial
from optlstm.run.trial_log import Output
from optlstm.study.define_by_run import FunctionSpace, OpenSpace
from optlstm.study.seeds import derive_seed
from optlstm.study.space import Space
from optlstm.tasks.base import Goals
from optlstm.training.metric import Metric
from optlstm.util.files import Location
from optlstm.util.user_code import Stored, UserFile, as_program

if TYPE_CHECKING:
    from optlstm.backends.trial import WorkerTrial

KEY = "objective"  # of the config
MODULE = "optlstm_objective"
FUNCTIONS = {"space": "space(trial) -> dict", "objective": "objective(trial, params) -> float"}


@dataclass(frozen=True)
class CustomTask:
    """What a study with a custom objective trains: the part of a task that such a file has."""

    file: UserFile
    space: Space
    kind: ClassVar[str] = "value"
    goals: ClassVar[Mapping[str, Goals]] = {"value": Goals({}, (Metric("value"),))}
    warnings: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def read(cls, path: str, stored: Stored | None = None) -> CustomTask:
        """Run the file, and see what its `space(trial)` asks for, if it has one.

        Raises:
            InputError: It cannot be read, is not Python, raises, lacks one of the two functions, or must not be run.
        """
        file = UserFile.read(KEY, path, stored)
        with redirect_stdout(sys.stderr):  # what it prints is no result
            return cls(file, cls._space(file))

    @staticmethod
    def _space(file: UserFile) -> Space:
        module = _module(file)
        if not _takes_params(module):
            return OpenSpace((), {})
        try:
            return FunctionSpace.probe(module.space)
        except InputError as error:
            raise InputError([f"{KEY}: {file.name}: {problem}" for problem in error.problems]) from error

    def describe(self) -> str:
        params = ", ".join(p.name for p in self.space.params) or "none"
        return f"{self.file.name}, params {'as it asks for them' if self.space.is_open else params}"

    def record(self) -> dict[str, Any]:
        return {"file": self.file.name, "fingerprint": self.file.fingerprint}

    def data(self) -> None:
        """The file reads its data itself."""


def _module(file: UserFile) -> ModuleType:
    """Raises InputError where it is not Python, raises, or lacks a function.

    A script that cannot have one is not run: it may train for hours.
    """
    tree = _tree(file)
    if tree is not None and not {"objective", "*"} & set(_identifiers(tree)):
        functions = {f.name: [a.arg for a in f.args.args] for f in tree.body if isinstance(f, ast.FunctionDef)}
        raise _without_objective(file, functions)
    module = file.run(KEY, MODULE)
    if not callable(getattr(module, "objective", None)):
        made = {name: value for name, value in vars(module).items() if inspect.isfunction(value)}
        raise _without_objective(file, {name: [*inspect.signature(f).parameters] for name, f in made.items()})
    if _takes_params(module) and not callable(getattr(module, "space", None)):
        raise InputError(f"{KEY}: {file.name} has no function {FUNCTIONS['space']}")
    return module


def _tree(file: UserFile) -> ast.Module | None:
    """Of the file's text; None where it is not Python, which running it says."""
    try:
        return ast.parse(file.source)
    except (SyntaxError, ValueError, RecursionError):
        return None


def _identifiers(tree: ast.Module) -> Iterator[str]:
    """Every name in a file, and every string that may be one."""
    for node in ast.walk(tree):
        given = (getattr(node, attribute, None) for attribute in ("id", "name", "asname", "value"))
        yield from (name for name in given if isinstance(name, str))


def _without_objective(file: UserFile, functions: Mapping[str, Sequence[str]]) -> InputError:
    """With what may be meant as the objective: a function of a trial, or of a name that is spelt like it.

    Args:
        functions: The names of each one's parameters.
    """
    wanted = FUNCTIONS["objective"] if "space" in functions else "objective(trial) -> float"
    candidates = [name for name, parameters in functions.items() if parameters[:1] == ["trial"] and name != "space"]
    near = did_you_mean("objective", functions)
    if len(candidates) == 1:
        near = f"; it has {candidates[0]}(trial): name that objective"
    return InputError(f"{KEY}: {file.name} has no function {wanted}{near}")


def _takes_params(module: ModuleType) -> bool:
    """Whether it is `objective(trial, params)`, and not Optuna's `objective(trial)`."""
    objective = getattr(module, "objective", None)
    has_space = callable(getattr(module, "space", None))
    return (has_space and _takes(objective, 2)) or not _takes(objective, 1)


def _takes(function: Any, arguments: int) -> bool:
    """Whether it can be called with so many."""
    try:
        inspect.signature(function).bind(*[None] * arguments)
    except (TypeError, ValueError):
        return False
    return True


@dataclass(frozen=True)
class CustomObjective:
    """`objective(trial)` of the file's functions.

    Args:
        threads: Of torch's operations; another number changes the last bits.
        maximize: Whether a greater value is better.
        output: Takes what it prints; None: it prints where this process does.
        on_params: Called when all params are known before the training: not of one that asks while it trains.
    """

    module: ModuleType
    seed: int
    epochs: int
    checkpoints: Location | None
    threads: int = 1
    maximize: bool = False
    output: Output | None = field(default_factory=Output)
    on_params: Callable[[], None] = lambda: None

    def __call__(self, trial: WorkerTrial) -> Any:
        from optlstm.training.runtime import use_threads

        use_threads(self.threads)
        output = nullcontext() if self.output is None else self.output.of_trial(self.checkpoints, trial.number)
        with output, as_program(str(self.module.__file__)):
            return self._run(trial)

    def _run(self, trial: WorkerTrial, before: float = math.inf) -> Any:
        """Train it, from its newest checkpoint, or one of an earlier epoch than `before`.

        Where the trial was interrupted behind its last epoch, nothing is left to do for its loop, and what the loop
        would have left for the lines after it is not there: then the last epoch is trained again.
        """
        from optlstm.training.tracked import seed_everything

        seed = derive_seed("train", self.seed, trial.number)
        with Trial(trial, seed, self.epochs, self.checkpoints, self.maximize, before) as shown:
            seed_everything(seed)
            try:
                value = self._call(trial, shown)
                if shown.has_trained:
                    return _value(value, shown)
            except Exception:
                if shown.has_trained:
                    raise
        return self._run(trial, shown.reached)

    def _call(self, trial: WorkerTrial, shown: Trial) -> Any:
        if not _takes_params(self.module):
            return self.module.objective(shown)
        params = self.module.space(trial)
        self.on_params()
        return self.module.objective(shown, params)


def _value(returned: Any, trial: Trial) -> Any:
    """What an objective returned; where that is None, the best value that it has reported."""
    if returned is not None:
        return returned
    if trial.best_value is None:
        raise TrialFailed("the objective returned None, and has reported no value")
    return trial.best_value


def make_custom_objective(
    _: None, *, file: UserFile, captured: bool = True, driver: int = 0, **options: Any
) -> CustomObjective:
    """Run the file in the worker's process.

    Args:
        captured: Whether its output goes to the trials' logs.
        driver: The driver's process, whose standard error is no trial's.
        options: Of `CustomObjective`.
    """
    from optlstm.training.runtime import prepare
    from optlstm.training.tracked import seed_everything

    prepare(options.get("threads", 1))
    seed_everything(derive_seed("file", options["seed"]))  # a split that the file draws is every worker's
    if not captured:
        return CustomObjective(_module(file), **options, output=None)
    is_worker = os.getpid() != driver
    if is_worker:  # whose own warnings nobody sees: those of the objective are in its logs
        warnings.resetwarnings()
        for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)  # as Python does
    output = Output((1, 2) if is_worker else (1,))
    with output.taken():
        module = _module(file)
    return CustomObjective(module, **options, output=output)
