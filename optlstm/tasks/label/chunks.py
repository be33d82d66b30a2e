"""Long records in overlapping chunks: which outputs of each are kept, so that together they are every step once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optlstm.util.arrays import Integers, row_ranges

TRAINED = 512  # most steps of a training sample
CHUNK, CONTEXT = 2048, 256  # most steps that a trained network reads at once, and of them, beside those that are kept


@dataclass(frozen=True, eq=False)
class Chunks:
    """Chunks of records, one record's after the other's, each [chunks].

    Args:
        record: position of the record.
        first, lengths: rows that are read.
        begin, end: of those, which are kept: positions within the chunk.
    """

    record: Integers
    first: Integers
    lengths: Integers
    begin: Integers
    end: Integers

    @classmethod
    def of(cls, starts: Integers, causal: bool, chunk: int = CHUNK, context: int = CONTEXT) -> Chunks:
        """Every step is kept of one chunk, which has read at least `context` steps before it and, unless causal, after
        it, or all that there are. They lie by a record's beginning: what comes behind a step moves no chunk before it.

        Args:
            starts: [records + 1].
        """
        stride = chunk - context - (0 if causal else context)
        lengths = np.diff(starts)
        counts = 1 + np.maximum(0, -(-(lengths - chunk) // stride))
        k, record = row_ranges(np.zeros_like(counts), counts)
        offset, last = k * stride, k == counts[record] - 1
        read = np.minimum(chunk, lengths[record] - offset)
        begin = np.where(k > 0, context, 0)
        end = np.where(last, read, chunk - (0 if causal else context))
        return cls(record, starts[record] + offset, read, begin, end)

    @classmethod
    def whole(cls, starts: Integers) -> Chunks:
        """Every record as it is. starts: [records + 1]."""
        lengths = np.diff(starts)
        return cls(np.arange(len(lengths)), starts[:-1], lengths, np.zeros_like(lengths), lengths)

    def of_records(self, records: Integers) -> Integers:
        """Positions of the chunks of some records."""
        return np.flatnonzero(np.isin(self.record, records))

    def kept(self, chunks: Integers) -> tuple[Integers, Integers]:
        """(rows whose outputs are kept of some chunks, one chunk's after the other's; positions in `chunks`)."""
        return row_ranges(self.first[chunks] + self.begin[chunks], (self.end - self.begin)[chunks])
