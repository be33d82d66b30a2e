"""How the best trial stands beside what needs no tuning, on the validation data: a sentence of the figures' numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean as mean
from typing import TYPE_CHECKING

import numpy as np

from optlstm.tasks.plot_data import Confusion, Forecasts
from optlstm.util.format import many, number

if TYPE_CHECKING:
    from optlstm.run.plan import Plan


def of_forecasts(trial: int, pictures: Forecasts, untuned: Mapping[str, Sequence[float]]) -> str:
    """untuned: see `Trained.untuned`."""
    if not untuned:
        return ""
    error, means = mean(map(float, pictures.by_step["mse"])), {name: mean(errors) for name, errors in untuned.items()}
    best = min(means, key=lambda name: means[name])
    others = ", ".join(f"{name} {number(value)}" for name, value in means.items())
    apart = f"{100 * abs(error - means[best]) / means[best]:.1f} % " if means[best] else ""
    verdict = f"{apart}{'less' if error < means[best] else 'more'} than {best}, the best of them"
    known = f"Forecasts that need no tuning, on the validation rows: mse {others}."
    return f"{known} Trial {trial} has {number(error)}: {verdict}."


def of_labels(trial: int, pictures: Confusion, plan: Plan | None) -> str:
    """Beside the training examples' most frequent class, said of every validation example."""
    task = plan.task if plan else None
    codes, split = getattr(task, "codes", None), getattr(task, "split", None)
    if codes is None or split is None:
        return ""
    guesses = [(codes[fold.validation], np.bincount(codes[fold.train]).argmax()) for fold in split.folds]
    guessed, count = sum(int((truth == guess).sum()) for truth, guess in guesses), int(pictures.counts.sum())
    correct = int(np.trace(pictures.counts))
    return (
        f"Of {many(count, 'validation example')} trial {trial} classifies {correct:,} rightly"
        f" ({100 * correct / count:.1f} %);"
        f" the training data's most frequent class would be right for {guessed:,} ({100 * guessed / count:.1f} %)."
    )
