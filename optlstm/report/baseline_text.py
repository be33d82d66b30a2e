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
    """untuned: see `outcome.by_step`."""
    if not untuned:
        return ""
    own, means = mean(map(float, pictures.by_step["mse"])), {name: mean(each) for name, each in untuned.items()}
    best = min(means, key=lambda name: means[name])
    others = ", ".join(f"{name} {number(value)}" for name, value in means.items())
    apart = f"{100 * abs(own - means[best]) / means[best]:.1f} % " if means[best] else ""
    verdict = f"{apart}{'less' if own < means[best] else 'more'} than {best}, the best of them"
    known = f"Forecasts that need no tuning, on the validation rows: mse {others}."
    return f"{known} Trial {trial} has {number(own)}: {verdict}."


def of_labels(trial: int, pictures: Confusion, plan: Plan | None) -> str:
    """Beside the training examples' most frequent class, said of every validation example."""
    task = plan.task if plan else None
    codes, split = getattr(task, "codes", None), getattr(task, "split", None)
    if codes is None or split is None:
        return ""
    guesses = [(codes[fold.validation], np.bincount(codes[fold.train]).argmax()) for fold in split.folds]
    guessed, count = sum(int((truth == guess).sum()) for truth, guess in guesses), int(pictures.counts.sum())
    own = int(np.trace(pictures.counts))
    return (
        f"Of {many(count, 'validation example')} trial {trial} classifies {own:,} rightly ({100 * own / count:.1f} %);"
        f" the training data's most frequent class would be right for {guessed:,} ({100 * guessed / count:.1f} %)."
    )
