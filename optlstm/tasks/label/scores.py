"""The metrics of classification, from probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from optlstm.tasks.base import Metrics
from optlstm.training.metric import Metric
from optlstm.util.arrays import Floats, Integers

METRICS = (
    Metric("log_loss"),
    Metric("accuracy", higher=True),
    Metric("balanced_accuracy", higher=True),
    Metric("macro_f1", higher=True),
    Metric("auc", higher=True),
    Metric("average_precision", higher=True),
    Metric("brier"),
    Metric("ece"),
)
OF_DECISIONS = ("accuracy", "balanced_accuracy", "macro_f1")  # metrics that a threshold changes
OF_PROBABILITIES = ("log_loss", "auc", "average_precision", "brier", "ece")
OF_RANKS = ("auc", "average_precision")  # metrics that need two classes among the rows
ALL = tuple(metric.name for metric in METRICS)
_LEAST = 1e-15  # a probability of 0 for the true class would be an infinite loss
_BINS = 15  # of the expected calibration error


def classification_scores(
    probabilities: Floats, codes: Integers, more: Sequence[str] = (), threshold: float | None = None
) -> dict[str, float]:
    """log_loss, accuracy, balanced_accuracy and macro_f1, and those of `more`; NaN where these rows do not define it.

    Args:
        probabilities: [n, classes].
        codes: the true classes [n].
        more: names of METRICS.
        threshold: as of `decided`.

    balanced_accuracy: the mean recall of the classes that are in `codes`. macro_f1: the mean F1 of the classes that
    are in `codes` or were predicted (scikit-learn's definitions).
    """
    classes = probabilities.shape[1]
    table = confusion_counts(codes, decided(probabilities, threshold), classes)
    hits, actual, predicted = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    present, seen = actual > 0, actual + predicted > 0
    return {
        "log_loss": log_loss(probabilities, codes),
        "accuracy": float(hits.sum() / len(codes)),
        "balanced_accuracy": float((hits[present] / actual[present]).mean()),
        "macro_f1": float((2 * hits[seen] / (actual + predicted)[seen]).mean()),
        **{name: _MORE[name](probabilities, codes) for name in more if name in _MORE},
    }


def all_scores(probabilities: Floats, codes: Integers, threshold: float | None = None) -> Metrics:
    """All METRICS; None where these rows do not define it."""
    scores = classification_scores(probabilities, codes, ALL, threshold)
    return {name: None if math.isnan(value) else value for name, value in scores.items()}


def decided(probabilities: Floats, threshold: float | None) -> Integers:
    """The class of each row [n]: the likeliest; with a threshold the second of two where it is at least as likely."""
    if threshold is None:
        likeliest: Integers = probabilities.argmax(axis=1)
        return likeliest
    return (probabilities[:, 1] >= threshold).astype(np.int64)


def log_loss(probabilities: Floats, codes: Integers) -> float:
    """The mean of -log of the true class's probability."""
    of_true = probabilities[np.arange(len(codes)), codes]
    return float(-np.log(np.maximum(of_true, _LEAST)).mean())


def confusion_counts(codes: Integers, predicted: Integers, classes: int) -> Integers:
    """Counts [true class, predicted class]."""
    return np.bincount(codes * classes + predicted, minlength=classes**2).reshape(classes, classes)


def _auc(probabilities: Floats, codes: Integers) -> float:
    from sklearn.metrics import roc_auc_score

    return _by_class(roc_auc_score, probabilities, codes)


def _average_precision(probabilities: Floats, codes: Integers) -> float:
    from sklearn.metrics import average_precision_score

    return _by_class(average_precision_score, probabilities, codes)


def _by_class(score: Callable[[Floats, Floats], float], probabilities: Floats, codes: Integers) -> float:
    """A class against the others: of two the second, of more the mean over those in `codes`; NaN where there is one."""
    present = np.unique(codes)
    if len(present) < 2:
        return math.nan
    classes = present if probabilities.shape[1] > 2 else present[1:]
    return float(np.mean([score(codes == c, probabilities[:, c]) for c in classes]))


def _brier(probabilities: Floats, codes: Integers) -> float:
    """The mean squared error of the second of two classes' probability; of more classes, the sum (Brier 1950)."""
    squares = np.square(probabilities - np.eye(probabilities.shape[1])[codes]).sum(axis=1)
    return float(squares.mean() / (2 if probabilities.shape[1] == 2 else 1))


def _ece(probabilities: Floats, codes: Integers) -> float:
    """Expected calibration error (Guo et al. 2017): |accuracy - probability| of the likeliest class in 15 even bins."""
    likeliest, hits = probabilities.max(axis=1), probabilities.argmax(axis=1) == codes
    bins = np.minimum((likeliest * _BINS).astype(np.int64), _BINS - 1)
    gaps = np.bincount(bins, weights=hits - likeliest, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(codes))


_MORE = {"auc": _auc, "average_precision": _average_precision, "brier": _brier, "ece": _ece}
