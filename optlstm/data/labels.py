"""Labelled samples, and their split: stratified, groups never cut, the same for the same labels. No pandas."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from optlstm.data.splits import are_counts, split_rows
from optlstm.errors import InputError, Problem
from optlstm.util.arrays import Floats, Integers
from optlstm.util.format import first_few, listed, quoted

BINS = (
    "data.kind=number learns them as numbers; or write classes in their place (low, middle, high: "
    "pandas.qcut(column, 3)), or name another with --label COL"
)
_DECIMAL_COMMAS = "if these are decimal commas, --set data.decimal=,"
_LIKE_A_NUMBER = re.compile(r"[^\w\s]?\s?\d[\d.,]*\s?([^\W\d_]{1,8}|[^\w\s])?")  # with a unit before or behind it
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_BETWEEN = "\x1f"  # between labels of several columns: ASCII's unit separator
FEW_NUMBERS = 20  # different ones that may still be classes: marks, levels, counts
_MOSTLY = 0.9  # of labels that differ: where more are numbers, the others are mistakes, which are named
_SPLIT_SEED = 0  # of the shuffling before the cut: the study's seed is no part of the data


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledSamples:
    """Sequences or texts with their labels; labels are empty and groups None where they were not asked for."""

    name: str  # the file's, without its suffix
    labels: tuple[str, ...]  # [n]
    groups: tuple[str, ...] | None  # [n]
    notes: tuple[str, ...] = ()  # warnings: allowed, but worth knowing

    @property
    def owners(self) -> Integers | None:
        """The sample that each label is of [labels]; None: every sample has one, its own."""
        return None

    @property
    def of_steps(self) -> bool:
        """Whether labels are of the steps of sequences."""
        return False

    @property
    def all_labels(self) -> tuple[str, ...]:
        """Those of samples that were left out, too."""
        return self.labels

    @property
    def fingerprint(self) -> str:
        """sha256 over the samples, their labels and groups: the same for the same samples in any format."""
        raise NotImplementedError

    def joined(self, other: Self, **samples: Any) -> Self:
        """These samples, then the other's."""
        groups = None if self.groups is None or other.groups is None else self.groups + other.groups
        return replace(
            self, labels=self.labels + other.labels, groups=groups, notes=self.notes + other.notes, **samples
        )


@dataclass(frozen=True, eq=False)
class Fold:
    """What one model trains on and what it is validated on: positions of sequences, each [n], in increasing order."""

    train: Integers
    validation: Integers


@dataclass(frozen=True, eq=False)
class LabelledSplit:
    """folds: one, or those of a cross-validation; together their sequences are all but the test's. test: positions."""

    folds: tuple[Fold, ...]
    test: Integers

    def of_samples(self, owners: Integers) -> LabelledSplit:
        """This split of labels as one of samples, none of which is on two sides. owners: as of `LabelledSamples`."""
        folds = (Fold(np.unique(owners[fold.train]), np.unique(owners[fold.validation])) for fold in self.folds)
        return LabelledSplit(tuple(folds), np.unique(owners[self.test]))


