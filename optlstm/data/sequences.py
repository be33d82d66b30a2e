"""Labelled sequences, checked: the numbers, one sequence after the other, and what each is labelled."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from itertools import compress, pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from optlstm.data.labels import LabelledSamples
from optlstm.util.arrays import Floats, Integers


@dataclass(frozen=True, eq=False, kw_only=True)
class Sequences(LabelledSamples):
    """Sequences one after the other: sequence i is rows starts[i] to starts[i + 1] of `values`."""

    values: Floats  # [rows, channels], in the files' units
    starts: Integers  # [n + 1]
    ids: tuple[str, ...]  # names of the sequences, or their row numbers
    channels: tuple[str, ...]
    columns: tuple[str, ...]  # of the file that hold the numbers: the channels, or the steps
    series: str | None = None  # column of the sequences' names; None: one row a sequence
    time: str | None = None
    per_step: bool = False  # the labels are [rows]
    order: Integers | None = None  # [rows], of `per_step` and one file: the file's row of each
    times: tuple[str, ...] = ()  # [rows], of the same: as the file has them
    ends: Integers | None = None  # [n], where a label is of a step: the row behind it; None: it is of a sequence
    step_labels: tuple[str, ...] = ()  # [rows], where a label is of a step; empty texts are none

    @property
    def of_steps(self) -> bool:
        return self.ends is not None

    @property
    def all_labels(self) -> tuple[str, ...]:
        """Those of steps that no sample ends at, too."""
        return tuple(label for label in self.step_labels if label) or self.labels

    @property
    def step_names(self) -> tuple[str, npt.NDArray[Any]]:
        """The column that says which step of its sequence a row is, and its cells [rows]: those of time, or numbers."""
        if self.time is not None and self.times:
            return self.time, np.array(self.times, dtype=object)
        return "step", np.arange(len(self.values)) - np.repeat(self.starts[:-1], np.diff(self.starts)) + 1

    def joined(self, other: Self, **samples: Any) -> Self:
        """These sequences, then the other's."""
        starts = np.concatenate([self.starts, other.starts[1:] + self.starts[-1]])
        values = np.concatenate([self.values, other.values])
        samples |= {"order": None, "times": ()}  # of one file
        if self.ends is not None and other.ends is not None:
            samples |= {
                "ends": np.concatenate([self.ends, other.ends + self.starts[-1]]),
                "step_labels": (),
            }
        return super().joined(other, values=values, starts=starts, ids=self.ids + other.ids, **samples)

    def taken(self, keep: npt.NDArray[np.bool_]) -> Self:
        """Some of the sequences, with a label each. keep: [n]."""
        lengths, groups = np.diff(self.starts), self.groups
        return replace(
            self,
            values=self.values[np.repeat(keep, lengths)],
            starts=np.concatenate([[0], np.cumsum(lengths[keep])]).astype(np.int64),
            ids=tuple(compress(self.ids, keep)),
            labels=tuple(compress(self.labels, keep)),
            groups=None if groups is None else tuple(compress(groups, keep)),
        )

    @property
    def owners(self) -> Integers | None:
        return np.repeat(np.arange(len(self.ids)), np.diff(self.starts)) if self.per_step else None

    @property
    def fingerprint(self) -> str:
        """sha256 over channels, labels, groups, lengths and values: the same for the same numbers in any format."""
        digest = hashlib.sha256(json.dumps([self.channels, self.labels, self.groups]).encode())
        digest.update(self.starts.astype("<i8").data)
        digest.update((self.values + 0.0).astype("<f8").data)
        if self.ends is not None:
            digest.update(self.ends.astype("<i8").data)
        return digest.hexdigest()


def fill_gaps(values: Floats, starts: Integers, *, from_past: bool) -> tuple[int, int]:
    """Fill NaN of each channel from the same sequence: linearly, at its ends with the nearest value.

    Returns how many were filled, and how many stay NaN, as a sequence has no value to fill them from.

    Args:
        values: [rows, channels], written into. starts: [sequences + 1].
        from_past: with the last value before each, as no later one may be known.
    """
    missing = np.isnan(values)
    count = int(missing.sum())
    for first, end in pairwise(starts.tolist()):
        for channel in np.flatnonzero(missing[first:end].any(axis=0)).tolist():
            numbers, known = values[first:end, channel], np.flatnonzero(~missing[first:end, channel])
            gaps = np.flatnonzero(missing[first:end, channel])
            if from_past:
                gaps = gaps[gaps > known[0]] if len(known) else gaps[:0]
                numbers[gaps] = numbers[known[np.searchsorted(known, gaps) - 1]]
            elif len(known):
                numbers[gaps] = np.interp(gaps, known, numbers[known])
    left = int(np.isnan(values).sum())
    return count - left, left
