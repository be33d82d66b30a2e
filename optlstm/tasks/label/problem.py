"""Sequences and texts with labels as an `optlstm.training.loop.Problem`; what the labels are, their target says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from optlstm.data.labels import Fold
from optlstm.data.scaling import Standardizer
from optlstm.data.vocabulary import UNKNOWN
from optlstm.tasks.label.data import LabelledData, rows_of
from optlstm.tasks.plot_data import PlotData
from optlstm.training.classifier import SequenceClassifier, TextClassifier
from optlstm.training.factory import Factory, Shape
from optlstm.training.folds import FoldedProblem
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import Problem
from optlstm.training.metric import DEFAULT_GOAL, Goal
from optlstm.util.arrays import Floats, Integers

_EVALUATION_BATCH = 512  # sequences; the result does not depend on a trial's batch_size
_LEAST_STEPS = 32  # of an epoch: it passes through a small set several times, or its value would be mostly chance
_POOL = 32  # batches that are filled together, by length


def make_problem(
    data: LabelledData, device: torch.device, factory: Factory | None = None, goal: Goal = DEFAULT_GOAL
) -> Problem:
    """One problem, or those of a cross-validation as one. goal: its loss; every metric is computed."""
    problems = [LabelProblem(data, fold, device, factory, goal) for fold in data.folds]
    return problems[0] if len(problems) == 1 else FoldedLabels(problems)


def make_network(hp: Hyperparameters, shape: Shape) -> SequenceClassifier | TextClassifier:
    """A new network on the CPU."""
    if "vocabulary" in shape.inputs:
        return TextClassifier(hp, vocabulary=shape.inputs["vocabulary"], classes=shape.outputs)
    return SequenceClassifier(hp, channels=shape.inputs["channels"], classes=shape.outputs)


class FoldedLabels(FoldedProblem["LabelProblem"]):
    """A cross-validation's folds as one problem."""

    def plot_data(self, network: nn.Module, hp: Hyperparameters) -> PlotData:
        """Every sequence outside the test, predicted by the network that was not trained on it."""
        first = self.problems[0]
        outputs = [
            problem.outputs(self.member(network, i), problem.fold.validation) for i, problem in enumerate(self.problems)
        ]
        held_out = np.concatenate([problem.fold.validation for problem in self.problems])
        return first.target.plot_data(np.concatenate(outputs), first.data.truth[held_out])


