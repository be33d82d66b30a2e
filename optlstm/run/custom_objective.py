"""An objective of one's own: a Python file with `space(trial)` and `objective(trial, params)`, any training code.

It runs under the same ledger, on the same backends, as a task of the program does.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from optlstm.errors import InputError, TrialFailed, did_you_mean, named
from optlstm.study.seeds import derive_seed
from optlstm.util.files import Location, trial_folder

if TYPE_CHECKING:
    from optlstm.backends.trial import WorkerTrial

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

    def report(self, value: float, step: int) -> None:
        """Tell the study the value after `step` (an epoch, counted from 1). Raises TrialFailed for another step."""
        if not isinstance(step, int) or step < 1:
            raise TrialFailed(f"report(value, step): steps are whole numbers from 1, got {step!r}")
        self._trial.report(float(value), step)

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

        Args:
            arrays: NumPy arrays or torch tensors by name; none of them is pickled.
            meta: JSON values.
        """
        import numpy as np
        import torch

        from optlstm.training.checkpoints import write_checkpoint

        if self._folder is None:
            return
        given = dict(arrays or {})
        as_numpy = [name for name, array in given.items() if not isinstance(array, torch.Tensor)]
        tensors = {
            name: torch.from_numpy(np.array(array)) if name in as_numpy else array.detach().cpu().clone().contiguous()
            for name, array in given.items()
        }
        write_checkpoint(self._folder, epoch, tensors, {"meta": dict(meta or {}), "numpy": as_numpy})

    def load_checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint of this trial (in a population, at first that of the trial it is a copy of), or None.

        Raises:
            TrialFailed: The weights it was to start from are gone.
        """
        from optlstm.training.checkpoints import newest_checkpoint

        newest = newest_checkpoint(self._folder) if self._folder is not None else None
        if newest is None:
            if since := self._trial.from_epoch:
                raise TrialFailed(f"the weights it was to start from, of epoch {since}, are gone")
            return None
        epoch, tensors, meta = newest
        arrays = {name: t.numpy() if name in meta["numpy"] else t for name, t in tensors.items()}
        return Checkpoint(epoch, arrays, meta["meta"])


@dataclass(frozen=True)
class OwnFile:
    """The file as it was read: workers on other machines are given its text."""

    path: str
    source: str

    @classmethod
    def read(cls, path: str) -> OwnFile:
        """Raises InputError where it cannot be read."""
        file = Path(path).expanduser().absolute()
        try:
            return cls(str(file), file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            near = did_you_mean(file.name, (p.name for p in file.parent.glob("*.py")) if file.parent.is_dir() else ())
            raise InputError(f"objective: {path} does not exist{near}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"objective: {path} cannot be read: {error}") from None

    @property
    def name(self) -> str:
        return Path(self.path).name

    @property
    def fingerprint(self) -> str:
        """Of what the file does: comments and layout are no part of it; what it imports is not looked into."""
        return hashlib.sha256(ast.dump(ast.parse(self.source)).encode()).hexdigest()[:16]

    def module(self) -> ModuleType:
        """Run the file. What lies beside it can be imported.

        Raises:
            InputError: It is not Python, raises, or lacks one of the two functions.
        """
        folder = str(Path(self.path).parent)
        if folder not in sys.path and Path(folder).is_dir():
            sys.path.insert(0, folder)
        module = ModuleType(MODULE)
        module.__file__ = self.path
        sys.modules[MODULE] = module  # what it defines can be pickled by its own workers
        try:
            exec(compile(self.source, self.path, "exec"), module.__dict__)
        except SyntaxError as error:
            raise InputError(f"objective: {self.name}, line {error.lineno}: {error.msg}") from None
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit() too
            raise InputError(f"objective: {self.name} raised {named(error)}") from error
        missing = [words for name, words in FUNCTIONS.items() if not callable(getattr(module, name, None))]
        if missing:
            raise InputError([f"objective: {self.name} has no function {words}" for words in missing])
        return module


@dataclass(frozen=True)
class MakeOwn:
    """Makes the objective in whatever process runs it."""

    file: OwnFile
    seed: int
    epochs: int
    checkpoints: Location

    def __call__(self, data: Any) -> OwnObjective:
        return OwnObjective(self.file.module(), self.seed, self.epochs, self.checkpoints)


@dataclass(frozen=True)
class OwnObjective:
    """`objective(trial)` of the file's two functions."""

    module: ModuleType
    seed: int
    epochs: int
    checkpoints: Location | None

    def __call__(self, trial: WorkerTrial) -> Any:
        params = self.module.space(trial)
        seed = derive_seed("train", self.seed, trial.number)
        return self.module.objective(Trial(trial, seed, self.epochs, self.checkpoints), params)