def class_names(labels: Sequence[str]) -> tuple[str, ...]:
    """Each label once: whole numbers by size, else by the alphabet."""
    names = set(labels)
    if _are_whole(names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def are_numbers(names: Iterable[str]) -> bool:
    """Whether all labels are finite numbers."""
    return all(_DECIMAL.fullmatch(name) and math.isfinite(float(name)) for name in names)


def are_meant_as_numbers(names: Sequence[str]) -> bool:
    """Whether all labels, or all but a few mistakes, are finite numbers. names: the labels that differ."""
    return sum(are_numbers([name]) for name in names) > _MOSTLY * len(names)


def as_numbers(names: Sequence[str]) -> str:
    """How labels such as `3,5`, `10 kg` and `3 stars` are learned as numbers; empty where they are none."""
    if not all(map(_LIKE_A_NUMBER.fullmatch, names)):
        return ""
    commas = are_numbers([name.replace(",", ".") for name in names])
    return _DECIMAL_COMMAS if commas else "if they stand for numbers, write these without a unit"


def label_numbers(labels: Sequence[str], file: str, column: str) -> Floats:
    """Labels as numbers [n]. Raises InputError for those that are none."""
    wrong = list(dict.fromkeys(label for label in labels if not are_numbers([label])))
    if wrong:
        count, names = sum(label in set(wrong) for label in labels), first_few([quoted(label) for label in wrong])
        commas = all(are_numbers([label.replace(",", ".")]) for label in wrong)
        remedy = _DECIMAL_COMMAS if commas else "correct them, or set data.kind=classes"
        line = f"data: column '{column}' of {file}: {count} label(s) are not finite numbers ({names}); {remedy}"
        raise InputError(Problem(line, {"data.decimal": ","} if commas else None))
    return np.array([float(label) for label in labels], dtype=np.float64)


def are_measured(names: Sequence[str]) -> bool:
    """Whether labels are numbers, and not all whole ones."""
    return all(_DECIMAL.fullmatch(name) for name in names) and not all(float(name).is_integer() for name in names)


def _are_whole(names: Iterable[str]) -> bool:
    return all(name.removeprefix("-").isdecimal() for name in names)


def check_classes(labels: Sequence[str], file: str, column: str) -> tuple[str, ...]:
    """The classes of `labels`. Raises InputError where there is only one, or where they are measured numbers."""
    names = class_names(labels)
    if len(names) > len(labels) / 2 and are_measured(names):
        raise InputError(
            f"data: column '{column}' of {file} holds numbers ({len(names):,} different ones in {len(labels):,} rows), "
            f"and data.kind=classes makes each a class: {BINS}"
        )
    if len(names) < 2:
        only = f"holds only one class ({quoted(names[0])})"
        raise InputError(f"data: column '{column}' of {file} {only}; there is nothing to tell apart")
    return names


def parts_lacking(codes: Integers, names: Sequence[str], split: LabelledSplit, noun: str) -> tuple[str, ...]:
    """Lines on classes of which no sample is tested or validated on. codes: of all samples. noun: of the samples."""
    validated = np.concatenate([fold.validation for fold in split.folds])
    parts: dict[tuple[int, ...], list[str]] = {}
    for part, samples in (("test", split.test), ("validation", validated)):
        absent = np.setdiff1d(np.arange(len(names)), codes[samples]) if len(samples) else np.arange(0)
        parts.setdefault(tuple(absent.tolist()), []).append(part)
    lines = []
    for lacking, of in parts.items():
        lacks = f"lack {len(lacking)} of {len(names)} classes ({first_few([quoted(names[i]) for i in lacking])})"
        alone = len(lacking) == len(names) - 1
        meaning = "all are of one class, so their scores say nothing" if alone else "no score is of them"
        if lacking:
            lines.append(f"data: the {listed(of)} {noun} {lacks}: {meaning}")
    return tuple(lines)


def check_test_classes(classes: Sequence[str], test_labels: Sequence[str], file: str) -> None:
    """Raises InputError where the test file has a class that the training file lacks."""
    unknown = sorted(set(test_labels) - set(classes))
    if unknown:
        names = first_few([quoted(name) for name in unknown])
        raise InputError(
            f"data: {len(unknown)} class(es) of {file} are not in the training file ({names}); no model can learn them"
        )


def label_columns(label: str, names: Sequence[str] = ()) -> tuple[str, ...]:
    """The columns that `a,b,c` names; one, where a file has that very column. names: the file's columns."""
    return (label,) if label in names else tuple(part.strip() for part in label.split(","))


def joined_labels(columns: Sequence[Sequence[str]]) -> list[str]:
    """Labels of several columns as one text each, empty where one of them is."""
    return [_BETWEEN.join(cells) if all(cells) else "" for cells in zip(*columns, strict=True)]


def label_parts(label: str) -> tuple[str, ...]:
    """What `joined_labels` has joined."""
    return tuple(label.split(_BETWEEN))


def group_codes(groups: Sequence[str] | None) -> Integers | None:
    """Each group's number, in order of first appearance."""
    if groups is None:
        return None
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)


