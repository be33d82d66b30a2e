"""A trial's params trained again, in whatever process has the objective; its weights as bytes.

A worker that calls this imports no Optuna and no pandas for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import safetensors.torch
from torch import nn

from optlstm.run.objective import Objective
from optlstm.study.lineage import Segment
from optlstm.study.seeds import derive_seed
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import Problem
from optlstm.training.metric import Metric
from optlstm.training.runtime import use_threads

Packed = tuple[Hyperparameters, bytes]
Report = Callable[[int, int], None]  # of an epoch, and the last one


def tuned_again(objective: Objective, segments: Sequence[Segment], report: Report) -> Packed:
    """As the study trained it, on the training rows."""
    return _trained(objective, segments, partial(derive_seed, "train", objective.seed), report)


def refitted(
    objective: Objective,
    segments: Sequence[Segment],
    values: Sequence[float],
    member: int,
    report: Report,
) -> Packed:
    """Trained on all of the objective's data, from a seed of its own.

    Args:
        values: the study's, of every epoch.
        member: which of the trial's networks, from 0.
    """
    unvalidated = _Unvalidated(objective.problem, values, objective.metric or Metric("tuned"))

    def seed_of(trial: int) -> int:
        return derive_seed("refit", objective.seed, trial, member)

    return _trained(replace(objective, problem=unvalidated), segments, seed_of, report)


def _trained(
    objective: Objective,
    segments: Sequence[Segment],
    seed_of: Callable[[int], int],
    report: Report,
) -> Packed:
    use_threads(objective.threads)
    for used, epoch in objective.train_schedule(segments, seed_of):
        hp, state = used, epoch.state
        report(epoch.epoch, segments[-1].last)
    return hp, safetensors.torch.save({name: tensor.contiguous() for name, tensor in state.weights.items()})


class _Unvalidated:
    """A problem without validation rows: its validation values are those of the study, which `plateau` follows."""

    def __init__(self, problem: Problem, values: Sequence[float], metric: Metric) -> None:
        self._values, self._metric = iter(values), metric
        self.device, self.network, self.loss = problem.device, problem.network, problem.loss
        self.steps_per_epoch, self.batches = problem.steps_per_epoch, problem.batches

    def validate(self, network: nn.Module, hp: Hyperparameters) -> dict[str, float]:
        value = next(self._values)
        return {self._metric.name: 1 - value if self._metric.higher else value}
