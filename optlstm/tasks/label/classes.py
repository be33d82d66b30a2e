"""Labels that are classes: cross-entropy, and the probability of every class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from optlstm.data.labels import are_measured, check_classes, check_split, check_test_classes, parts_lacking
from optlstm.errors import InputError
from optlstm.tasks.base import Text
from optlstm.tasks.label.calibrate import Temperature, Threshold, choose_threshold, fit_temperature, tempered
from optlstm.tasks.label.scores import (
    METRICS,
    OF_DECISIONS,
    OF_PROBABILITIES,
    OF_RANKS,
    classification_scores,
    confusion_counts,
    decided,
)
from optlstm.tasks.label.target import LabelColumn, Loss, Target, Truth
from optlstm.tasks.plot_data import Confusion
from optlstm.training.metric import Goal, Metric
from optlstm.util.arrays import Floats, Integers
from optlstm.util.format import first_few, quoted

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from optlstm.data.labels import LabelledSplit
    from optlstm.tasks.options import DataConfig


class Classes(Target):
    """truth: the number of each sample's class, int64.

    Args:
        weights: of each class in the loss; True: the same in all; False: by their samples.
        loss_name: the loss that is minimised.
        temperature, threshold: what the validation samples added.
    """

    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    losses: ClassVar[Mapping[str, str]] = {"cross_entropy": "log_loss", "focal": "log_loss"}
    compared: ClassVar[tuple[str, ...]] = ("accuracy", "log_loss")
    of_probabilities: ClassVar[tuple[str, ...]] = OF_PROBABILITIES
    output_name: ClassVar[str] = "probabilities"
    looks_back: ClassVar[bool] = True

    kind: Literal["classes"] = "classes"
    names: Annotated[tuple[Text, ...], Field(min_length=2, strict=False)]
    weights: bool | tuple[float, ...] = False
    loss_name: str = "cross_entropy"
    temperature: Temperature | None = None
    threshold: Threshold | None = None

    @model_validator(mode="after")
    def _a_threshold_is_of_two_classes(self) -> Self:
        if self.threshold is not None and len(self.names) != 2:
            raise ValueError("a threshold is of two classes")
        return self

    @classmethod
    def read(cls, labels: Sequence[str], column: LabelColumn, options: DataConfig) -> Self:
        """Raises InputError where there is only one class."""
        names, given = check_classes(labels, *column), options.class_weights
        if options.cap is not None:
            raise InputError(f"data.cap: is for numbers, and the labels are {len(names)} classes; leave it out")
        if not isinstance(given, Mapping):
            return cls(names=names, weights=bool(given))
        if unknown := sorted(set(given) - set(names)):
            known, named = first_few([quoted(name) for name in names]), first_few([quoted(name) for name in unknown])
            raise InputError(f"data.class_weights: {named} is no class of {column.file} (classes: {known})")
        return cls(names=names, weights=tuple(given.get(name, 1.0) for name in names))

    def truth(self, labels: Sequence[str], column: LabelColumn) -> Integers:
        """Raises InputError for a class that is not in the training file."""
        check_test_classes(self.names, labels, column.file)
        numbers = {name: i for i, name in enumerate(self.names)}
        return np.array([numbers[label] for label in labels], dtype=np.int64)

    def strata(self, truth: Truth) -> Integers:
        """The classes."""
        return truth

    def check_split(
        self, truth: Truth, split: LabelledSplit, column: LabelColumn, group: str | None, *, tested: bool, noun: str
    ) -> None:
        """Raises InputError also where a fold has no training sample of a class."""
        check_split(truth, self.names, split, group, tested=tested, noun=noun)

    def notes(self, truth: Truth, folded: bool, noun: str) -> tuple[str, ...]:
        """Lines where labels are measured numbers, and where classes of one sample prevent a cross-validation."""
        notes = []
        if are_measured(self.names):
            notes.append(
                f"data: the labels are {len(self.names)} numbers; each is a class, whichever numbers are near it"
            )
        single = np.flatnonzero(np.bincount(truth) == 1)
        if folded and len(single):
            named = first_few([quoted(self.names[i]) for i in single.tolist()])
            have = f"{len(single)} class(es) have a single {noun.removesuffix('s')} ({named})"
            notes.append(f"data: {have}, so there is no cross-validation; leave such rows out, or set data.folds")
        return tuple(notes)

    def split_notes(self, truth: Truth, split: LabelledSplit, noun: str) -> tuple[str, ...]:
        """Lines on classes that are not among them."""
        return parts_lacking(truth, self.names, split, noun)

    def describe(self) -> str:
        return f"{len(self.names)} classes"

    def record(self) -> dict[str, Any]:
        weights = self.weights
        shown = dict(zip(self.names, weights, strict=True)) if isinstance(weights, tuple) else weights
        return {"classes": list(self.names), "class_weights": shown}

    def trained_for(self, goal: Goal) -> Self:
        return self.model_copy(update={"loss_name": goal.loss or "cross_entropy"})

    @property
    def outputs(self) -> int:
        """A score for each class (logit)."""
        return len(self.names)

    @property
    def width(self) -> int:
        """A probability for each class."""
        return len(self.names)

    def loss(self, known: Truth, device: torch.device) -> Loss:
        """Cross-entropy or the focal loss; with class weights their weighted mean."""
        import torch
        from torch.nn import functional as F

        from optlstm.training.focal import focal_loss

        by_class = self.loss_weights(known)
        weights = None if by_class is None else torch.tensor(by_class, dtype=torch.float32).to(device)
        function = focal_loss if self.loss_name == "focal" else F.cross_entropy

        def loss(raw: Tensor, truth: Tensor, smoothing: float) -> Tensor:
            return function(raw, truth, weight=weights, label_smoothing=smoothing)

        return loss

    def loss_weights(self, known: Truth) -> Sequence[float] | Floats | None:
        """[classes]: those given; or inversely proportional to the classes' shares, their mean over `known` 1."""
        if not self.weights:
            return None
        if isinstance(self.weights, tuple):
            return self.weights
        counts = np.bincount(known, minlength=len(self.names))
        return len(known) / (len(counts) * counts)

    def output(self, raw: Tensor) -> Tensor:
        return raw.double().softmax(dim=1)

    def scores(self, output: Floats, truth: Truth, more: Sequence[str] = ()) -> dict[str, float]:
        return classification_scores(output, truth, more, self._threshold)

    def undefined_on(self, parts: Sequence[Truth]) -> dict[str, str]:
        """Metrics of ranks, where validation samples are all of one class."""
        if all(len(np.unique(part)) > 1 for part in parts):
            return {}
        why = "the validation samples of one fold" if len(parts) > 1 else "all validation samples"
        return dict.fromkeys(OF_RANKS, f"{why} are of one class")

    def checked(self, goal: Goal) -> Goal:
        """With the threshold as a number, where it is no metric."""
        if goal.threshold is None or goal.threshold in OF_DECISIONS or len(self.names) != 2:
            return super().checked(goal) if len(self.names) != 2 else goal
        with suppress(ValueError):
            if 0 < (number := float(goal.threshold)) < 1:
                return replace(goal, threshold=number)
        names = ", ".join(OF_DECISIONS)
        raise InputError(f"--threshold: must be {names} or a number between 0 and 1, got {goal.threshold!r}")

    def held_out(self, output: Floats, truth: Truth, goal: Goal, owners: Integers) -> Self:
        """The temperature and the threshold that suit the validation samples."""
        temperature = fit_temperature(output, truth, owners)
        if temperature is not None:
            output = tempered(output, temperature.value)
        if isinstance(goal.threshold, float):
            threshold: Threshold | None = Threshold(value=goal.threshold)
        else:  # the threshold that was asked for, or that the deciding metric asks for
            metric = goal.threshold or next(iter(goal.metrics), "")
            two = len(self.names) == 2 and metric in OF_DECISIONS
            threshold = choose_threshold(output, truth, metric) if two else None
            if threshold is not None and threshold.after == threshold.before and goal.threshold is None:
                threshold = None  # the likeliest class is as good
        return self.model_copy(update={"temperature": temperature, "threshold": threshold})

    def final(self, output: Floats) -> Floats:
        """Probabilities with the temperature."""
        return output if self.temperature is None else tempered(output, self.temperature.value)

    def final_tensor(self, output: Tensor) -> Tensor:
        return output if self.temperature is None else (output.log() / self.temperature.value).softmax(dim=-1)

    def lines(self) -> list[str]:
        lines = [self.temperature.line()] if self.temperature else []
        return lines + ([self.threshold.line(self.names[1])] if self.threshold else [])

    @property
    def _threshold(self) -> float | None:
        return None if self.threshold is None else self.threshold.value

    def predicted(self, output: Floats) -> Integers:
        return decided(output, self._threshold)

    def plot_data(self, output: Floats, truth: Truth) -> Confusion:
        return Confusion(self.names, confusion_counts(truth, self.predicted(output), len(self.names)))

    def guesses(self, known: Truth) -> dict[str, Floats]:
        """The classes' shares."""
        return {"majority_class": np.bincount(known, minlength=len(self.names)) / len(known)}

    def as_output(self, truth: Truth) -> Floats:
        return np.eye(len(self.names))[truth]

    def linear(self, x: Any, known: Truth, wanted: Any) -> Floats:
        """Logistic regression (scikit-learn's, L2, C = 1)."""
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(max_iter=1000).fit(x, known)
        probabilities = np.zeros((wanted.shape[0], len(self.names)))
        probabilities[:, model.classes_] = model.predict_proba(wanted)
        return probabilities

    def columns(self, output: Floats) -> dict[str, Any]:
        """The class that is predicted, and the probability of every class, `p_CLASS`."""
        predicted = [self.names[i] for i in decided(output, self._threshold)]
        return {"prediction": predicted, **{f"p_{name}": output[:, i] for i, name in enumerate(self.names)}}
