"""Baselines without a network: they learn from the samples `train`, and the test samples are scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from optlstm.tasks.base import Metrics
from optlstm.tasks.label.data import LabelledData
from optlstm.util.arrays import Floats, Integers

_MOST = 100_000_000  # numbers of all sequences padded to one length, above which no neighbours are searched

_REACH, _MOST_STEPS = 8, 50_000


def constant_outputs(data: LabelledData, train: Integers, held_out: Integers) -> dict[str, Floats]:
    """The same output for all labels of samples `held_out`, [n, width]: see `Target.guesses`."""
    guesses, n = data.target.guesses(data.truth_of(train)), len(data.labels_of(held_out))
    return {name: np.tile(output, (n, 1)) for name, output in guesses.items()}


def nearest_neighbour(data: LabelledData, train: Integers) -> Metrics | None:
    """The label of the nearest training sequence by Euclidean distance, shorter sequences filled up with zeros.

    None where that would take too much memory. Of classes it gives no probabilities, hence no metric of them.
    """
    from sklearn.neighbors import NearestNeighbors

    lengths = np.diff(data.starts)
    n, steps, channels = len(lengths), int(lengths.max()), data.values.shape[1]
    if n * steps * channels > _MOST:
        return None
    padded = np.zeros((n, steps, channels), dtype=np.float32)
    padded[np.arange(steps) < lengths[:, None]] = data.values
    flat = padded.reshape(n, -1)
    model = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(flat[train])
    nearest = model.kneighbors(flat[data.test], return_distance=False)[:, 0]
    return data.target.sure_scores(data.truth[train[nearest]], data.truth[data.test])


def window_of_steps(data: LabelledData, train: Integers) -> Metrics | None:
    """The target's linear model of a step from the steps around it, or, of causal labels, up to it; 0 beyond the ends.

    It learns from at most `_MOST_STEPS` steps, evenly spaced. None where the windows would take too much memory.
    """
    offsets = np.arange(-_REACH, 1 if data.causal else _REACH + 1)
    owners = np.repeat(np.arange(len(data.starts) - 1), np.diff(data.starts))
    rows, wanted = data.labels_of(train), data.labels_of(data.test)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST_STEPS)).astype(np.int64))]
    if len(wanted) * len(offsets) * data.values.shape[1] > _MOST:
        return None

    def windows(rows: Integers) -> Floats:
        at = (rows[:, None] + offsets).clip(0, len(data.values) - 1)
        inside = owners[at] == owners[rows][:, None]
        x: Floats = (data.values[at] * inside[:, :, None]).reshape(len(rows), -1)
        return x

    output = data.target.linear(windows(rows), data.truth[rows], windows(wanted))
    return data.target.all_scores(output, data.truth[wanted])


def bag_of_words(
    texts: Sequence[str], tokenizer: Callable[[str], list[str]], data: LabelledData, train: Integers
) -> Metrics:
    """The target's linear model on the counts of the training texts' tokens."""
    from sklearn.feature_extraction.text import CountVectorizer

    counts = CountVectorizer(analyzer=tokenizer)
    x, wanted = counts.fit_transform([texts[i] for i in train]), counts.transform([texts[i] for i in data.test])
    output = data.target.linear(x, data.truth[train], wanted)
    return data.target.all_scores(output, data.truth[data.test])
