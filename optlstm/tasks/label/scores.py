"""The metrics of classification, from probabilities. NumPy only."""

from __future__ import annotations

import numpy as np

from optlstm.training.metric import Metric
from optlstm.util.arrays import Floats, Integers

METRICS = (
    Metric("log_loss"),
    Metric("accuracy", higher=True),
    Metric("balanced_accuracy", higher=True),
    Metric("macro_f1", higher=True),
)
_LEAST = 1e-15  # a probability of 0 for the true class would be an infinite loss


def classification_scores(probabilities: Floats, codes: Integers) -> dict[str, float]:
    """The METRICS by name.

    Args:
        probabilities: [n, classes].
        codes: the true classes [n].

    balanced_accuracy: the mean recall of the classes that are in `codes`. macro_f1: the mean F1 of the classes that
    are in `codes` or were predicted (scikit-learn's definitions).
    """
    classes = probabilities.shape[1]
    table = confusion_counts(codes, probabilities.argmax(axis=1), classes)
    hits, actual, predicted = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    of_true = probabilities[np.arange(len(codes)), codes]
    present, seen = actual > 0, actual + predicted > 0
    return {
        "log_loss": float(-np.log(np.maximum(of_true, _LEAST)).mean()),
        "accuracy": float(hits.sum() / len(codes)),
        "balanced_accuracy": float((hits[present] / actual[present]).mean()),
        "macro_f1": float((2 * hits[seen] / (actual + predicted)[seen]).mean()),
    }


def confusion_counts(codes: Integers, predicted: Integers, classes: int) -> Integers:
    """Counts [true class, predicted class]."""
    return np.bincount(codes * classes + predicted, minlength=classes**2).reshape(classes, classes)
