"""Forecasts that need no tuning, on the validation windows of a study: what its trials have to be better than."""

from __future__ import annotations

import numpy as np
import torch

from optlstm.tasks.forecast.data import ForecastData
from optlstm.tasks.forecast.linear import naive_map, seasonal_map, solved_map
from optlstm.tasks.forecast.problem import fold_problems
from optlstm.training.hparams import Hyperparameters
from optlstm.training.metric import Goal, Metric


def validation_baselines(data: ForecastData, window: int, season: int, metric: Metric) -> dict[str, float]:
    """The metric of naive, seasonal naive and ridge regression as a trial reports it: of folds the mean.

    Args:
        window: rows that the ridge regression reads.
        season: 1: none.
    """
    values: dict[str, list[float]] = {}
    for problem in fold_problems(data, torch.device("cpu"), goal=Goal(metrics=(metric.name,))):
        rows = int((problem.data.cuts[:, 1] - problem.data.cuts[:, 0]).min())
        maps = {"naive": naive_map(data.horizon)}
        maps |= {"seasonal naive": seasonal_map(data.horizon, season)} if 1 < season <= rows else {}
        maps |= {"ridge regression": solved_map(problem.data, window)} if window + data.horizon <= rows else {}
        for name, solution in maps.items():
            with torch.no_grad():
                metrics = problem.validate(solution.module(), Hyperparameters(window=solution.window))
            values.setdefault(name, []).append(metric.value(metrics))
    return {name: float(np.mean(of_folds)) for name, of_folds in values.items()}
