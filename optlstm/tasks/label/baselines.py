"""Classifiers without a network, for comparison: they learn from the samples `train`; the test samples are scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from optlstm.tasks.base import Metrics
from optlstm.tasks.label.data import LabelledData
from optlstm.tasks.label.scores import OF_PROBABILITIES, all_scores
from optlstm.util.arrays import Floats, Integers

_MOST = 100_000_000  # numbers of all sequences padded to one length, above which no neighbours are searched


def majority(data: LabelledData, train: Integers) -> Metrics:
    """The most frequent class for all; probabilities are the classes' shares."""
    shares = np.bincount(data.codes[train], minlength=len(data.classes)) / len(train)
    return _scores(np.tile(shares, (len(data.test), 1)), data)


def nearest_neighbour(data: LabelledData, train: Integers) -> Metrics | None:
    """The class of the nearest training sequence by Euclidean distance, shorter sequences filled up with zeros.

    None where that would take too much memory. It gives no probabilities, hence no metric of them.
    """
    from sklearn.neighbors import KNeighborsClassifier

    lengths = np.diff(data.starts)
    n, steps, channels = len(lengths), int(lengths.max()), data.values.shape[1]
    if n * steps * channels > _MOST:
        return None
    padded = np.zeros((n, steps, channels), dtype=np.float32)
    padded[np.arange(steps) < lengths[:, None]] = data.values
    flat = padded.reshape(n, -1)
    model = KNeighborsClassifier(n_neighbors=1, algorithm="brute").fit(flat[train], data.codes[train])
    predicted = model.predict(flat[data.test])
    return {**_scores(np.eye(len(data.classes))[predicted], data), **dict.fromkeys(OF_PROBABILITIES)}


def bag_of_words(
    texts: Sequence[str], tokenizer: Callable[[str], list[str]], data: LabelledData, train: Integers
) -> Metrics:
    """Logistic regression (scikit-learn's, L2, C = 1) on the counts of the training texts' tokens."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    counts = CountVectorizer(analyzer=tokenizer)
    x = counts.fit_transform([texts[i] for i in train])
    model = LogisticRegression(max_iter=1000).fit(x, data.codes[train])
    probabilities = np.zeros((len(data.test), len(data.classes)))
    probabilities[:, model.classes_] = model.predict_proba(counts.transform([texts[i] for i in data.test]))
    return _scores(probabilities, data)


def _scores(probabilities: Floats, data: LabelledData) -> Metrics:
    return all_scores(probabilities, data.codes[data.test])
