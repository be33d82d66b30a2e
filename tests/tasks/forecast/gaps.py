"""Series with covariates and gaps, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from optlstm.tasks.forecast.task import Forecast
from optlstm.tasks.options import DataConfig
from optlstm.training.hparams import Hyperparameters

CPU, HORIZON, WINDOW = torch.device("cpu"), 4, 8
HP = Hyperparameters(window=WINDOW, hidden_size=4, batch_size=16)
COVARIATES = {"future": ("promo", "event"), "static": ("kind",)}


def series(name: str, rows: int, level: float) -> pd.DataFrame:
    """Days with a promotion; the level tells the series apart."""
    random = np.random.default_rng(rows)
    times = pd.date_range("2020-01-01", periods=rows, freq="D")
    promo = random.integers(0, 2, rows)
    frame = pd.DataFrame({"unique_id": name, "ds": times, "promo": promo, "event": np.where(promo, "sale", "")})
    return frame.assign(kind=name, y=level + promo + random.normal(size=rows).round(3))


def panel(**lengths: int) -> pd.DataFrame:
    lengths = lengths or {"a": 60, "b": 50, "c": 40}
    return pd.concat(
        [series(name, rows, 10.0 * i) for i, (name, rows) in enumerate(lengths.items())], ignore_index=True
    )


def alone(rows: int = 60) -> pd.DataFrame:
    return series("a", rows, 10.0)[["ds", "y"]]


def emptied(frame: pd.DataFrame, rows: list[int], name: str = "a") -> pd.DataFrame:
    """The series' targets in these rows empty; negative ones count from its end."""
    own = frame.index[frame["unique_id"] == name] if "unique_id" in frame else frame.index
    return frame.assign(y=frame["y"].where(~frame.index.isin(own[rows])))


def task_of(path: Path, frame: pd.DataFrame, gaps: str = "refuse", **data: Any) -> Forecast:
    frame.to_csv(path / "study.csv", index=False)
    config = DataConfig(path=str(path / "study.csv"), horizon=HORIZON, epoch_steps=1, gaps=gaps, **data)  # type: ignore[arg-type]
    return Forecast.read(config)