def split_labels(
    codes: Integers,
    groups: Integers | None,
    splits: Sequence[float] | Sequence[int],
    *,
    validations_apart: int = 0,
    tests_apart: int = 0,
    folds: int = 0,
) -> LabelledSplit:
    """Cut labelled sequences into train, validation and test, each class in the same shares.

    Args:
        codes: each sequence's class [n].
        groups: each sequence's group [n], never on two sides of a cut; None: every sequence is a group.
        splits: three fractions, or three numbers of sequences. With separate test sequences, only the first two count;
            with separate validation sequences, the first two are one.
        validations_apart: how many sequences, before those of a test file, come from a separate validation file.
        tests_apart: how many sequences at the end come from a separate test file.
        folds: 0, or into how many parts train and validation together are cut for a cross-validation.

    Raises:
        InputError: the splits or folds do not fit the sequences.
    """
    end = len(codes) - tests_apart
    n = end - validations_apart
    shares = _shares(n, splits, validation=validations_apart > 0, test=tests_apart > 0)
    part = _allot(codes[:n], None if groups is None else groups[:n], shares)
    test = np.flatnonzero(part == 2) if not tests_apart else np.arange(end, len(codes))
    rest = np.flatnonzero(part < 2)
    if validations_apart:
        return LabelledSplit((Fold(rest, np.arange(n, end)),), test)
    if not folds:
        return LabelledSplit((Fold(np.flatnonzero(part == 0), np.flatnonzero(part == 1)),), test)
    members = len(rest) if groups is None else len(np.unique(groups[rest]))
    if folds == 1 or folds > members:
        noun = "samples" if groups is None else "groups"
        raise InputError(f"data.folds: {folds} is not between 2 and the {members} {noun} outside the test; or give 0")
    held_out = _allot(codes[rest], None if groups is None else groups[rest], np.full(folds, 1 / folds))
    held_out[_never_held_out(codes[rest], held_out, None if groups is None else groups[rest])] = -1
    made = (Fold(rest[held_out != k], rest[held_out == k]) for k in range(folds))
    return LabelledSplit(tuple(made), test)


def _never_held_out(codes: Integers, held_out: Integers, groups: Integers | None) -> npt.NDArray[np.bool_]:
    """Which rows all folds train on: those of a class that one fold would hold out whole, with their groups."""
    whole = np.zeros(len(codes), dtype=np.bool_)
    for code in np.unique(codes):
        rows = codes == code
        if len(np.unique(held_out[rows])) == 1:
            whole |= rows
    return whole if groups is None else np.isin(groups, groups[whole])


def check_split(
    codes: Integers,
    names: Sequence[str],
    split: LabelledSplit,
    group: str | None = None,
    *,
    tested: bool,
    noun: str = "sequences",
) -> None:
    """See that there is something to train on, to validate on and (`tested`) to test on, and of every class.

    Args:
        codes: classes [n] of the samples that were split. group: the column of the groups. noun: of the samples.

    Raises:
        InputError: there is not, and why.
    """
    single, why = int((np.bincount(codes) == 1).sum()), ""
    if single and not group:
        why = f"{single:,} of {len(names):,} classes have a single {noun.removesuffix('s')}"
        like = as_numbers(names)
        remedy = f"; {like}" if like else " (another column? --label COL)"
        why += f"; numbers are no classes: {BINS}" if _are_whole(names) else remedy
    check_parts(split, group, tested=tested, why=why, noun=noun)
    for fold in split.folds:
        absent = np.setdiff1d(np.arange(len(names)), codes[fold.train])
        if len(absent):
            missing = first_few([quoted(names[i]) for i in absent])
            raise InputError(
                f"data: {len(absent)} class(es) have no {noun.removesuffix('s')} to train on ({missing}); "
                "give more of them, or leave their rows out"
            )


