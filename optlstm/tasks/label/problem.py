"""Sequences and texts with labels as an `optlstm.training.loop.Problem`; what the labels are, their target says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from optlstm.data.labels import Fold
from optlstm.data.scaling import Standardizer
from optlstm.data.vocabulary import UNKNOWN
from optlstm.tasks.label.chunks import TRAINED, Chunks
from optlstm.tasks.label.data import LabelledData
from optlstm.tasks.plot_data import Forecasts, PlotData, Strip
from optlstm.training.classifier import SequenceClassifier, SequenceLabeller, TextClassifier
from optlstm.training.factory import Factory, Shape
from optlstm.training.folds import FoldedProblem
from optlstm.training.hparams import Hyperparameters
from optlstm.training.loop import Problem
from optlstm.training.metric import DEFAULT_GOAL, Goal
from optlstm.util.arrays import Floats, Integers

_EVALUATION_BATCH = 512  # sequences; the result does not depend on a trial's batch_size
_LEAST_STEPS = 32  # of an epoch: it passes through a small set several times, or its value would be mostly chance
_POOL = 32  # batches that are filled together, by length
_EVALUATION_CHUNKS = 32
_STRIPS, _STRIP_STEPS = 3, 1000  # sequences of which a report shows the steps, and how many of each


def make_problem(
    data: LabelledData, device: torch.device, factory: Factory | None = None, goal: Goal = DEFAULT_GOAL
) -> Problem:
    """One problem, or those of a cross-validation as one. goal: its loss; every metric is computed."""
    problems = [fold_problem(data, fold, device, factory, goal) for fold in data.folds]
    return problems[0] if len(problems) == 1 else FoldedLabels(problems)


def fold_problem(
    data: LabelledData, fold: Fold, device: torch.device, factory: Factory | None = None, goal: Goal | None = None
) -> LabelProblem:
    """The problem of one fold. Arguments as of `LabelProblem`."""
    return (StepProblem if data.per_step else LabelProblem)(data, fold, device, factory, goal)


def make_network(hp: Hyperparameters, shape: Shape) -> SequenceClassifier | SequenceLabeller | TextClassifier:
    """A new network on the CPU."""
    if "per_step" in shape.inputs:
        return SequenceLabeller(hp, channels=shape.inputs["channels"], outputs=shape.outputs)
    if "vocabulary" in shape.inputs:
        return TextClassifier(hp, vocabulary=shape.inputs["vocabulary"], classes=shape.outputs)
    return SequenceClassifier(hp, channels=shape.inputs["channels"], classes=shape.outputs)


class FoldedLabels(FoldedProblem["LabelProblem"]):
    """A cross-validation's folds as one problem."""

    def plot_data(self, network: nn.Module, hp: Hyperparameters) -> PlotData:
        """Every sequence outside the test, predicted by the network that was not trained on it."""
        first = self.problems[0]
        outputs = [
            problem.outputs(self.member(network, i), problem.fold.validation, hp)
            for i, problem in enumerate(self.problems)
        ]
        held_out = np.concatenate([problem.fold.validation for problem in self.problems])
        return first.plot_data_of(np.concatenate(outputs), held_out)


class Spans(NamedTuple):
    """The rows of every sample. even: whether all have as many."""

    first: Tensor  # [n]
    lengths: Tensor  # [n]
    even: bool