class LabelProblem:
    """One fold of sequences or texts with labels."""

    def __init__(
        self,
        data: LabelledData,
        fold: Fold,
        device: torch.device,
        factory: Factory | None = None,
        goal: Goal = DEFAULT_GOAL,
    ) -> None:
        """Copies the values to `device`. factory: of custom networks."""
        self.data, self.fold, self.device, self._factory, self._goal = data, fold, device, factory, goal
        target, known = data.target.trained_for(goal), data.truth[fold.train]
        self.target = target.fitted(known) if len(data.folds) > 1 else target
        self._loss = self.target.loss(known, device) if len(known) else None
        values = data.values
        if data.vocabulary:
            values = _known(data, fold)[values]
        elif len(data.folds) > 1:
            values = _rescaled(data, fold)
        self._values = torch.tensor(np.asarray(values), device=device)  # [rows, channels] or [rows]
        self._starts = torch.tensor(data.starts[:-1], device=device)  # [n]
        self._lengths = torch.tensor(np.diff(data.starts), device=device)  # [n]
        self._truth = torch.tensor(data.truth, device=device)  # [n]
        self._train = torch.tensor(fold.train)
        self._even = bool((self._lengths == self._lengths[0]).all())

    def network(self, hp: Hyperparameters) -> nn.Module:
        """A new network on the CPU."""
        shape = self.data.shape(hp, self._goal)
        if self._factory is not None:
            return self._factory.make(hp, shape)
        network = make_network(hp, shape)
        if self.data.vectors is not None and isinstance(network, TextClassifier):
            with torch.no_grad():
                vectors = torch.tensor(np.asarray(self.data.vectors))
                known = (vectors != 0).any(dim=1)
                network.embedding.weight[known] = vectors[known]
        return network

    def steps_per_epoch(self, hp: Hyperparameters) -> int:
        """Batches in an epoch, which is as many passes through the training sequences as `_LEAST_STEPS` takes."""
        steps_per_pass = -(-len(self._train) // hp.batch_size)
        return steps_per_pass * -(-_LEAST_STEPS // steps_per_pass)

    def batches(self, hp: Hyperparameters, generator: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
        """Sequences (see `_batch`), their labels [batch], label_smoothing; sequences of like length come together."""
        smoothing = torch.tensor(hp.label_smoothing)
        steps_per_pass = -(-len(self._train) // hp.batch_size)
        for _ in range(self.steps_per_epoch(hp) // steps_per_pass):
            order = self._train[torch.randperm(len(self._train), generator=generator)]
            batches = list(torch.split(order, hp.batch_size))
            if not self._even:
                batches = []
                for pool in torch.split(order, hp.batch_size * _POOL):
                    by_length = torch.argsort(self._lengths[pool.to(self.device)].cpu(), stable=True)
                    batches += torch.split(pool[by_length], hp.batch_size)
                batches = [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
            for index in batches:
                index = index.to(self.device)
                yield (*self._batch(index), self._truth[index], smoothing)

    def loss(self, network: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """That of the target."""
        assert self._loss is not None
        x, lengths, truth, smoothing = batch
        return self._loss(network(x, self._given(lengths)), truth, float(smoothing))

    def validate(self, network: nn.Module, hp: Hyperparameters) -> dict[str, float]:
        """The target's metrics of the fold's validation sequences: those that cost nothing, and those of the goal."""
        held_out = self.fold.validation
        return self.target.scores(self.outputs(network, held_out), self.data.truth[held_out], self._goal.metrics)

    def plot_data(self, network: nn.Module, hp: Hyperparameters) -> PlotData:
        """Labels and predictions of the fold's validation sequences."""
        held_out = self.fold.validation
        return self.target.plot_data(self.outputs(network, held_out), self.data.truth[held_out])

    def outputs(self, network: nn.Module, sequences: Integers) -> Floats:
        """[n, width], in the order of `sequences`; sequences of like length are computed together."""
        index = torch.tensor(sequences)
        order = torch.argsort(self._lengths[index.to(self.device)].cpu(), stable=True)
        out = torch.empty(len(index), self.target.width, dtype=torch.float64)
        for part in torch.split(order, _EVALUATION_BATCH):
            x, lengths = self._batch(index[part].to(self.device))
            out[part] = self.target.output(network(x, self._given(lengths))).cpu()
        return out.numpy()

    def _given(self, lengths: Tensor) -> Tensor | None:
        """None where all sequences of the data have the same length: networks need it only for others."""
        return None if self._even else lengths

    def _batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """(values [batch, steps, channels] or tokens [batch, steps], 0 behind each end; lengths [batch])."""
        lengths = self._lengths[index]
        steps = torch.arange(int(lengths.max()), device=self.device)
        inside = steps < lengths[:, None]  # [batch, steps]
        rows = (self._starts[index][:, None] + steps).clamp(max=len(self._values) - 1)
        x = self._values[rows]
        return x * (inside if x.ndim == 2 else inside[:, :, None]), lengths


def _known(data: LabelledData, fold: Fold) -> Integers:
    """Every token's number, or that of unknown ones where the fold's training texts have it too rarely."""
    numbers = np.arange(data.vocabulary)
    if len(data.folds) > 1:
        counts = np.bincount(data.values[rows_of(data.starts, fold.train)], minlength=data.vocabulary)
        numbers[counts < data.min_count] = UNKNOWN
    return numbers


def _rescaled(data: LabelledData, fold: Fold) -> npt.NDArray[np.float32]:
    """The values standardised by the fold's training sequences."""
    scaler = Standardizer.fit(data.values[rows_of(data.starts, fold.train)].astype(np.float64), "a channel")
    return scaler.transform(data.values.astype(np.float64)).astype(np.float32)
