"""Forecasting, as the rest of the program sees it: a series that was read, checked and split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from optlstm.tasks.base import Bounds
from optlstm.tasks.options import DataConfig
from optlstm.tasks.space import default_space
from optlstm.training.hparams import Hyperparameters
from optlstm.training.metric import Metric

if TYPE_CHECKING:
    from optlstm.data.series import Series
    from optlstm.data.splits import Splits
    from optlstm.tasks.base import Evaluator
    from optlstm.tasks.forecast.series_data import ForecastData
    from optlstm.tasks.forecast.task import PanelForecast

UNSEASONAL_HORIZON = 12  # steps, where the data has no natural season to forecast


@dataclass(frozen=True)
class Forecast:
    """A series to forecast, read, checked and split."""

    name: ClassVar[str] = "forecast"
    keys: ClassVar[tuple[str, ...]] = (
        *("path", "time", "target", "horizon", "splits", "folds", "fraction"),
        *("series", "past", "future", "static", "categorical", "calendar", "gaps", "scaling", "epoch_windows"),
    )
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("mse", "standardised scale"), Metric("mae"))
    problem: ClassVar[str] = "optlstm.tasks.forecast.series_problem:make_problem"

    series: Series
    splits: Splits  # what of the training rows is not used is left out
    horizon: int
    train_rows: int  # with what is not used
    folds: tuple[Splits, ...] = ()  # of a rolling-origin validation

    @classmethod
    def read(cls, data: DataConfig) -> Forecast | PanelForecast:
        """One series, or many; or one with covariates. Raises InputError with every problem of the file and split."""
        panel = _panel(data)
        return cls.one(data) if panel is None else panel

    @classmethod
    def one(cls, data: DataConfig) -> Forecast:
        """The one series of a table."""
        from optlstm.data.series import bundled, read_series
        from optlstm.data.splits import newest, rolling_origin, split_rows

        path = Path(data.path).expanduser() if data.path else bundled("co2")
        series = read_series(path, time=data.time, target=data.target)
        splits = split_rows(len(series.values), data.splits)
        horizon = data.horizon or (series.season if series.season > 1 else UNSEASONAL_HORIZON)
        folds = rolling_origin(splits, data.folds) if data.folds else ()
        used = tuple(newest(fold, data.fraction) for fold in folds)
        whole = len((folds[0] if folds else splits).train)
        return cls(series, newest(splits, data.fraction), horizon, whole, used)

    @classmethod
    def generic_space(cls) -> dict[str, object]:
        """That of hourly data."""
        return default_space(season=24, horizon=24, train_rows=10_000)

    @property
    def warnings(self) -> Sequence[str]:
        """The series' own."""
        return self.series.warnings

    def default_space(self) -> dict[str, object]:
        """See `tasks.space`. That of all the rows, so that what is found on a fraction of them can be promoted."""
        return default_space(self.series.season, self.horizon, self.train_rows)

    def check_space(self, space: Bounds) -> None:
        """Raises InputError where the longest window does not fit."""
        from optlstm.data.splits import check_windows

        window = space.largest("window") or Hyperparameters().window
        check_windows(self.folds[0] if self.folds else self.splits, int(window), self.horizon)

    def describe(self) -> str:
        """`co2, 2284 rows (1599 train, 228 validation, 457 test), target y, horizon 52`."""
        splits, target = self.splits, ", ".join(self.series.columns)
        parts = f"{len(splits.train)} train, {len(splits.validation)} validation, {len(splits.test)} test"
        if self.folds:
            parts = f"{len(self.folds)} folds of {len(splits.validation)} validation rows, {len(splits.test)} test"
        return f"{self.series.name}, {len(self.series.values)} rows ({parts}), target {target}, horizon {self.horizon}"

    def record(self) -> dict[str, Any]:
        """The series' fingerprint, the horizon and the split."""
        return {
            "target": list(self.series.columns),
            "rows": len(self.series.values),
            "first": str(self.series.time[0]),
            "last": str(self.series.time[-1]),
            "fingerprint": self.series.fingerprint,
            "horizon": self.horizon,
            "splits": [len(self.splits.train), len(self.splits.validation), len(self.splits.test)],
        } | ({"folds": len(self.folds)} if self.folds else {})

    def data(self) -> ForecastData:
        """Standardised values and the split."""
        from optlstm.tasks.forecast.series_data import prepare

        return prepare(self.series, self.splits, self.horizon, self.folds)

    def evaluator(self) -> Evaluator:
        """The test rows, and what a refit trains on."""
        from optlstm.tasks.forecast.series_evaluate import ForecastEvaluator

        return ForecastEvaluator(self.series, self.splits, self.horizon)


def _panel(data: DataConfig) -> PanelForecast | None:
    """Many series, or one with covariates; None where the data is neither."""
    from optlstm.data.panel_reader import SERIES
    from optlstm.data.table import column_names, read_table
    from optlstm.tasks.forecast.task import PanelForecast, is_panel

    if not is_panel(data):
        path = Path(data.path).expanduser() if data.path else None
        if path is None or SERIES not in column_names(path):
            return None
        ids = read_table(path, [SERIES], coded=SERIES)[SERIES]
        if not 1 < ids.nunique() < len(ids):  # one series; or the number of each row
            return None
    return PanelForecast.read(data)