class LabelProblem:
    """One fold of sequences or texts with labels."""

    def __init__(
        self,
        data: LabelledData,
        fold: Fold,
        device: torch.device,
        factory: Factory | None = None,
        goal: Goal | None = None,
    ) -> None:
        """Copies the values to `device`.

        Args:
            factory: of custom networks.
            goal: of the training; None: the data's target is as it was trained.
        """
        self.data, self.fold, self.device, self._factory, self._goal = data, fold, device, factory, goal or DEFAULT_GOAL
        target, known = data.target if goal is None else data.target.trained_for(goal), data.truth_of(fold.train)
        self.target = target.fitted(known) if len(data.folds) > 1 else target
        self._loss = self.target.loss(known, device) if len(known) else None
        values = data.values
        if data.vocabulary:
            values = _known(data, fold)[values]
        elif len(data.folds) > 1:
            values = _rescaled(data, fold)
        self._values = torch.tensor(np.asarray(values), device=device)  # [rows, channels] or [rows]
        self._chunks = Chunks.of(data.starts, True, TRAINED, 0) if data.per_step else None
        self._spans: dict[int, Spans] = {}  # by window
        if data.ends is None:
            self.spans(Hyperparameters())
        self._truth = torch.tensor(data.truth, device=device)  # [n]; of steps [rows]
        self._train = torch.tensor(fold.train if self._chunks is None else self._chunks.of_records(fold.train))

    def network(self, hp: Hyperparameters) -> nn.Module:
        """A new network on the CPU."""
        shape = replace(self.data.shape(hp), outputs=self.target.outputs)
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
            spans = self.spans(hp)
            if not spans.even:
                batches = []
                for pool in torch.split(order, hp.batch_size * _POOL):
                    by_length = torch.argsort(spans.lengths[pool.to(self.device)].cpu(), stable=True)
                    batches += torch.split(pool[by_length], hp.batch_size)
                batches = [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
            for index in batches:
                index = index.to(self.device)
                yield (*self._batch(index, spans), self._labels(index, spans), smoothing)

    def loss(self, network: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """That of the target."""
        assert self._loss is not None
        x, lengths, truth, smoothing = batch
        return self._loss(network(x, self._given(x, lengths)), truth, float(smoothing))

    def validate(self, network: nn.Module, hp: Hyperparameters) -> dict[str, float]:
        """The target's metrics of the fold's validation sequences: those that cost nothing, and those of the goal."""
        held_out = self.fold.validation
        return self.target.goal_scores(self.outputs(network, held_out, hp), self.data.truth_of(held_out), self._goal)

    def plot_data(self, network: nn.Module, hp: Hyperparameters) -> PlotData:
        """Labels and predictions of the fold's validation sequences."""
        held_out = self.fold.validation
        return self.plot_data_of(self.outputs(network, held_out, hp), held_out)

    def plot_data_of(self, output: Floats, sequences: Integers) -> PlotData:
        """Labels and predictions of sequences. output: as of `outputs`."""
        return self.target.plot_data(output, self.data.truth_of(sequences))

    def inputs(self, samples: Integers, hp: Hyperparameters) -> tuple[Tensor, Tensor | None]:
        """Samples as a network takes them: see `_batch`; their lengths, None where all are of one."""
        x, lengths = self._batch(torch.tensor(samples, device=self.device), self.spans(hp))
        return x, self._given(x, lengths)

    def outputs(self, network: nn.Module, samples: Integers, hp: Hyperparameters) -> Floats:
        """[n, width], in the order of `samples`; those of like length are computed together."""
        index, spans = torch.tensor(samples), self.spans(hp)
        order = torch.argsort(spans.lengths[index.to(self.device)].cpu(), stable=True)
        out = torch.empty(len(index), self.target.width, dtype=torch.float64)
        for part in torch.split(order, _EVALUATION_BATCH):
            x, lengths = self._batch(index[part].to(self.device), spans)
            out[part] = self.target.output(network(x, self._given(x, lengths))).cpu()
        return out.numpy()

    def _given(self, x: Tensor, lengths: Tensor) -> Tensor | None:
        """None where all are of one length, sequences those of all the data: networks need it only for others."""
        even = self._spans[0].even if self.data.ends is None else bool((lengths == x.shape[1]).all())
        return None if even else lengths

    def spans(self, hp: Hyperparameters) -> Spans:
        """The rows of every sample."""
        key = 0 if self.data.ends is None else hp.window
        if key not in self._spans:
            ends = self.data.spans(hp.window) if self._chunks is None else (self._chunks.first, self._chunks.lengths)
            first, lengths = (torch.tensor(part, device=self.device) for part in ends)
            self._spans[key] = Spans(first, lengths, even=bool((lengths == lengths[0]).all()))
        return self._spans[key]

    def _batch(self, index: Tensor, spans: Spans) -> tuple[Tensor, Tensor]:
        """(values [batch, steps, channels] or tokens [batch, steps], 0 behind each end; lengths [batch])."""
        lengths = spans.lengths[index]
        rows, inside = self._rows(spans.first[index], lengths)
        x = self._values[rows]
        return x * (inside if x.ndim == 2 else inside[:, :, None]), lengths

    def _rows(self, first: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(the row of each step, whether it is one of the `lengths` from the first on), [batch, steps] each."""
        steps = torch.arange(int(lengths.max()), device=self.device)
        return (first[:, None] + steps).clamp(max=len(self._values) - 1), steps < lengths[:, None]

    def _labels(self, index: Tensor, spans: Spans) -> Tensor:
        """Of the samples of a batch."""
        return self._truth[index]


class StepProblem(LabelProblem):
    """One fold of sequences with a label for every step. They are read in chunks; padding counts nowhere."""

    def _labels(self, index: Tensor, spans: Spans) -> Tensor:
        """[batch, steps]; behind a chunk's end they mean nothing."""
        return self._truth[self._rows(spans.first[index], spans.lengths[index])[0]]

    def loss(self, network: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """That of the target, over all steps of the batch."""
        assert self._loss is not None
        x, lengths, truth, smoothing = batch
        inside = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        return self._loss(network(x, self._given(x, lengths))[inside], truth[inside], float(smoothing))

    def outputs(self, network: nn.Module, samples: Integers, hp: Hyperparameters) -> Floats:
        """[steps, width] of the sequences, one after the other: of each chunk what `Chunks` keeps."""
        data = self.data
        chunks = Chunks.of(data.starts, data.causal)
        wanted = chunks.of_records(samples)
        wanted = wanted[np.argsort(chunks.lengths[wanted], kind="stable")]
        out = np.empty((len(self._values), self.target.width))
        for part in np.split(wanted, range(_EVALUATION_CHUNKS, len(wanted), _EVALUATION_CHUNKS)):
            first, lengths = (torch.tensor(ends[part], device=self.device) for ends in (chunks.first, chunks.lengths))
            rows, inside = self._rows(first, lengths)
            x = self._values[rows] * inside[:, :, None]
            begin, end = (torch.tensor(ends[part], device=self.device)[:, None] for ends in (chunks.begin, chunks.end))
            steps = torch.arange(x.shape[1], device=self.device)
            kept = (begin <= steps) & (steps < end)  # [batch, steps]
            raw = network(x, None if bool(inside.all()) else lengths)[kept]
            out[rows[kept].cpu().numpy()] = self.target.output(raw).cpu().numpy()
        return out[self.data.labels_of(samples)]

    def plot_data_of(self, output: Floats, sequences: Integers) -> PlotData:
        """Also the labels of the first sequences, step by step."""
        shown, at = super().plot_data_of(output, sequences), 0
        strips: list[Strip] = []
        for record in sequences[: _STRIPS if self.data.truth.ndim == 1 else 0].tolist():
            truth = self.data.truth_of(np.array([record]))
            part = output[at : at + len(truth)]
            at += len(truth)
            strips.append(Strip(record, truth[:_STRIP_STEPS], self.target.predicted(part)[:_STRIP_STEPS]))
        assert not isinstance(shown, Forecasts)
        return replace(shown, strips=tuple(strips))


def _known(data: LabelledData, fold: Fold) -> Integers:
    """Every token's number, or that of unknown ones where the fold's training texts have it too rarely."""
    numbers = np.arange(data.vocabulary)
    if len(data.folds) > 1:
        counts = np.bincount(data.values[data.rows(fold.train)], minlength=data.vocabulary)
        numbers[counts < data.min_count] = UNKNOWN
    return numbers


def _rescaled(data: LabelledData, fold: Fold) -> npt.NDArray[np.float32]:
    """The values standardised by the fold's training sequences."""
    scaler = Standardizer.fit(data.values[data.rows(fold.train)].astype(np.float64), "a channel")
    return scaler.transform(data.values.astype(np.float64)).astype(np.float32)
