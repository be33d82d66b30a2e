"""The objective: the one function that every backend runs, and the door between the study and the training.

    objective(trial): ask the trial for its params, train, report every epoch, stop when it is pruned, return the best
    validation value.

On a worker `trial` has an Optuna trial's methods, and its `suggest_*` answer what was sampled on the driver. Under
`study.optimize` the objective is given Optuna's exception: `Objective(..., pruned=optuna.TrialPruned)`. Nothing here
imports Optuna or Ray.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from optlstm.errors import StopTrial, TrialFailed
from optlstm.run.task_space import hyperparameters
from optlstm.study.lineage import Segment
from optlstm.study.seeds import derive_seed
from optlstm.study.space import Space, Suggester
from optlstm.tasks.plot_data import PlotData
from optlstm.training.checkpoints import CheckpointWriter, newest_checkpoint
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import Epoch, Problem, State, fit
from optlstm.training.metric import Metric
from optlstm.training.morph import morph, with_growth
from optlstm.training.network_cost import latency_ms, parameters
from optlstm.training.runtime import use_threads
from optlstm.util.files import Location, trial_folder


class Trial(Suggester, Protocol):
    """The part of `optuna.Trial` that the objective uses."""

    @property
    def number(self) -> int: ...

    def report(self, value: float, step: int) -> None: ...

    def should_prune(self) -> bool: ...

    def set_user_attr(self, key: str, value: Any) -> None: ...


@dataclass(frozen=True)
class Objective:
    """One training per trial, a pure function of (study seed, trial number, params).

    Args:
        problem: The task with its data.
        space: What the trial is asked.
        seed: The study's seed.
        epochs: Most epochs of a trial.
        patience: Epochs without a better value after which a trial ends; 0: never.
        checkpoints: Folder (a path, or a URL pyarrow opens) for the trials' checkpoints; None: none are written, and
            nothing is resumed.
        threads: Torch's threads; another number changes the last bits.
        precision: What recurrent layers compute in while they train: see `fit`.
        metric: The validation metric that decides; None: the problem's first.
        objectives: Names of several values to return; without them it is the best validation value.
        pruned: Raised where the trial is pruned.
    """

    problem: Problem
    space: Space
    seed: int
    epochs: int
    patience: int = 0
    checkpoints: Location | None = None
    threads: int = 1
    precision: str = "fp32"
    metric: Metric | None = None
    objectives: tuple[str, ...] = ()
    pruned: type[BaseException] = StopTrial

    def __call__(self, trial: Trial) -> float | tuple[float, ...]:
        """Train one trial, from its newest checkpoint if there is one.

        A checkpoint is written before its epoch is reported: whatever the study knows can be continued.

        Returns:
            The best validation value over the epochs; or each of `objectives`, as they are of the best epoch.

        Raises:
            StopTrial, or what `pruned` is: The trial is told to stop.
            TrialDiverged: The loss is not finite.
        """
        use_threads(self.threads)
        params = self.space.suggest(trial)
        hp = hyperparameters(self.space, params)
        since = getattr(trial, "from_epoch", 0)  # only the trials of a population have it
        state = self._resume(trial.number)
        if state is None and since:
            raise TrialFailed(f"the weights it was to start from, of epoch {since}, are gone")
        progress = Progress.of(state, since)
        seed = derive_seed("train", self.seed, trial.number)
        if state is not None:
            state, hp = _fitting(state, hp, since, seed)
        # Killed between a checkpoint and its report, the study lacks the last value; the trial skips those it has.
        for known, value in enumerate(state.meta["values"] if state else [], start=1):
            self._report(trial, value, known)
        with self._checkpoints(trial.number) as save:
            for epoch in self._fit(hp, seed, state, since, self.patience):
                progress = progress.after(epoch)
                save(epoch.state, params, progress)
                self._report(trial, epoch.value, epoch.epoch)
        seconds = round(progress.seconds, 3)
        attrs = {**progress.attrs, "train_seconds": seconds, "parameters": parameters(self.problem, hp)}
        if "latency_ms" in self.objectives:
            attrs["latency_ms"] = latency_ms(self.problem, hp)
        for key, value in attrs.items():
            trial.set_user_attr(key, value)
        return tuple(float(attrs[name]) for name in self.objectives) if self.objectives else progress.best

    def _report(self, trial: Trial, value: float, epoch: int) -> None:
        trial.report(value, epoch)
        if trial.should_prune():
            raise self.pruned

    def replay(self, segments: Sequence[Segment]) -> float:
        """Train a schedule of hyperparameters from scratch, as the population did.

        Returns:
            The best validation value over the last segment: bit for bit what the study has for its trial.
        """
        use_threads(self.threads)
        best = math.nan
        for _, epoch in self.train_schedule(segments, partial(derive_seed, "train", self.seed)):
            best = epoch.best_value
        return best

    def train_schedule(
        self, segments: Sequence[Segment], seed_of: Callable[[int], int]
    ) -> Iterator[tuple[Hyperparameters, Epoch]]:
        """Train a schedule of hyperparameters from scratch; yields after every epoch, with what it was trained with.

        Args:
            seed_of: a trial's number -> the seed of its segment.

        Raises:
            TrialFailed: the training diverged.
        """
        state = None
        for segment in segments:
            params = {**self.space.fixed, **segment.params}
            hp, since, seed = hyperparameters(self.space, params), segment.first - 1, seed_of(segment.trial)
            if state is not None:
                state, hp = _fitting(state, hp, since, seed)
            for epoch in self._fit(hp, seed, state, since, patience=0):
                yield hp, epoch
                if epoch.epoch == segment.last:
                    reached = epoch.state
                    break
            state = State(reached.tensors, {**reached.meta, "params": params})

    def _fit(self, hp: Hyperparameters, seed: int, state: State | None, since: int, patience: int) -> Iterator[Epoch]:
        return fit(
            self.problem,
            hp,
            epochs=self.epochs,
            patience=patience,
            seed=seed,
            state=state,
            since=since,
            metric=self.metric,
            precision=self.precision,
        )

    def plot_data(self, number: int) -> PlotData | None:
        """What the task shows of a trial's best weights on its validation data; None where they are gone.

        A task has pictures where its problem has `plot_data(network, hp)`, called in eval mode and without gradients.
        """
        show: Callable[[Any, Hyperparameters], PlotData] | None = getattr(self.problem, "plot_data", None)
        state = self._resume(number) if show else None
        kept = self._best_of(state) if state else None
        if show is None or kept is None:
            return None
        use_threads(self.threads)
        hp, network = kept
        with torch.no_grad():
            return show(network, hp)

    def kept_network(self, segments: Sequence[Segment]) -> tuple[Hyperparameters, nn.Module] | None:
        """The network at the end of a schedule, a trial's best epoch, and its hyperparameters; in eval mode.

        It is that of the trial's checkpoint; None where that is gone.
        """
        use_threads(self.threads)
        state = self._resume(segments[-1].trial)
        return self._best_of(state) if state and state.meta["best_epoch"] == segments[-1].last else None

    def _best_of(self, state: State) -> tuple[Hyperparameters, nn.Module] | None:
        """The network after a checkpoint's best epoch; None where the checkpoint does not hold it."""
        if not state.part("best"):
            return None
        hp = with_growth(hyperparameters(self.space, state.meta["params"]), state.tensors)
        return hp, self.network(hp, state.part("best"))

    def network(self, hp: Hyperparameters, weights: Mapping[str, Tensor]) -> nn.Module:
        """A network of these weights, on the problem's device, in eval mode."""
        network = self.problem.network(hp)
        network.load_state_dict(weights)
        return network.to(self.problem.device).eval()

    def _resume(self, number: int) -> State | None:
        newest = newest_checkpoint(trial_folder(self.checkpoints, number)) if self.checkpoints else None
        return State(*newest[1:]) if newest else None

    @contextlib.contextmanager
    def _checkpoints(self, number: int) -> Iterator[Callable[[State, Mapping[str, Any], Progress], None]]:
        """What writes a trial's checkpoints; at the end they are on the disk."""
        if not self.checkpoints:
            yield lambda *_: None
            return
        with CheckpointWriter(trial_folder(self.checkpoints, number)) as writer:

            def save(state: State, params: Mapping[str, Any], progress: Progress) -> None:
                shown = {"attrs": progress.attrs, "seconds": progress.seconds}
                meta = {**state.meta, "params": dict(params), **shown}
                writer.write(state.meta["epoch"], state.tensors, meta)

            yield save


@dataclass(frozen=True)
class Progress:
    """What a trial has to show so far: its best value, what else is known of that epoch, and the seconds it trained."""

    best: float = math.nan
    attrs: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def of(cls, state: State | None, since: int) -> Progress:
        """The progress in a checkpoint; none where the checkpoint is what another trial left at epoch `since`."""
        if state is None or state.meta["epoch"] == since:
            return cls()
        return cls(state.meta["best_value"], state.meta["attrs"], state.meta["seconds"])

    def after(self, epoch: Epoch) -> Progress:
        newest = {**epoch.metrics, "best_epoch": epoch.best_epoch}
        attrs = newest if epoch.best_epoch == epoch.epoch else self.attrs
        return Progress(epoch.best_value, attrs, self.seconds + epoch.seconds)


def _fitting(state: State, hp: Hyperparameters, since: int, seed: int) -> tuple[State, Hyperparameters]:
    """A state that fits `hp`, and `hp` as the state's network is built: a copy's weights may have to grow first."""
    if since and state.meta["epoch"] == since:
        theirs = Hyperparameters.from_params(state.meta["params"], dict(hp.custom))
        state = morph(state, theirs, hp, seed=seed)
    return state, with_growth(hp, state.tensors)
