"""What labels are (classes, numbers): how they are read, learned, scored and predicted. A kind is one file.

`truth` is [n], a label of each sample; `output` is [n, width], what is predicted for it: the probabilities of classes,
a number. The outputs of several networks are averaged. Torch is imported where a network is trained.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from optlstm.errors import InputError
from optlstm.tasks.base import CardPart, Metrics
from optlstm.tasks.plot_data import PlotData
from optlstm.training.metric import DEFAULT_GOAL, Goal, Metric
from optlstm.util.arrays import Floats, Integers

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from optlstm.data.labels import LabelledSplit
    from optlstm.tasks.options import DataConfig

Truth = npt.NDArray[Any]
Loss = Callable[["Tensor", "Tensor", float], "Tensor"]  # (raw [batch, outputs], truth [batch], label_smoothing) -> []


class LabelColumn(NamedTuple):
    """Where labels were read: the names of the file and of its column."""

    file: str
    name: str


class Target(CardPart, ABC):
    """The labels of a task. Its fields stand in a model's card."""

    kind: str
    metrics: ClassVar[tuple[Metric, ...]]  # as of `Task`
    losses: ClassVar[Mapping[str, str]]  # as of `Task`
    compared: ClassVar[tuple[str, ...]]  # metrics in which the model is held against the baselines
    of_probabilities: ClassVar[tuple[str, ...]] = ()  # metrics that a baseline without probabilities does not have
    output_name: ClassVar[str]  # of an exported model
    on_demand: ClassVar[tuple[str, ...]] = ()  # metrics that a test shows only where they decide
    on_features: ClassVar[bool] = False  # whether sequences have linear baselines on their features
    looks_back: ClassVar[bool] = False  # whether `held_out` makes something of the validation samples
    unused: ClassVar[tuple[str, ...]] = ()  # hyperparameters that these labels have no use for

    @classmethod
    @abstractmethod
    def read(cls, labels: Sequence[str], column: LabelColumn, options: DataConfig) -> Self:
        """That of the labels of a training file. Raises InputError where there is nothing to learn."""

    @abstractmethod
    def truth(self, labels: Sequence[str], column: LabelColumn) -> Truth:
        """Labels as the networks learn them, [n]. Raises InputError for those that no model can learn."""

    @abstractmethod
    def strata(self, truth: Truth) -> Integers:
        """A number for each sample [n]: every part of a split has its share of those with the same one."""

    @abstractmethod
    def check_split(
        self, truth: Truth, split: LabelledSplit, column: LabelColumn, group: str | None, *, tested: bool, noun: str
    ) -> None:
        """Raises InputError where a part has too little to learn from, to validate or (`tested`) to test on, and why.

        truth: of the training file. group: the column of the groups. noun: of the samples.
        """

    def fitted(self, known: Truth) -> Self:
        """With the scale of these training labels."""
        return self

    def notes(self, truth: Truth, folded: bool, noun: str) -> tuple[str, ...]:
        """What looks odd in the labels of the training file, a line each.

        folded: whether a cross-validation is the default, as there are few samples. noun: of the samples.
        """
        return ()

    def split_notes(self, truth: Truth, split: LabelledSplit, noun: str) -> tuple[str, ...]:
        """What the test and the validation samples lack, a line each. truth: of all samples. noun: as of `notes`."""
        return ()

    @abstractmethod
    def describe(self) -> str:
        """In a few words, as `2 classes`."""

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """What of the labels determines the trials."""

    def trained_for(self, goal: Goal) -> Self:
        """As a training with this goal learns it."""
        return self

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Numbers that a network gives for a sample."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Numbers of an output."""

    @abstractmethod
    def loss(self, known: Truth, device: torch.device) -> Loss:
        """What training minimises. known: the labels of the training samples."""

    @abstractmethod
    def output(self, raw: Tensor) -> Tensor:
        """What a network's numbers [n, outputs] predict: float64 [n, width]."""

    @abstractmethod
    def scores(self, output: Floats, truth: Truth, more: Sequence[str] = ()) -> dict[str, float]:
        """The metrics by name: those that cost nothing, and those of `more`; NaN where these samples do not define it.

        output: of networks, or what `final` makes of it.
        """

    def goal_scores(self, output: Floats, truth: Truth, goal: Goal) -> dict[str, float]:
        """The metrics of validation samples: those that cost nothing, and those of the goal."""
        return {**self.scores(output, truth, goal.metrics), **goal.custom(truth, self.prediction(output))}

    def prediction(self, output: Floats) -> Floats:
        """What a custom metric is given."""
        return output

    def all_scores(self, output: Floats, truth: Truth, goal: Goal = DEFAULT_GOAL) -> Metrics:
        """The metrics of a test; None where these samples do not define it."""
        names = [metric.name for metric in self.metrics if metric.name not in self.on_demand]
        scores = self.scores(output, truth, [*names, *goal.metrics]) | goal.custom(truth, self.prediction(output))
        return {name: None if math.isnan(value) else value for name, value in scores.items()}

    def undefined_on(self, parts: Sequence[Truth]) -> dict[str, str]:
        """Metrics that have no value on the validation samples of some fold, and why."""
        return {}

    def checked(self, goal: Goal) -> Goal:
        """The goal, for `held_out`. Raises InputError where these labels cannot have such a threshold."""
        if goal.threshold is not None:
            raise InputError(f"--threshold: is for two classes, and the study has {self.describe()}; leave it out")
        return goal

    def held_out(self, output: Floats, truth: Truth, goal: Goal, owners: Integers) -> Self:
        """With what outputs for the validation samples, by networks that have not seen them, say of a model."""
        return self

    def final(self, output: Floats) -> Floats:
        """The model's output, of the mean of its networks' outputs [n, width]."""
        return output

    def final_tensor(self, output: Tensor) -> Tensor:
        """`final`, of tensors."""
        return output

    def lines(self) -> list[str]:
        """What `held_out` added, for who reads it."""
        return []

    @abstractmethod
    def predicted(self, output: Floats) -> Truth:
        """What an output [n, width] predicts, as labels [n]."""

    @abstractmethod
    def plot_data(self, output: Floats, truth: Truth) -> PlotData:
        """What a report shows of predictions for validation samples."""

    @abstractmethod
    def guesses(self, known: Truth) -> dict[str, Floats]:
        """Baselines that know the training labels alone: by name, an output [width], the same for every sample."""

    @abstractmethod
    def as_output(self, truth: Truth) -> Floats:
        """The output [n, width] that is sure of these labels."""

    @abstractmethod
    def linear(self, x: Any, known: Truth, wanted: Any) -> Floats:
        """The outputs of a linear model that learns from features x [n, features] and labels, for others."""

    @abstractmethod
    def columns(self, output: Floats) -> dict[str, Any]:
        """The columns of a table of predictions."""

    def sure_scores(self, predicted: Truth, truth: Truth, goal: Goal = DEFAULT_GOAL) -> Metrics:
        """The metrics of predictions without probabilities."""
        return {**self.all_scores(self.as_output(predicted), truth, goal), **dict.fromkeys(self.of_probabilities)}

    def lower_is_better(self, goal: Goal) -> dict[str, bool]:
        """By metric, of those in which the model is held against the baselines."""
        decides = [name for name in goal.metrics if goal.function or name in {metric.name for metric in self.metrics}]
        higher = {metric.name for metric in self.metrics if metric.higher}
        return {name: name not in higher for name in (*self.compared, *decides)}


def ridge(x: Any, known: Truth, wanted: Any) -> Floats:
    """Numbers by ridge regression, its strength by leave-one-out errors on the training samples (scikit-learn's).

    Args:
        x: features of the training samples [n, features]. known: their numbers [n]. wanted: features of others.
    """
    from sklearn.linear_model import RidgeCV

    return np.asarray(RidgeCV(alphas=np.logspace(-3, 4, 15)).fit(x, known).predict(wanted))