def check_parts(
    split: LabelledSplit, group: str | None, *, tested: bool, why: str = "", noun: str = "sequences"
) -> None:
    """See that there is something to train on, to validate on and (`tested`) to test on.

    Args:
        group: the column of the groups.
        why: there is not; empty: there are too few samples.
        noun: of the samples.

    Raises:
        InputError: there is not.
    """
    parts = {
        "train on": all(len(fold.train) for fold in split.folds),
        "validate on": all(len(fold.validation) for fold in split.folds),
        "test on": len(split.test) or not tested,
    }
    empty = [part for part, there in parts.items() if not there]
    if empty:
        few = f"values in column '{group}'" if group else noun
        why = why or f"there are too few {few} for so many parts"
        raise InputError(f"data: no {noun.removesuffix('s')} is left to {' or to '.join(empty)}: {why}")


def _shares(n: int, splits: Sequence[float] | Sequence[int], *, validation: bool, test: bool) -> Floats:
    """The shares of the parts in the data file. validation, test: whether they are separate files."""
    counts = are_counts(splits)
    if test:
        if counts and splits[2]:
            raise InputError(f"data.splits: {list(splits)} takes test rows, and they are in a separate file; end in 0")
        total = sum(splits[:2])
        splits = splits if counts or total <= 0 else (splits[0] / total, splits[1] / total, 0.0)
    rows = np.array([n, 0, 0] if validation and test else split_rows(n, splits, least=1), dtype=np.float64)
    if counts and sum(splits) != n:
        raise InputError(f"data.splits: {list(splits)} sums to {sum(splits)}, and there are {n} samples")
    shares: Floats = rows / rows.sum()
    return shares


def _allot(codes: Integers, groups: Integers | None, shares: Floats) -> Integers:
    """The part of each row [n], so that every part has its share of every class, as nearly as rows and groups allow."""
    random = np.random.default_rng(_SPLIT_SEED)
    units = np.arange(len(codes)) if groups is None else np.unique(groups, return_inverse=True)[1]
    n_units, n_classes = int(units.max(initial=-1)) + 1, int(codes.max(initial=-1)) + 1
    holds = np.zeros((n_units, n_classes))  # sequences of each class in each unit
    np.add.at(holds, (units, codes), 1)
    # Large units first, where there is most room; equal ones in random order; of one class after the other.
    order = np.lexsort((random.permutation(n_units), holds.argmax(axis=1), -holds.sum(axis=1)))
    want = shares[:, None] * holds.sum(axis=0)  # [parts, classes]
    given = np.zeros_like(want)
    size, filled = shares * len(codes), np.zeros(len(shares))
    part = np.zeros(n_units, dtype=np.int64)
    for unit in order:
        sizes = holds[unit]
        lack = ((want - given) * sizes).sum(axis=1) / sizes.sum()
        best = lack + 1e-6 * (size - filled)  # equally short of its classes: the part that is short of rows
        best[shares == 0] = -np.inf
        part[unit] = int(np.argmax(np.round(best, 9)))
        given[part[unit]] += sizes
        filled[part[unit]] += sizes.sum()
    for empty in np.flatnonzero((shares > 0) & (filled == 0)):  # small classes have no row to spare for each part
        largest = int(filled.argmax())
        others = np.flatnonzero((part == largest) & (holds[:, given[largest].argmax()] > 0))
        if len(others) > 1:
            unit = others[-1]
            part[unit] = empty
            for table, change in ((given, holds[unit]), (filled, holds[unit].sum())):
                table[largest] -= change
                table[empty] += change
    return part[units]
