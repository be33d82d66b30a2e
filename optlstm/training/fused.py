"""Several trials of the same shapes trained as one batched model in one process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import cast

import torch
from torch import Tensor, nn

from optlstm.errors import InputError, TrialDiverged
from optlstm.training.fused_lstm import Masks, fused_forecast
from optlstm.training.fused_weights import Stack
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import CHECK_EVERY, Course, Epoch, Problem, check_finite, epoch_seed, validated
from optlstm.training.metric import Metric
from optlstm.training.model import BodyConfig, LSTMForecaster
from optlstm.training.schedule import lr_factor

# What each lane may have of its own; all else shapes tensors, or decides which operations a step is made of.
MAY_DIFFER = ("learning_rate", "weight_decay", "lr_schedule", "warmup", "grad_clip", "dropout", "recurrent_dropout")


def not_fusable(hps: Sequence[Hyperparameters]) -> list[str]:
    """Why runs with these hyperparameters cannot be trained as one, a line a reason; empty where they can."""
    reasons = []
    for field in fields(Hyperparameters):
        found = list(dict.fromkeys(getattr(hp, field.name) for hp in hps))
        if len(found) > 1 and field.name not in MAY_DIFFER:
            reasons.append(f"{field.name}: fused trials must agree in it, and have {', '.join(map(str, found))}")
    optimizers = sorted({hp.optimizer for hp in hps} - {"adam", "adamw"})
    if optimizers:
        reasons.append(f"optimizer: {', '.join(optimizers)} cannot be fused, adam and adamw can")
    if any(hp.averaging for hp in hps):
        reasons.append("averaging: a trial that averages its weights cannot be fused; 0 can")
    if any(hp.grown_layers for hp in hps):
        reasons.append("num_layers: a network whose layers have grown cannot be fused")
    if any(BodyConfig.of(hp, input_size=1).above for hp in hps):
        reasons.append("hidden_size_2, hidden_size_3: layers of different sizes cannot be fused; 0 can")
    return reasons


@dataclass(eq=False)
class _Lane:
    """One trial of a fused run."""

    number: int
    seed: int
    network: LSTMForecaster
    course: Course
    generator: torch.Generator
    failure: TrialDiverged | None = None
    pruned: bool = False

    @property
    def hp(self) -> Hyperparameters:
        return self.course.hp

    @property
    def over(self) -> bool:
        return self.pruned or self.failure is not None or self.course.ended

    def check(self, value: float, message: str) -> None:
        """Let the lane fail where `value` is the first of its that is not finite."""
        try:
            check_finite(value, message, self.hp)
        except TrialDiverged as error:
            self.failure = self.failure or error


class FusedFit:
    """What `fit` does, for several trials (lanes) at once; lane i has hps[i] and seeds[i].

    Iterating trains an epoch at a time and gives, for every lane that was still under way, its Epoch, or TrialDiverged
    where its loss is not finite. A lane that has ended, failed or been pruned leaves the batch, and the rest costs
    less. Each lane is what `fit` makes of it alone, up to rounding (on a CPU; on CUDA up to dropout's random numbers),
    and its Epoch.state() can go on alone with `fit(state=...)`.

    Args:
        problem: of forecasting, without covariates: its networks are LSTMForecasters, to which it shows the first
            tensor of a batch [..., window] as [sequences, window].
        epochs, patience, metric: as in `fit`, the same for all lanes.

    Raises:
        InputError: the lanes cannot be fused; all reasons at once.
    """

    def __init__(
        self,
        problem: Problem,
        hps: Sequence[Hyperparameters],
        *,
        epochs: int,
        patience: int | None,
        seeds: Sequence[int],
        metric: Metric | None = None,
    ) -> None:
        reasons = not_fusable(hps)
        if not hps or len(hps) != len(seeds):
            reasons.append(f"seeds: each of {len(hps)} trials needs one (and there must be a trial), got {len(seeds)}")
        if reasons:
            raise InputError(reasons)
        self._problem, self._metric = problem, metric
        self._lanes = []
        for number, (hp, seed) in enumerate(zip(hps, seeds, strict=True)):
            torch.manual_seed(epoch_seed(seed, 0))
            network = problem.network(hp)
            if type(network) is not LSTMForecaster:
                raise InputError(f"a {type(network).__name__} cannot be fused, an LSTMForecaster can")
            generator = torch.Generator(problem.device)
            lane = _Lane(number, seed, network.to(problem.device), Course(hp, epochs, patience), generator)
            self._lanes.append(lane)
        self._stack = Stack([lane.network for lane in self._lanes], hps, problem.device)

    @property
    def alive(self) -> tuple[int, ...]:
        """The lanes that go on."""
        return tuple(lane.number for lane in self._lanes if not lane.over)

    def prune(self, lane: int) -> None:
        """End a lane with its last epoch; nothing happens where it has ended."""
        for each in self._lanes:
            each.pruned |= each.number == lane

    def __iter__(self) -> Iterator[dict[int, Epoch | TrialDiverged]]:
        while self._go_on():
            began = time.perf_counter()
            losses = self._train()
            share = (time.perf_counter() - began) / len(self._lanes)
            yield {lane.number: self._finish(row, losses[row], share) for row, lane in enumerate(self._lanes)}

    def _go_on(self) -> bool:
        """Drop the lanes that are over; whether any is left."""
        rows = [row for row, lane in enumerate(self._lanes) if not lane.over]
        if len(rows) < len(self._lanes):
            self._lanes = [self._lanes[row] for row in rows]
            if rows:
                self._stack.keep(rows)
        return bool(rows)

    def _train(self) -> list[float]:
        """One epoch of steps; returns each lane's mean training loss over its samples."""
        problem, lanes = self._problem, self._lanes
        epoch, steps = len(lanes[0].course.values) + 1, problem.steps_per_epoch(lanes[0].hp)
        every = 1 if problem.device.type == "cpu" else CHECK_EVERY
        seeds = [epoch_seed(lane.seed, epoch) for lane in lanes]
        for lane, seed in zip(lanes, seeds, strict=True):
            lane.generator.manual_seed(seed)
        masks = Masks([lane.network.config.body for lane in lanes], [lane.generator for lane in lanes])
        rates = self._rates(epoch, steps)
        orders = (torch.Generator().manual_seed(seed) for seed in seeds)
        together = [problem.batches(lane.hp, order) for lane, order in zip(lanes, orders, strict=True)]
        total, samples = torch.zeros(len(lanes), dtype=torch.float64, device=problem.device), 0
        for step, batches in enumerate(zip(*together, strict=True)):
            losses = self._losses(batches, masks)
            self._stack.descend(losses.sum(), rates[step])
            total += losses.detach().double() * len(batches[0][0])
            samples += len(batches[0][0])
            if (step + 1) % every == 0 or step + 1 == steps:
                message = f"training loss is {{}} at epoch {epoch}, step {step + 1} of {steps}"
                for lane, value in zip(lanes, total.tolist(), strict=True):
                    lane.check(value, message)
        return [value / samples for value in total.tolist()]

    def _losses(self, batches: Sequence[tuple[Tensor, ...]], masks: Masks) -> Tensor:
        """[lanes]: each lane's loss of its batch, as the problem reckons it."""
        x = torch.stack([batch[0].flatten(0, -2) for batch in batches])  # [lanes, sequences, window]
        forecasts = fused_forecast(self._lanes[0].network.config, self._stack.parameters, x, masks).unbind()
        each = zip(forecasts, batches, strict=True)
        return torch.stack([self._problem.loss(_which_gives(forecast), batch) for forecast, batch in each])

    def _rates(self, epoch: int, steps: int) -> Tensor:
        """[steps, lanes, 1]: every learning rate of an epoch; one transfer to the device."""
        rates = [[self._rate(lane, (epoch - 1) * steps + step, steps) for lane in self._lanes] for step in range(steps)]
        return torch.tensor(rates, device=self._problem.device).unsqueeze(2)

    def _rate(self, lane: _Lane, step: int, steps: int) -> float:
        hp, course = lane.hp, lane.course
        total = course.epochs * steps
        return hp.learning_rate * lr_factor(hp.lr_schedule, step, total, warmup=hp.warmup, values=course.values)

    def _finish(self, row: int, train_loss: float, seconds: float) -> Epoch | TrialDiverged:
        """Validate a lane. seconds: its share of the training."""
        lane, began = self._lanes[row], time.perf_counter()
        if lane.failure:
            return lane.failure
        weights = self._stack.weights(row)
        lane.network.load_state_dict(weights)
        epoch = len(lane.course.values) + 1
        try:
            metrics, value = validated(self._problem, lane.hp, lane.network, self._metric, epoch=epoch)
        except TrialDiverged as error:
            lane.failure = error
            return error
        return lane.course.after(
            weights,
            self._stack.moments(row),
            {},
            value=value,
            metrics=metrics,
            train_loss=train_loss,
            steps=self._problem.steps_per_epoch(lane.hp),
            seconds=seconds + time.perf_counter() - began,
        )


def _which_gives(forecast: Tensor) -> nn.Module:
    """Stands for a network that has its answer already."""
    return cast("nn.Module", lambda *inputs: forecast)
