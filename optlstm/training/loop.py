"""The trainer: epochs as a generator, state in, state out. It knows nothing of the network's layers or of the task."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import InitVar, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from optlstm.errors import TrialDiverged
from optlstm.training.averaging import WeightAverage
from optlstm.training.hparams import Hyperparameters
from optlstm.training.metric import Metric
from optlstm.training.optimizers import build_optimizer, eager_step, load_optimizer, optimizer_tensors
from optlstm.training.precision import recurrent_layers_in
from optlstm.training.schedule import lr_factor

CHECK_EVERY = 50  # steps between two looks at the loss on an accelerator, where each look waits for the device


class Problem(Protocol):
    """A task with its data: what `fit` needs to know of it."""

    @property
    def device(self) -> torch.device:
        """Where network and batches live."""

    def network(self, hp: Hyperparameters) -> nn.Module:
        """A new network, initialised from torch's global random state, on the CPU."""

    def steps_per_epoch(self, hp: Hyperparameters) -> int:
        """How many batches `batches` yields."""

    def batches(self, hp: Hyperparameters, generator: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
        """One epoch of batches, shuffled by `generator` (a CPU generator); the first dimension counts the samples."""

    def loss(self, network: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """The mean loss of a batch, a scalar with a gradient."""

    def validate(self, network: nn.Module, hp: Hyperparameters) -> dict[str, float]:
        """Validation metrics by name, the first to decide by default. Called in eval mode and without gradients."""


@dataclass(frozen=True)
class State:
    """All that is needed to resume after an epoch.

    tensors: on the CPU, named `network.*`, `optimizer.*`, `best.*` (the best epoch's weights, averaged where they are)
    and, where the weights are averaged, `average.*`.
    meta: JSON: epoch; step (of the optimizer, over all epochs); values (every epoch's validation value: the plateau
    schedule and early stopping follow from them); best_value; best_epoch; optimizer (its name).
    """

    tensors: dict[str, Tensor]
    meta: dict[str, Any]

    @property
    def weights(self) -> dict[str, Tensor]:
        """What is validated and kept: the network's weights, their average where there is one."""
        return {**self.part("network"), **self.part("average")}

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors of one part (`network`, `optimizer`, `best` or `average`) under their own names."""
        return {key.removeprefix(f"{name}."): t for key, t in self.tensors.items() if key.startswith(f"{name}.")}


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One finished epoch. `seconds`: training and validation. `state`: a copy, which later epochs do not change."""

    epoch: int
    value: float
    metrics: dict[str, float]
    train_loss: float
    best_value: float
    best_epoch: int
    seconds: float
    state: State


def fit(
    problem: Problem,
    hp: Hyperparameters,
    *,
    epochs: int,
    patience: int | None,
    seed: int,
    state: State | None = None,
    since: int = 0,
    metric: Metric | None = None,
    precision: str = "fp32",
) -> Iterator[Epoch]:
    """Train and yield after every epoch; with `state`, resume after its epoch, bit for bit as if never stopped.

    Each epoch is a pure function of (state, hp, seed, epoch): it begins by seeding torch's global random state, so
    nothing the caller does between two epochs changes it. Learning rate and weight decay are always those of `hp`,
    whatever `state` was trained with.

    Args:
        epochs: how many in all, those behind `state` included; the learning-rate schedule spans them.
        patience: stop after so many epochs without a new best value; 0 or None: never.
        metric: the validation metric that decides; None: the problem's first.
        since: the epoch after which this run's values begin: those up to it are of another run, from which `state` was
            copied, and never the best of this one.
        precision: `fp32`, or `bf16`: what the recurrent layers compute in while they train.

    Raises:
        TrialDiverged: the training loss or the validation value is not finite.
    """
    run = TrainingRun(problem, hp, epochs, patience, seed, state, since, metric, precision)
    while not run.ended:
        yield run.train_epoch()


@dataclass
class TrainingRun:
    """A training between two epochs: network, optimizer, averaged weights, and the values so far.

    Args: As of `fit`.
    """

    problem: Problem
    hp: Hyperparameters
    epochs: int
    patience: int | None
    seed: int
    state: InitVar[State | None]
    since: int
    metric: Metric | None
    precision: str

    def __post_init__(self, state: State | None) -> None:
        self.values: list[float] = []  # of every epoch
        self.step = 0  # of the optimizer
        self.best: dict[str, Tensor] = {}  # the best epoch's weights, as a State has them
        torch.manual_seed(epoch_seed(self.seed, 0))
        self.network = self.problem.network(self.hp).to(self.problem.device)
        self.optimizer = build_optimizer(self.network, self.hp)
        if state:
            self._load(state)
        self.steps = self.problem.steps_per_epoch(self.hp)
        memory = self.hp.averaging * self.epochs * self.steps
        self.average = WeightAverage(self.network, memory, state.part("average") if state else None)

    def _load(self, state: State) -> None:
        self.network.load_state_dict(state.part("network"))
        kept = state.part("optimizer")
        load_optimizer(self.network, self.optimizer, kept, saved_by=state.meta["optimizer"], hp=self.hp)
        self.values, self.step = list(state.meta["values"]), state.meta["step"]
        if len(self.values) > self.since:
            self.best = {key: tensor for key, tensor in state.tensors.items() if key.startswith("best.")}

    @property
    def best_epoch(self) -> int:
        """The first epoch (from 1) with the smallest value; before any, `since`."""
        values = self.values[self.since :]
        return self.since + values.index(min(values)) + 1 if values else self.since

    @property
    def ended(self) -> bool:
        """Whether no epoch follows: all are done, or the last `patience` brought no new best value."""
        done = len(self.values)
        return done >= self.epochs or bool(self.patience and done - self.best_epoch >= self.patience)

    def train_epoch(self) -> Epoch:
        began = time.perf_counter()
        with recurrent_layers_in(self.precision, self.network):
            train_loss = self._train()
        with self.average.in_place():
            metrics, value = self._validate()
        seconds = time.perf_counter() - began
        self.values.append(value)
        self.step += self.steps
        if self.best_epoch == len(self.values):
            self.best = _named("best", {**self.network.state_dict(), **self.average.tensors})
        state = self._state()
        return Epoch(
            epoch=len(self.values),
            value=value,
            metrics=metrics,
            train_loss=train_loss,
            best_value=state.meta["best_value"],
            best_epoch=self.best_epoch,
            seconds=seconds,
            state=state,
        )

    def _state(self) -> State:
        tensors = {
            **_named("network", self.network.state_dict()),
            **_named("average", self.average.tensors),
            **_named("optimizer", optimizer_tensors(self.network, self.optimizer)),
            **self.best,
        }
        meta = {
            "epoch": len(self.values),
            "step": self.step,
            "values": list(self.values),
            "best_value": min(self.values[self.since :]),
            "best_epoch": self.best_epoch,
            "optimizer": self.hp.optimizer,
        }
        return State(tensors, meta)

    def _train(self) -> float:
        """One epoch of steps; returns the mean training loss over its samples."""
        problem, hp, network, optimizer = self.problem, self.hp, self.network, self.optimizer
        epoch, steps = len(self.values) + 1, self.steps
        every = 1 if problem.device.type == "cpu" else CHECK_EVERY
        torch.manual_seed(epoch_seed(self.seed, epoch))
        order = torch.Generator().manual_seed(epoch_seed(self.seed, epoch))
        parameters = list(network.parameters())
        advance = eager_step(optimizer)
        network.train()
        wide = torch.float32 if problem.device.type == "mps" else torch.float64  # which Apple's has not
        total, samples = torch.zeros((), dtype=wide, device=problem.device), 0
        for step, batch in enumerate(problem.batches(hp, order)):
            done = (epoch - 1) * steps + step
            factor = lr_factor(hp.lr_schedule, done, self.epochs * steps, warmup=hp.warmup, values=self.values)
            for group in optimizer.param_groups:
                group["lr"] = hp.learning_rate * factor
            optimizer.zero_grad(set_to_none=True)
            loss = problem.loss(network, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            if hp.grad_clip > 0:
                nn.utils.clip_grad_norm_(parameters, hp.grad_clip)
            with torch.no_grad():
                advance()
                self.average.update(done)
            total += loss.detach().double() * len(batch[0])
            samples += len(batch[0])
            if (step + 1) % every == 0 or step + 1 == steps:
                check_finite(total.item(), f"training loss is {{}} at epoch {epoch}, step {step + 1} of {steps}", hp)
        return total.item() / samples

    def _validate(self) -> tuple[dict[str, float], float]:
        """The metrics after an epoch of steps, and the value that decides."""
        self.network.eval()
        with torch.no_grad():
            metrics = self.problem.validate(self.network, self.hp)
        metric = self.metric or Metric(next(iter(metrics)))
        value = metric.value(metrics)
        check_finite(value, f"validation {metric.label} is {{}} at epoch {len(self.values) + 1}", self.hp)
        return metrics, value


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of an epoch (0: the network's initialisation), so that neighbouring seeds and epochs share nothing."""
    digest = hashlib.sha256(f"optlstm {seed} {epoch}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1  # torch takes 63 bits without a sign


def check_finite(value: float, message: str, hp: Hyperparameters) -> None:
    """Raise TrialDiverged where `value` is not finite; the message's {} becomes it."""
    if not math.isfinite(value):
        raise TrialDiverged(f"{message.format(value)} (learning_rate {hp.learning_rate:g})")


def _named(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, under the names they have in a State."""
    return {f"{part}.{name}": t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()}
