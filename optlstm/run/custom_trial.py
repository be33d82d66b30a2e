"""What a custom objective sees of a trial: Optuna's methods, and checkpoints that make it resumable."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from optlstm.errors import StopTrial, TrialDiverged, TrialFailed, did_you_mean
from optlstm.run.custom_checkpoint import Checkpoint, Saved
from optlstm.util.files import Location, trial_folder

if TYPE_CHECKING:
    from optlstm.backends.trial import WorkerTrial
    from optlstm.training.checkpoints import CheckpointWriter
    from optlstm.training.tracked import Tracked

UNNAMED = (
    "track: what it keeps has a name, track(model=model, optimizer=optimizer); only the number of the first epoch has "
    "none, track(0, model=model)"
)


class Trial:
    """What an objective sees of a trial. A context manager: at its end, its checkpoints are on the disk.

    Args:
        before: Resume from a checkpoint of an earlier epoch than this one.

    Attributes:
        number: The trial's number in the study.
        epochs: Most epochs of a trial (`--epochs`).
        seed: The same for this trial on every backend, and after every restart.
    """

    def __init__(
        self,
        trial: WorkerTrial,
        seed: int,
        epochs: int,
        checkpoints: Location | None,
        maximize: bool = False,
        before: float = math.inf,
    ) -> None:
        self._trial, self._maximize, self._before = trial, maximize, before
        self.number, self.seed, self.epochs = trial.number, seed, epochs
        self._folder = trial_folder(checkpoints, trial.number) if checkpoints else None
        self._values: dict[int, float] = {}  # of every epoch that was reported, as the next checkpoint keeps them
        self._first: int | None = None  # how the objective counts its first epoch: 1, or 0 as Optuna's examples do
        self._tracked: Tracked | None = None
        self.reached = 0  # the epoch that `track` has put back
        self.has_trained = True  # whether it has reported since
        self._writer: CheckpointWriter | None = None
        self._unwritten: Callable[[], None] | None = None  # writes the checkpoint of an epoch without a value yet

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.__exit__()

    @property
    def params(self) -> dict[str, Any]:
        """Those that were suggested so far."""
        return dict(self._trial.params)

    @property
    def user_attrs(self) -> dict[str, Any]:
        """Those that were set in this run of the trial."""
        return dict(self._trial.user_attrs)

    @property
    def best_value(self) -> float | None:
        """The best value reported so far."""
        best = self._best_epoch()
        return None if best is None else self._values[best]

    def __getattr__(self, name: str) -> Any:
        """Only what is not here comes to this. Raises AttributeError."""
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        here = [attribute for attribute in dir(self) if not attribute.startswith("_")]
        meant = did_you_mean(name, here) or f", away from its study; it has {', '.join(here)}"
        raise AttributeError(f"a trial has no {name!r} where it is trained{meant}")

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return self._trial.suggest_float(name, low, high, step=step, log=log)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return self._trial.suggest_int(name, low, high, step=step, log=log)

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return self._trial.suggest_categorical(name, choices)

    def report(self, value: float, step: int) -> None:
        """Tell the study the value after `step`, an epoch.

        Raises:
            TrialFailed: `step` is no whole number from 0.
            TrialDiverged: The value is not finite; the trial is over.
        """
        epoch = self._epoch(step)
        self.has_trained = True
        if math.isfinite(value := float(value)):
            self._values.setdefault(epoch, value)
            if self._tracked is not None:
                self._save(epoch, self._tracked.states(), {}, random=True)
        self.flush()
        self._trial.report(value, epoch)
        if not math.isfinite(value):  # the study has ended it
            raise TrialDiverged(f"the value is {value} after epoch {step}")

    def should_prune(self) -> bool:
        """Whether the trial is over: return from the objective, whatever you return, or raise optuna.TrialPruned."""
        return self._trial.should_prune()

    def set_user_attr(self, key: str, value: Any) -> None:
        """Keep a JSON value with the trial."""
        self._trial.set_user_attr(key, value)

    def track(self, first: int = 1, /, *unnamed: Any, **things: Any) -> int:
        """Keep models, optimizers and whatever else changes; put back the state they had where this trial was killed.

        From then on `report` saves them, and all random states, before it reports: call it last in the epoch.

        Args:
            first: The loop's first epoch; 0 for `range(track(0, ...), epochs)`.
            things: What has state_dict and load_state_dict; random generators; tensors and arrays, dicts and lists,
                which are put back in place.

        Returns:
            The epoch to begin with.

        Raises:
            TypeError: One of them has no name, or no state that can be kept and put back.
            TrialFailed: The checkpoint is of other things, or gone.
            StopTrial: The pruner ends it for a value that the study lacked.
        """
        from optlstm.training.tracked import Tracked, restore_random

        if self._tracked is not None:
            raise TrialFailed("track(...) was called before: name all that it is to keep in one call")
        if unnamed or not hasattr(first, "__index__"):
            raise TypeError(UNNAMED)
        self._first, self._tracked = operator.index(first), Tracked(things)
        saved = self._load()
        if saved is None:
            return self._first
        copied = saved.epoch == self._trial.from_epoch
        self._tracked.restore(saved.arrays, copied=copied)
        if saved.random and not copied:  # a copy in a population draws its own
            restore_random(saved.random)
        self.reached, self.has_trained = saved.epoch, copied
        return saved.epoch + self._first

    def shared(self, key: str, make: Callable[[], Any]) -> Any:
        """What `make()` returns, made once on each machine for all workers of the study: data that all trials read.

        Tensors and arrays in it are mapped from a file in the temporary folder, and lie in the memory once. Arrays
        refuse to be written to. Do not write to tensors either: other trials of this process would see it.

        Raises:
            TypeError: It holds what is not kept; what a checkpoint can hold is.
        """
        if self._folder is None:  # of one process: a debugger, a replay
            return make()
        from optlstm.run.shared_values import SHARED

        return SHARED.get(str(Path(self._folder).parent), key, make)

    def save_checkpoint(
        self, epoch: int, arrays: Mapping[str, Any] | None = None, meta: Mapping[str, Any] | None = None
    ) -> None:
        """Keep what is needed to resume after `epoch`. Call it before `report`: what the study knows can be continued.

        It is on the disk before the study has the epoch's value, and holds that value: killed in between, the study
        is told it when the trial is resumed.

        Args:
            arrays: Tensors, NumPy arrays, state dicts and other nested values by name; none of them is pickled.
            meta: More of them.

        Raises:
            TypeError: There is a value that cannot be kept.
        """
        if self._tracked is not None:
            raise TrialFailed("save_checkpoint: report saves what track(...) was given; give it this too")
        self.flush()
        self._save(self._epoch(epoch), dict(arrays or {}), dict(meta or {}))

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
        saved = self._load()
        return None if saved is None else saved.shown()

    def _load(self) -> Saved | None:
        self.flush()
        saved = Saved.newest(self._folder, self._before) if self._folder is not None else None
        if saved is None:
            if since := self._trial.from_epoch:
                raise TrialFailed(f"the weights it was to start from, of epoch {since}, are gone")
            return None
        self._first = saved.first if self._first is None else self._first
        self._report_again(saved.values)
        return saved

    def _save(self, epoch: int, arrays: dict[str, Any], meta: dict[str, Any], random: bool = False) -> None:
        from optlstm.training.nested import encode
        from optlstm.training.tracked import random_states

        if self._folder is None:
            return
        more = {"random": random_states()} if random else {}
        at_once = epoch in self._values
        tree, tensors = encode({"arrays": arrays, "meta": meta, **more}, copy=not at_once)

        def write() -> None:
            values = {str(known): value for known, value in self._values.items() if known <= epoch}
            kept = {"state": tree, "first": self._first, "values": values}
            self._open_writer().write(epoch, tensors, kept, self._best_epoch())

        self._unwritten = write
        if at_once:
            self.flush()

    def _open_writer(self) -> CheckpointWriter:
        if self._writer is None:
            from optlstm.training.checkpoints import CheckpointWriter

            assert self._folder is not None
            self._writer = CheckpointWriter(self._folder)
        return self._writer

    def _epoch(self, step: int) -> int:
        """As the study counts: from 1."""
        least = self._first or 0
        try:
            whole = operator.index(step)
        except TypeError:
            whole = least - 1
        if whole < least:
            raise TrialFailed(f"report(value, step): steps are whole numbers from {least}, got {step!r}")
        if self._first is None:
            self._first = min(whole, 1)
        return whole + 1 - self._first

    def _best_epoch(self) -> int | None:
        """Of this trial's own reports; the earliest of equal ones."""
        sign = -1 if self._maximize else 1
        ours = [epoch for epoch in self._values if epoch > self._trial.from_epoch]
        return min(ours, key=lambda epoch: (sign * self._values[epoch], epoch), default=None)

    def _report_again(self, values: Mapping[int, float]) -> None:
        """Killed between a checkpoint and its report, the study lacks the last value; the trial skips those it has."""
        self._values |= values
        for epoch, value in sorted(values.items()):
            self._trial.report(value, epoch)
            if self._trial.should_prune():
                raise StopTrial


def track(trial: Any, first: int = 1, /, *unnamed: Any, **things: Any) -> int:
    """`trial.track(first, **things)`; of a trial that Optuna runs alone, which has no checkpoints, the first epoch.

    So an objective is the same under `python -m optlstm study` and under `study.optimize`.
    """
    tracks = getattr(trial, "track", None)
    return first if tracks is None else int(tracks(first, *unnamed, **things))
