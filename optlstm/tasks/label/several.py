"""Several labels of each sample: each 0 or 1, or a number; one network has an output for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from optlstm.data.labels import check_parts, label_columns, label_numbers, label_parts
from optlstm.errors import InputError
from optlstm.tasks.base import CardPart, Positive, Text
from optlstm.tasks.label.target import LabelColumn, Loss, Target, Truth, ridge
from optlstm.tasks.plot_data import Confusion, Regression
from optlstm.training.metric import Metric
from optlstm.util.arrays import Floats, Integers
from optlstm.util.format import many, quoted

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from optlstm.data.labels import LabelledSplit
    from optlstm.tasks.options import DataConfig

_LEAST = 1e-15  # a probability of 0 for the true class would be an infinite loss
_YES = 0.5  # a label is 1 from this probability on
_OF_BINARY = ("accuracy", "macro_f1", "micro_f1", "average_precision")
_OF_NUMBERS = ("rmse", "r2")
_TRUE = {"true": "1", "false": "0"}


class OneLabel(CardPart):
    """One of several labels. binary: it is 0 or 1; otherwise networks learn (label - mean) / std."""

    name: Text
    binary: bool
    mean: float = 0.0
    std: Positive = 1.0


class Several(Target):
    """truth [n, labels], output [n, labels]: a probability where a label is 0 or 1, else a number in its units."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("loss", "mean over the labels: log loss, or squared error on the standardised scale"),
        Metric("accuracy", higher=True),
        Metric("macro_f1", higher=True),
        Metric("micro_f1", higher=True),
        Metric("average_precision", higher=True),
        Metric("rmse", "mean over the labels, standardised scale"),
        Metric("r2", higher=True),
    )
    losses: ClassVar[Mapping[str, str]] = {"joint": "loss"}
    compared: ClassVar[tuple[str, ...]] = ("loss", "macro_f1", "rmse")
    of_probabilities: ClassVar[tuple[str, ...]] = ("loss", "average_precision")
    output_name: ClassVar[str] = "labels"
    unused: ClassVar[tuple[str, ...]] = ("label_smoothing",)

    kind: Literal["several"] = "several"
    each: Annotated[tuple[OneLabel, ...], Field(min_length=2, strict=False)]

    @classmethod
    def read(cls, labels: Sequence[str], column: LabelColumn, options: DataConfig) -> Self:
        """Raises InputError where a label is no number, or always the same, or an option is of one label."""
        of_one = {
            "kind": options.kind != "auto",
            "class_weights": options.class_weights,
            "cap": options.cap is not None,
        }
        if given := [f"data.{key}: is for one label; leave it out" for key, is_set in of_one.items() if is_set]:
            raise InputError(given)
        names = label_columns(column.name)
        table = _numbers(labels, column, names)
        problems = [
            f"data: column {quoted(name)} of {column.file} holds only one value ({values[0]:g}); "
            "there is nothing to learn"
            for name, values in zip(names, table.T, strict=True)
            if len(np.unique(values)) < 2
        ]
        if problems:
            raise InputError(problems)
        binary = [bool(np.isin(values, (0, 1)).all()) for values in table.T]
        return cls(each=tuple(OneLabel(name=n, binary=b) for n, b in zip(names, binary, strict=True)))

    def truth(self, labels: Sequence[str], column: LabelColumn) -> Floats:
        """Raises InputError for labels that are no numbers, or neither 0 nor 1 where those of training are."""
        table = _numbers(labels, column, [label.name for label in self.each])
        for label, values in zip(self.each, table.T, strict=True):
            if label.binary and (wrong := values[~np.isin(values, (0, 1))]).size:
                name = quoted(label.name)
                raise InputError(
                    f"data: column {name} of {column.file} holds {wrong[0]:g}, and 0 or 1 in the training file"
                )
        return table

    def strata(self, truth: Truth) -> Integers:
        """None are alike: the combinations of several labels are too many."""
        return np.zeros(len(truth), dtype=np.int64)

    def check_split(
        self, truth: Truth, split: LabelledSplit, column: LabelColumn, group: str | None, *, tested: bool, noun: str
    ) -> None:
        """Raises InputError also where a label is always the same among the training samples of a fold."""
        check_parts(split, group, tested=tested, noun=noun)
        for i, label in enumerate(self.each):
            if any(len(np.unique(truth[fold.train, i])) < 2 for fold in split.folds):
                what = f"column {quoted(label.name)} of {column.file} holds only one value"
                raise InputError(f"data: {what} among the training samples")

    def fitted(self, known: Truth) -> Self:
        scales = zip(self.each, known.mean(axis=0).tolist(), known.std(axis=0).tolist(), strict=True)
        each = (o if o.binary else o.model_copy(update={"mean": mean, "std": std}) for o, mean, std in scales)
        return self.model_copy(update={"each": tuple(each)})

    def describe(self) -> str:
        binary = int(self._binary.sum())
        parts = [f"{many(binary, 'label')} of 0 or 1"] * (binary > 0)
        parts += [many(len(self.each) - binary, "number")] * (binary < len(self.each))
        return " and ".join(parts)

    def record(self) -> dict[str, Any]:
        kinds = {label.name: "0 or 1" if label.binary else "number" for label in self.each}
        return {"kind": self.kind, "labels": kinds}

    def undefined_on(self, parts: Sequence[Truth]) -> dict[str, str]:
        """Metrics of labels that there are none of; those of ranks, where a label is the same for all of a part."""
        reasons = {} if self._binary.any() else dict.fromkeys(_OF_BINARY, "no label is 0 or 1")
        reasons |= dict.fromkeys(_OF_NUMBERS, "no label is a number") if self._binary.all() else {}
        if "average_precision" not in reasons and any(not part[:, self._binary].any(axis=0).all() for part in parts):
            reasons["average_precision"] = "a label is 0 for all validation samples"
        return reasons

    @property
    def outputs(self) -> int:
        return len(self.each)

    @property
    def width(self) -> int:
        return len(self.each)

    @property
    def _binary(self) -> Any:
        return np.array([label.binary for label in self.each])

    def _scale(self) -> tuple[Floats, Floats]:
        """Mean and deviation of each label, 0 and 1 where it is 0 or 1."""
        return np.array([label.mean for label in self.each]), np.array([label.std for label in self.each])

    def loss(self, known: Truth, device: torch.device) -> Loss:
        """The mean over the labels: cross-entropy, or the squared error on the standardised scale."""
        import torch
        from torch.nn import functional as F

        binary = torch.tensor(self._binary, device=device)
        mean, std = (torch.tensor(values, device=device) for values in self._scale())

        def loss(raw: Tensor, truth: Tensor, smoothing: float) -> Tensor:
            target = ((truth - mean) / std).float()
            entropy = F.binary_cross_entropy_with_logits(raw, truth.float().clamp(0, 1), reduction="none")
            return torch.where(binary, entropy, (raw - target).square()).mean()

        return loss

    def output(self, raw: Tensor) -> Tensor:
        import torch

        raw = raw.double()
        mean, std = (torch.tensor(values, device=raw.device) for values in self._scale())
        return torch.where(torch.tensor(self._binary, device=raw.device), raw.sigmoid(), raw * std + mean)

    def scores(self, output: Floats, truth: Truth, more: Sequence[str] = ()) -> dict[str, float]:
        """F1 as scikit-learn's, 0 of a label that is neither there nor predicted; micro: over all labels together."""
        binary, std = self._binary, self._scale()[1]
        p, is_true = output[:, binary], truth[:, binary] == 1
        of_true = np.maximum(np.where(is_true, p, 1 - p), _LEAST)
        errors = ((output - truth) / std)[:, ~binary]
        squared = np.square(errors).mean(axis=0)
        scores = {"loss": float(np.concatenate([-np.log(of_true).mean(axis=0), squared]).mean())}
        if binary.any():
            positive = p >= _YES
            hits, total = (positive & is_true).sum(axis=0), positive.sum(axis=0) + is_true.sum(axis=0)
            scores["accuracy"] = float((positive == is_true).mean())
            scores["macro_f1"] = float((2 * hits / np.maximum(total, 1)).mean())
            scores["micro_f1"] = float(2 * hits.sum() / max(total.sum(), 1))
            if "average_precision" in more:
                scores["average_precision"] = _average_precision(p, is_true)
        if not binary.all():
            spread = (truth[:, ~binary] / std[~binary]).var(axis=0)
            scores["rmse"] = float(np.sqrt(squared).mean())
            scores["r2"] = float(np.where(spread > 0, 1 - squared / np.where(spread > 0, spread, 1), 0.0).mean())
        return scores

    def predicted(self, output: Floats) -> Floats:
        return np.where(self._binary, output >= _YES, output)

    def plot_data(self, output: Floats, truth: Truth) -> Confusion | Regression:
        """Of labels of 0 or 1 a table of each beside the others; of numbers alone all on the standardised scale."""
        binary, (mean, std) = self._binary, self._scale()
        if not binary.any():
            return Regression(((truth - mean) / std).ravel(), ((output - mean) / std).ravel())
        predicted, names = self.predicted(output), [label.name for label in self.each if label.binary]
        counts = np.zeros((2 * len(names), 2 * len(names)), dtype=np.int64)
        for k, i in enumerate(np.flatnonzero(binary)):
            np.add.at(counts, (2 * k + truth[:, i].astype(int), 2 * k + predicted[:, i].astype(int)), 1)
        return Confusion(tuple(f"{name}: {value}" for name in names for value in ("0", "1")), counts)

    def guesses(self, known: Truth) -> dict[str, Floats]:
        """Each label's share of ones, or mean."""
        return {"label_means": known.mean(axis=0)}

    def as_output(self, truth: Truth) -> Floats:
        return truth

    def linear(self, x: Any, known: Truth, wanted: Any) -> Floats:
        """For each label by itself: logistic regression (C = 1), or ridge regression (scikit-learn's)."""
        from sklearn.linear_model import LogisticRegression

        columns = []
        for label, values in zip(self.each, known.T, strict=True):
            if label.binary:
                model = LogisticRegression(max_iter=1000).fit(x, values == 1)
                columns.append(model.predict_proba(wanted)[:, 1])
            else:
                columns.append(ridge(x, values, wanted))
        return np.stack(columns, axis=1)

    def columns(self, output: Floats) -> dict[str, Any]:
        """Each label's prediction under its name; behind them `p_LABEL`, the probability of a 1."""
        predicted = self.predicted(output).T
        values = {o.name: p.astype(int) if o.binary else p for o, p in zip(self.each, predicted, strict=True)}
        return values | {f"p_{o.name}": output[:, i] for i, o in enumerate(self.each) if o.binary}


def _numbers(labels: Sequence[str], column: LabelColumn, names: Sequence[str]) -> Floats:
    """[n, labels]. Raises InputError with every column that holds something else than numbers."""
    cells, problems, columns = zip(*(label_parts(label) for label in labels), strict=True), list[str](), []
    for name, texts in zip(names, cells, strict=True):
        try:
            columns.append(label_numbers([_TRUE.get(text.lower(), text) for text in texts], column.file, name))
        except InputError as error:
            remedy = "of several labels each is 0 or 1, or a number"
            problems += [problem.rpartition("; ")[0] + f"; {remedy}" for problem in map(str, error.problems)]
    if problems:
        raise InputError(problems)
    return np.stack(columns, axis=1)


def _average_precision(p: Floats, is_true: Any) -> float:
    """The mean over the labels (scikit-learn's); NaN where one is 0 for all."""
    from sklearn.metrics import average_precision_score

    if not is_true.any(axis=0).all():
        return float("nan")
    return float(np.mean([average_precision_score(is_true[:, i], p[:, i]) for i in range(p.shape[1])]))
