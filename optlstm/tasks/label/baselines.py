"""Baselines without a network: they learn from the samples `train`, and the test samples are scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from optlstm.tasks.base import Metrics
from optlstm.tasks.label.data import LabelledData
from optlstm.util.arrays import Floats, Integers

_MOST = 100_000_000  # numbers of all sequences padded to one length, above which no neighbours are searched


def constant_outputs(data: LabelledData, train: Integers, held_out: Integers) -> dict[str, Floats]:
    """The same output for all samples `held_out`, [n, width]: see `Target.guesses`."""
    guesses = data.target.guesses(data.truth[train])
    return {name: np.tile(output, (len(held_out), 1)) for name, output in guesses.items()}


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


def bag_of_words(
    texts: Sequence[str], tokenizer: Callable[[str], list[str]], data: LabelledData, train: Integers
) -> Metrics:
    """The target's linear model on the counts of the training texts' tokens."""
    from sklearn.feature_extraction.text import CountVectorizer

    counts = CountVectorizer(analyzer=tokenizer)
    x, wanted = counts.fit_transform([texts[i] for i in train]), counts.transform([texts[i] for i in data.test])
    output = data.target.linear(x, data.truth[train], wanted)
    return data.target.all_scores(output, data.truth[data.test])
