"""The kinds of labels by name, and which of them the labels of a file are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optlstm.data.labels import (
    FEW_NUMBERS,
    LabelledSamples,
    are_meant_as_numbers,
    are_measured,
    are_numbers,
    as_numbers,
    label_parts,
)
from optlstm.tasks.label.classes import Classes
from optlstm.tasks.label.number import Number
from optlstm.tasks.label.several import Several
from optlstm.tasks.label.target import LabelColumn, Target
from optlstm.tasks.options import DataConfig
from optlstm.util.format import quoted

# The first: of studies that do not say.
KINDS: dict[str, type[Target]] = {"classes": Classes, "number": Number, "several": Several}
_GRADES = 5  # different numbers that may be marks, whose order a class does not know
_SAMPLES = 10  # of a class at least, on average, where more whole numbers than that are classes


def read_target(samples: LabelledSamples, column: LabelColumn, options: DataConfig) -> tuple[Target, tuple[str, ...]]:
    """The target that `data.kind` asks for, or that the labels of a training file stand for; and why, in a line.

    Raises:
        InputError: There is nothing to learn from these labels.
    """
    labels = samples.all_labels
    if len(label_parts(labels[0])) > 1:
        return Several.read(labels, column, options), ()
    if options.kind != "auto":
        return KINDS[options.kind].read(labels, column, options), ()
    reason = _number_reason(labels, samples.of_steps)
    if not reason:
        classes = Classes.read(labels, column, options)
        if len(classes.names) < _GRADES:
            return classes, ()
        if not are_numbers(classes.names):
            return classes, _like_numbers(classes.names)
        taken = f"the labels are {len(classes.names)} different numbers, taken for classes"
        return classes, (f"data: {taken}; to learn a number: --set data.kind=number",)
    target = Number.read(labels, column, options)
    return target, (f"data: {reason}, so a number is learned; to learn classes: --set data.kind=classes",)


def _like_numbers(names: Sequence[str]) -> tuple[str, ...]:
    """A line where most classes have names that may stand for numbers, such as `$10` and `3 stars`."""
    remedy = as_numbers(names)
    return (f"data: the labels are {len(names)} classes such as {quoted(names[0])}; {remedy}",) if remedy else ()


def _number_reason(labels: Sequence[str], of_steps: bool) -> str:
    """Why labels are numbers that are learned as such; empty where they are classes."""
    names = tuple(set(labels))
    numbers, differ = [name for name in names if are_numbers([name])], len(names) > len(labels) / 2
    if len(numbers) < len(names) and not (differ and are_meant_as_numbers(names)):
        return ""
    many = len(names) > FEW_NUMBERS and (of_steps or are_measured(names) or len(names) * _SAMPLES > len(labels))
    return f"the {len(labels):,} labels are {len(numbers):,} different numbers" if differ or many else ""


def undefined(target: Target) -> Mapping[str, str]:
    """Losses and metrics of other kinds of labels, and why these labels do not have them."""
    named = {*target.losses, *(metric.name for metric in target.metrics)}
    reasons: dict[str, str] = {}
    for kind, other in KINDS.items():
        having = "several labels have" if kind == "several" else f"data.kind={kind} has"
        why = f"the labels are {target.describe()}" + (f"; {having} it" if target.kind != "several" else "")
        names = [*other.losses, *(metric.name for metric in other.metrics)]
        reasons |= {name: why for name in names if name not in named and name not in reasons}
    return reasons
