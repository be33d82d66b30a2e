"""Baselines without a network: they learn from the samples `train`, and the test samples are scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from optlstm.tasks.base import Metrics
from optlstm.tasks.label.data import LabelledData
from optlstm.util.arrays import Floats, Integers

_AT_ONCE = 2000  # samples whose features are computed at once
_MOST = 100_000_000  # numbers of all sequences padded to one length, above which no neighbours are searched

_REACH, _MOST_STEPS = 8, 50_000


def constant_outputs(data: LabelledData, train: Integers, held_out: Integers) -> dict[str, Floats]:
    """The same output for all labels of samples `held_out`, [n, width]: see `Target.guesses`."""
    guesses, n = data.target.guesses(data.truth_of(train)), len(data.labels_of(held_out))
    return {name: np.tile(output, (n, 1)) for name, output in guesses.items()}


def nearest_neighbour(data: LabelledData, train: Integers, window: int = 0) -> Metrics | None:
    """The label of the nearest training sequence by Euclidean distance, shorter sequences filled up with zeros.

    None where that would take too much memory. Of classes it gives no probabilities, hence no metric of them.
    """
    from sklearn.neighbors import NearestNeighbors

    _, lengths = data.spans(window)
    n, steps, channels = len(lengths), int(lengths.max()), data.values.shape[1]
    if n * steps * channels > _MOST:
        return None
    flat = _padded(data, np.arange(n), window).reshape(n, -1)
    model = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(flat[train])
    nearest = model.kneighbors(flat[data.test], return_distance=False)[:, 0]
    return data.target.sure_scores(data.truth[train[nearest]], data.truth[data.test], data.goal)


def on_features(data: LabelledData, train: Integers, window: int) -> dict[str, Metrics | None]:
    """The target's linear model on the last values of each sequence, and on a summary of its channels."""
    known, wanted = (_features(data, samples, window) for samples in (train, data.test))
    return {
        f"linear_on_{name}": data.target.all_scores(
            data.target.linear(x, data.truth[train], wanted[name]), data.truth[data.test], data.goal
        )
        for name, x in known.items()
    }


def _features(data: LabelledData, samples: Integers, window: int) -> dict[str, Floats]:
    """[samples, features] by name: last values; means, deviations, least, largest and last values, and slopes."""
    parts: dict[str, list[npt.NDArray[Any]]] = {"last_values": [], "summary": []}
    for some in np.array_split(samples, max(1, len(samples) // _AT_ONCE)):
        x, lengths = _padded(data, some, window), data.spans(window)[1][some]
        steps = np.arange(x.shape[1])
        inside, count = (steps < lengths[:, None])[:, :, None], lengths[:, None]
        mean, last = x.sum(axis=1) / count, x[np.arange(len(some)), lengths - 1]
        centred = np.where(inside, x - mean[:, None], 0.0)
        place = np.where(inside[:, :, 0], steps - (lengths[:, None] - 1) / 2, 0.0)[:, :, None]
        slope = (place * centred).sum(axis=1) / np.maximum(np.square(place).sum(axis=1), 1.0)
        ends = [np.where(inside, x, np.inf).min(axis=1), np.where(inside, x, -np.inf).max(axis=1)]
        parts["last_values"].append(last)
        parts["summary"].append(np.hstack([mean, np.sqrt(np.square(centred).sum(axis=1) / count), *ends, last, slope]))
    return {name: np.concatenate(rows).astype(np.float64) for name, rows in parts.items()}


def _padded(data: LabelledData, samples: Integers, window: int) -> npt.NDArray[np.float32]:
    """[samples, steps, channels], 0 behind each end."""
    first, lengths = (part[samples] for part in data.spans(window))
    steps = np.arange(int(lengths.max()))
    rows = np.minimum(first[:, None] + steps, len(data.values) - 1)
    return np.where((steps < lengths[:, None])[:, :, None], data.values[rows], np.float32(0))


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
    return data.target.all_scores(output, data.truth[wanted], data.goal)


def bag_of_words(
    texts: Sequence[str], tokenizer: Callable[[str], list[str]], data: LabelledData, train: Integers
) -> Metrics:
    """The target's linear model on the counts of the training texts' tokens."""
    from sklearn.feature_extraction.text import CountVectorizer

    counts = CountVectorizer(analyzer=tokenizer)
    x, wanted = counts.fit_transform([texts[i] for i in train]), counts.transform([texts[i] for i in data.test])
    output = data.target.linear(x, data.truth[train], wanted)
    return data.target.all_scores(output, data.truth[data.test], data.goal)
