"""A custom objective: a Python file with `space(trial)` and `objective(trial, params)`, any training code.

It runs under the same ledger, on the same backends, as a task of the program does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from optlstm.errors import InputError, StopTrial, TrialFailed
from optlstm.study.define_by_run import FunctionSpace
from optlstm.study.seeds import derive_seed
from optlstm.training.metric import Metric
from optlstm.util.files import Location, trial_folder
from optlstm.util.user_code import Stored, UserFile

if TYPE_CHECKING:
    from optlstm.backends.trial import WorkerTrial

KEY = "objective"  # of the config
MODULE = "optlstm_objective"
FUNCTIONS = {"space": "space(trial) -> dict", "objective": "objective(trial, params) -> float"}


@dataclass(frozen=True)
class Checkpoint:
    """What `save_checkpoint` was given."""

    epoch: int
    arrays: dict[str, Any]
    meta: dict[str, Any]


class Trial:
    """What `objective(trial, params)` sees of a trial.

    Attributes:
        number: The trial's number in the study.
        epochs: Most epochs of a trial (`--epochs`).
        seed: The same for this trial on every backend, and after every restart.
    """

    def __init__(self, trial: WorkerTrial, seed: int, epochs: int, checkpoints: Location | None) -> None:
        self._trial = trial
        self.number, self.seed, self.epochs = trial.number, seed, epochs
        self._folder = trial_folder(checkpoints, trial.number) if checkpoints else None
        self._values: dict[int, float] = {}  # of every step that was reported, as the next checkpoint keeps them
        self._unwritten: Callable[[], None] | None = None  # writes the checkpoint of an epoch without a value yet

    def report(self, value: float, step: int) -> None:
        """Tell the study the value after `step` (an epoch, counted from 1). Raises TrialFailed for another step."""
        if not isinstance(step, int) or step < 1:
            raise TrialFailed(f"report(value, step): steps are whole numbers from 1, got {step!r}")
        if math.isfinite(value := float(value)):
            self._values[step] = value
        self.flush()
        self._trial.report(value, step)

    def should_prune(self) -> bool:
        """Whether the trial is over: return from the objective, whatever you return, or raise optuna.TrialPruned."""
        return self._trial.should_prune()

    def set_user_attr(self, key: str, value: Any) -> None:
        """Keep a JSON value with the trial."""
        self._trial.set_user_attr(key, value)

    def save_checkpoint(
        self, epoch: int, arrays: Mapping[str, Any] | None = None, meta: Mapping[str, Any] | None = None
    ) -> None:
        """Keep what is needed to resume after `epoch`. Call it before `report`: what the study knows can be continued.

        It is on the disk before the study has the epoch's value, and holds that value: killed in between, the study
        is told it when the trial is resumed.

        Args:
            arrays: NumPy arrays or torch tensors by name; none of them is pickled.
            meta: JSON values.
        """
        import numpy as np
        import torch

        from optlstm.training.checkpoints import write_checkpoint

        self.flush()
        folder = self._folder
        if folder is None:
            return
        given = dict(arrays or {})
        as_numpy = [name for name, array in given.items() if not isinstance(array, torch.Tensor)]
        tensors = {
            name: torch.from_numpy(np.array(array)) if name in as_numpy else array.detach().cpu().clone().contiguous()
            for name, array in given.items()
        }
        kept = json.loads(json.dumps(dict(meta or {}), allow_nan=False))  # as it is now, and refused here

        def write() -> None:
            values = {str(step): value for step, value in self._values.items() if step <= epoch}
            write_checkpoint(folder, epoch, tensors, {"meta": kept, "numpy": as_numpy, "values": values})

        self._unwritten = write
        if epoch in self._values:
            self.flush()

    def flush(self) -> None:
        """Write the checkpoint that waits for its value."""
        write, self._unwritten = self._unwritten, None
        if write is not None:
            write()

    def load_checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint of this trial (in a population, at first that of the trial it is a copy of), or None.

        Raises:
            TrialFailed: The weights it was to start from are gone, or what is there is of another kind.
            StopTrial: The pruner ends it for a value that the study lacked.
        """
        self.flush()
        from optlstm.training.checkpoints import newest_checkpoint

        newest = newest_checkpoint(self._folder) if self._folder is not None else None
        if newest is None:
            if since := self._trial.from_epoch:
                raise TrialFailed(f"the weights it was to start from, of epoch {since}, are gone")
            return None
        epoch, tensors, meta = newest
        try:
            values = {int(step): float(value) for step, value in meta.get("values", {}).items()}
            as_numpy, kept = set(meta["numpy"]), dict(meta["meta"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TrialFailed(f"its checkpoint of epoch {epoch} is none that save_checkpoint wrote") from error
        self._report_again(values)
        arrays = {name: t.numpy() if name in as_numpy else t for name, t in tensors.items()}
        return Checkpoint(epoch, arrays, kept)

    def _report_again(self, values: Mapping[int, float]) -> None:
        """Killed between a checkpoint and its report, the study lacks the last value; the trial skips those it has."""
        self._values |= values
        for step, value in sorted(values.items()):
            self._trial.report(value, step)
            if self._trial.should_prune():
                raise StopTrial


@dataclass(frozen=True)
class CustomTask:
    """What a study with a custom objective trains: the part of a task that such a file has."""

    file: UserFile
    space: FunctionSpace
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("value"),)
    losses: ClassVar[Mapping[str, str]] = {}
    warnings: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def read(cls, path: str, stored: Stored | None = None) -> CustomTask:
        """Run the file, and see what its `space(trial)` asks for.

        Raises:
            InputError: It cannot be read, is not Python, raises, lacks one of the two functions, or must not be run.
        """
        file = UserFile.read(KEY, path, stored)
        module = _module(file)
        try:
            return cls(file, FunctionSpace.probe(module.space))
        except InputError as error:
            raise InputError([f"{KEY}: {file.name}: {problem}" for problem in error.problems]) from error

    def describe(self) -> str:
        return f"{self.file.name}, params {', '.join(p.name for p in self.space.params) or 'none'}"

    def record(self) -> dict[str, Any]:
        return {"file": self.file.name, "fingerprint": self.file.fingerprint}

    def data(self) -> None:
        """The file reads its data itself."""


def _module(file: UserFile) -> ModuleType:
    """Raises InputError where it is not Python, raises, or lacks one of the two functions."""
    module = file.run(KEY, MODULE)
    missing = [signature for name, signature in FUNCTIONS.items() if not callable(getattr(module, name, None))]
    if missing:
        raise InputError([f"{KEY}: {file.name} has no function {signature}" for signature in missing])
    return module


@dataclass(frozen=True)
class CustomObjective:
    """`objective(trial)` of the file's two functions."""

    module: ModuleType
    seed: int
    epochs: int
    checkpoints: Location | None

    def __call__(self, trial: WorkerTrial) -> Any:
        params = self.module.space(trial)
        seed = derive_seed("train", self.seed, trial.number)
        shown = Trial(trial, seed, self.epochs, self.checkpoints)
        value = self.module.objective(shown, params)
        shown.flush()
        return value


def make_custom_objective(_: None, *, file: UserFile, **options: Any) -> CustomObjective:
    """Run the file in the worker's process; options: of `CustomObjective`."""
    return CustomObjective(_module(file), **options)
