"""What a classifier is held against: guesses that need no network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from optlstm.tasks.base import Metrics
from optlstm.tasks.label.scores import classification_scores
from optlstm.util.arrays import Integers

_MOST = 100_000_000  # numbers of all sequences padded to one length, above which no neighbours are searched


def majority(codes: Integers, train: Integers, test: Integers, classes: int) -> Metrics:
    """The most frequent class for all, with the classes' shares for probabilities."""
    shares = np.bincount(codes[train], minlength=classes) / len(train)
    return dict(classification_scores(np.tile(shares, (len(test), 1)), codes[test]))


def nearest_neighbour(
    values: npt.NDArray[np.float32], starts: Integers, codes: Integers, train: Integers, test: Integers, classes: int
) -> Metrics | None:
    """The class of the nearest training sequence by Euclidean distance, shorter sequences filled up with zeros.

    None where that would take too much memory. It knows no probabilities, hence no log loss.
    """
    from sklearn.neighbors import KNeighborsClassifier

    lengths = np.diff(starts)
    n, steps, channels = len(lengths), int(lengths.max()), values.shape[1]
    if n * steps * channels > _MOST:
        return None
    padded = np.zeros((n, steps, channels), dtype=np.float32)
    padded[np.arange(steps) < lengths[:, None]] = values
    flat = padded.reshape(n, -1)
    model = KNeighborsClassifier(n_neighbors=1, algorithm="brute").fit(flat[train], codes[train])
    scores: Metrics = dict(classification_scores(np.eye(classes)[model.predict(flat[test])], codes[test]))
    return {**scores, "log_loss": None}


def bag_of_words(
    texts: list[str],
    tokenizer: Callable[[str], list[str]],
    codes: Integers,
    train: Integers,
    test: Integers,
    classes: int,
) -> Metrics:
    """Logistic regression (scikit-learn's, L2, C = 1) on how often each token of the training texts occurs."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    counts = CountVectorizer(analyzer=tokenizer)
    x = counts.fit_transform([texts[i] for i in train])
    model = LogisticRegression(max_iter=1000).fit(x, codes[train])
    probabilities = np.zeros((len(test), classes))
    probabilities[:, model.classes_] = model.predict_proba(counts.transform([texts[i] for i in test]))
    return dict(classification_scores(probabilities, codes[test]))
