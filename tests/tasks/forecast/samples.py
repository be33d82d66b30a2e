"""Made-up series for the tests of forecasting, as files and as data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from optlstm.tasks.forecast.data import ForecastData
from optlstm.tasks.forecast.problem import ForecastProblem
from optlstm.tasks.forecast.task import Forecast
from optlstm.tasks.options import DataConfig
from optlstm.training.factory import InputSizes
from optlstm.training.hparams import Hyperparameters

CPU = torch.device("cpu")
HP = Hyperparameters(window=8, patch=4, hidden_size=8, batch_size=16, learning_rate=0.01)
WAVES = np.sin(np.arange(100)[:, None] * 0.3 + np.arange(2))


def write(path: Path, lengths: tuple[int, ...] = (60, 48, 40)) -> None:
    """Series whose rise is the promotion of the row itself, which only a known covariate can tell."""
    random, parts = np.random.default_rng(0), []
    for i, length in enumerate(lengths):
        promo = random.integers(0, 2, length)
        frame = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=length, freq="h"), "promo": promo})
        parts.append(frame.assign(unique_id=f"s{i}", y=(10.0**i) * (3 + promo), kind=np.where(promo, "on", "off")))
    pd.concat(parts).assign(shop=lambda frame: frame["unique_id"]).to_csv(path, index=False)


def one_series(values: np.ndarray = WAVES, cuts: tuple[int, ...] = (0, 60, 80, 100), horizon: int = 4) -> ForecastData:
    """One series [rows, columns] that is cut at these rows: train, validation, test, the end."""
    rows, columns = values.shape
    return ForecastData(
        values=values.astype(np.float32),
        covariates=np.empty((rows, 0), np.float32),
        static=np.empty((1, 0), np.float32),
        sizes=InputSizes(),
        ids=("",),
        columns=tuple(f"c{i}" for i in range(columns)),
        starts=np.zeros(1, np.int64),
        mean=np.zeros((1, columns)),
        std=np.ones((1, columns)),
        cuts=np.array([cuts]),
        horizon=horizon,
    )


def problem_of(config: DataConfig) -> ForecastProblem:
    return ForecastProblem(Forecast.read(config).data(), CPU)
